import csv
from pathlib import Path

from seqcls_csv_tracker import COLUMNS, CsvTracker

from seqcls import Trainer

PAIRS = [(f"{word} film number {number}", word) for number in range(20) for word in ("good", "bad")]
SMALL = {"epochs": 1, "batch_size": 8, "embedding_size": 8}


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_two_runs_share_a_file_and_a_resumed_one_repeats_no_row(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    for name in ("one", "two"):
        tracker = CsvTracker(path=str(path))
        result = Trainer(PAIRS, encoder="mean-pool", **SMALL, output=tmp_path / name, callbacks=[tracker]).fit()
        row = read(path)[-1]
        assert tuple(row) == COLUMNS
        assert row["run"] == str(tmp_path / name)
        assert 0 <= float(row["validation_accuracy"]) <= 1
    path.write_text(
        path.read_text() + f"{result.run_dir},mean-pool,999,0,0,0,0\n"
    )  # as if it had continued, and been killed
    Trainer.resume(
        tmp_path / "two",
        data=PAIRS,
        changes={"fit": {"epochs": 2}},
        callbacks=[CsvTracker(path=str(path))],
    ).fit()
    assert [Path(row["run"]).name for row in read(path)] == ["one", "two", "two"]
    assert len({row["step"] for row in read(path)[1:]}) == 2
