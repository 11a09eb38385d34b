"""The comparison on public data sets: what it draws, what it measures, and what it takes up again."""

from __future__ import annotations

import csv
import gzip
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import everyone
from benchmarks.everyone import Cell

LABELS = [*("abc" * 20), "d", "d"]


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the data sets: trec, in which each text is the number of its row."""
    folder = tmp_path / "datasets"
    folder.mkdir()
    for name in ("train", "test"):
        with gzip.open(folder / f"trec.{name}.csv.gz", "wt", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *enumerate(LABELS)])
    monkeypatch.setenv("SEQCLS_DATA_DIR", str(tmp_path))
    return folder


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    """The cells that were measured, in their order; linear fails."""
    cells: list[Cell] = []

    def measure(cell: Cell, _folder: Path, _python: str) -> dict[str, float] | None:
        cells.append(cell)
        return None if cell.system == "linear" else {"seconds": 1.0, "accuracy": 0.5}

    monkeypatch.setattr(everyone, "measure", measure)
    return cells


def _compare(output: Path | None = None, **changes: Any) -> list[dict[str, Any]]:
    settings: dict[str, Any] = {"data": ["trec"], "sizes": ["8"], "draws": 2, "systems": ["default"]}
    return everyone.compare(**(settings | changes), peers_python=sys.executable, output=output)


def _result(system: str, accuracy: float, **changes: Any) -> dict[str, Any]:
    return {"system": system, "data": "trec", "size": "8", "draw": 0, "seconds": 1.0, "accuracy": accuracy, **changes}


def test_a_draw_has_so_many_examples_of_each_class_and_all_of_a_smaller_one() -> None:
    drawn = everyone.draw(LABELS, per_class=8, seed=0)
    assert Counter(LABELS[index] for index in drawn) == {"a": 8, "b": 8, "c": 8, "d": 2}
    assert len(set(drawn)) == len(drawn)


def test_a_seed_gives_one_draw_and_a_smaller_draw_is_part_of_it() -> None:
    drawn = everyone.draw(LABELS, per_class=8, seed=3)
    assert drawn == everyone.draw(LABELS, per_class=8, seed=3)
    assert set(drawn) != set(everyone.draw(LABELS, per_class=8, seed=4))
    assert set(everyone.draw(LABELS, per_class=4, seed=3)) < set(drawn)


def test_the_file_of_a_draw_has_its_rows(datasets: Path, tmp_path: Path) -> None:
    path = everyone.write_draw(datasets / "trec.train.csv.gz", tmp_path / "draw.csv", per_class=4, seed=1)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["text"]) for row in rows] == everyone.draw(LABELS, per_class=4, seed=1)
    assert all(row["label"] == LABELS[int(row["text"])] for row in rows)


def test_whole_data_are_measured_once_and_numbers_only_whole() -> None:
    cells = everyone.cells(
        data=["trec", "BasicMotions"], sizes=["all", "8"], draws=2, systems=["default", "tfidf", "minirocket"]
    )
    assert [(cell.system, cell.data, cell.size, cell.draw) for cell in cells] == [
        ("default", "trec", "all", 0),
        ("tfidf", "trec", "all", 0),
        ("default", "BasicMotions", "all", 0),
        ("minirocket", "BasicMotions", "all", 0),
        ("default", "trec", "8", 0),
        ("tfidf", "trec", "8", 0),
        ("default", "trec", "8", 1),
        ("tfidf", "trec", "8", 1),
    ]


def test_a_rerun_measures_only_what_is_missing(datasets: Path, measured: list[Cell], tmp_path: Path) -> None:
    output = tmp_path / "results.jsonl"
    first = _compare(output)
    with output.open("a", encoding="utf-8") as file:
        file.write('{"system": "default", "da')  # the process was killed
    measured.clear()
    rows = _compare(output, draws=3, systems=["default", "linear"])
    assert measured == [Cell("linear", "trec", "8", 0), Cell("linear", "trec", "8", 1)] + [
        Cell(system, "trec", "8", 2) for system in ("default", "linear")
    ]
    assert (rows[:2], len(rows)) == (first, 3)
    assert everyone.results_in(output) == rows
    measured.clear()
    assert _compare(output, draws=3) == rows
    assert measured == []


def test_what_is_not_there_is_left_out_with_a_word(
    datasets: Path, measured: list[Cell], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(everyone.PEERS["texts"], "fasttext", "no_such_package")
    rows = _compare(data=["trec", "sst2"], systems=["default", "fasttext"])
    assert {(row["system"], row["data"]) for row in rows} == {("default", "trec")}
    assert capsys.readouterr().err.splitlines() == [
        f"fasttext is not measured: {sys.executable} has no package no_such_package",
        f"sst2 is skipped: its files are not in {datasets}",
    ]


@pytest.mark.parametrize("folder", [None, "no-such-folder"])
def test_without_the_data_nothing_is_measured(
    folder: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if folder is None:
        monkeypatch.delenv("SEQCLS_DATA_DIR", raising=False)
    else:
        monkeypatch.setenv("SEQCLS_DATA_DIR", folder)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "everyone"])
    command.main()
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "everyone is skipped: SEQCLS_DATA_DIR names no folder with datasets/ in it\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "trec,mnist"], "there is no data set mnist here"),
        (["--systems", "svm"], "there is no system svm here"),
        (["--sizes", "8,0"], "the size 0 is neither all nor a number"),
    ],
)
def test_a_wrong_name_is_an_error(datasets: Path, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "everyone", *words])
    with pytest.raises(SystemExit, match=message):
        command.main()


def test_the_summary_has_medians_of_seconds_and_means_of_accuracy() -> None:
    rows = [_result("tfidf", accuracy, draw=draw, seconds=seconds) for draw, accuracy, seconds in ((0, 0.5, 1), (1, 0.6, 9))]
    rows += [_result("default", 0.75), _result("default", 0.9, size="all")]
    assert everyone.summary(rows) == [
        {"size": "8", "data": "trec", "system": "default", "draws": 1, "seconds": 1.0, "accuracy": 75.0},
        {"size": "8", "data": "trec", "system": "tfidf", "draws": 2, "seconds": 5.0, "accuracy": 55.0},
        {"size": "all", "data": "trec", "system": "default", "draws": 1, "seconds": 1.0, "accuracy": 90.0},
    ]


def test_the_margin_is_to_the_best_peer_of_each_set_on_the_same_draws() -> None:
    rows = [_result("default", 0.8), _result("tfidf", 0.7), _result("fasttext", 0.6), _result("linear", 0.9)]
    rows += [_result("fasttext", 1.0, draw=1)]  # which the default does not have
    rows += [_result(system, accuracy, data="sst2") for system, accuracy in (("default", 0.5), ("wordllama", 0.6))]
    rows += [_result("default", 0.9, data="banking")]  # no peer
    assert everyone.margins(rows) == [{"size": "8", "data sets": 2, "default minus best peer": 0.0}]
