from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Run


def test_predict_is_unsure_below_the_least_confidence(run: Run, trained: Path) -> None:
    assert run("predict", str(trained), "good", "--min-confidence", "1").out.startswith("unsure\t0.")
    assert json.loads(run("predict", str(trained), "good", "--min-confidence", "1", "--json").out)["label"] is None
    assert run("predict", str(trained), "good", "--min-confidence", "1.5").code == 2


def test_predict_takes_arguments_a_file_and_stdin(run: Run, trained: Path, tmp_path: Path) -> None:
    texts = ["The film was good.", "A dull [/x] evening"]
    expected = run("predict", str(trained), *texts).out
    assert [line.split("\t")[2] for line in expected.splitlines()] == texts
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    assert run("predict", str(trained), "--file", "texts.txt").out == expected
    command = [sys.executable, "-m", "seqcls", "predict", str(trained), "-"]
    done = subprocess.run(command, input="\n".join(texts), capture_output=True, text=True, check=True)
    assert done.stdout == expected


def test_predict_says_that_a_file_is_not_utf8_and_reads_it(run: Run, trained: Path, tmp_path: Path) -> None:
    texts = ["A good café.", "A dull café, “bad”.", "fine"]
    for name, encoding in (("utf-8", "utf-8"), ("mark", "utf-8-sig"), ("windows", "cp1252")):
        (tmp_path / name).write_bytes("\n".join(texts).encode(encoding))
        done = run("predict", str(trained), "--file", name)
        assert [line.split("\t")[2] for line in done.out.splitlines()] == texts
        warnings = [line for line in done.err.splitlines() if "UTF-8" in line]
        assert len(warnings) == (name == "windows")
        assert all("windows: line 1 " in line and "Windows-1252" in line for line in warnings)


def test_predict_reads_what_it_can_of_a_broken_line_and_refuses_utf16(run: Run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(codecs.BOM_UTF8 + "A good café ".encode() + b"\xff\n")
    done = run("predict", str(trained), "--file", "broken")
    assert done.out.rstrip("\n").split("\t")[2] == "A good café \ufffd"
    assert "broken: line 1 is not UTF-8" in done.err
    (tmp_path / "wide").write_bytes("A good café\n".encode("utf-16"))
    done = run("predict", str(trained), "--file", "wide")
    assert done.code == 1
    assert "wide is UTF-16; write it as UTF-8" in done.err


def test_predict_json_is_a_line_a_text(run: Run, trained: Path) -> None:
    lines = run("predict", str(trained), "good", "bad", "--json").out.splitlines()
    for line in lines:
        row = json.loads(line)
        assert list(row) == ["label", "probabilities"]
        assert row["label"] == max(row["probabilities"], key=row["probabilities"].get)
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("text", "warning"),
    [("", "text 1 is empty"), ("完全に", "no word that the model knows"), ("[/x]", "no word that the model knows")],
)
def test_a_text_that_the_model_cannot_read_is_told(run: Run, trained: Path, text: str, warning: str) -> None:
    done = run("predict", str(trained), text)
    assert done.code == 0
    assert warning in done.err
    assert done.out.count("\n") == 1


def test_bytes_that_are_no_text_and_control_characters_do_no_harm(run: Run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.txt").write_bytes(b"caf\xe9 good\n\x1b[31mred\x07\n")
    done = run("predict", str(trained), "--file", "odd.txt")
    assert done.code == 0
    assert "\x1b" not in done.out
    assert "\x07" not in done.out


def test_numbers_are_predicted_from_a_file(run: Run, tmp_path: Path) -> None:
    values = np.linspace(0, 1, 80, dtype=np.float32)[:, None]
    labels = np.array(["low", "high"])[(np.arange(40) >= 20).astype(int)]
    np.savez(tmp_path / "a.npz", values=values, offsets=np.arange(0, 81, 2), labels=labels)
    fit = ["fit", "--dataset", "a.npz", "--encoder", "mean-pool", "--lr", "0.1", "--batch-size", "4", "--output", "numbers"]
    assert run(*fit).code == 0
    lines = run("predict", "numbers", "--file", "a.npz").out.splitlines()
    assert lines[0].startswith("low\t")
    assert lines[39].startswith("high\t")
    assert lines[39].endswith("\tsequence 40")
    refused = run("predict", "numbers", "0.5")
    assert refused.code == 2
    assert "the model reads sequences of numbers, not texts; give them as --file FILE.npz or FILE.ts" in refused.err
    assert run("evaluate", "numbers", "--dataset", "a.npz").code == 0


def test_several_labels_are_printed(run: Run, tmp_path: Path) -> None:
    names = [["a"] * (n % 2) + ["b"] * (n // 2 % 2) for n in range(120)]
    rows = [f"{' '.join(found) or 'c'} {n},{';'.join(found)}" for n, found in enumerate(names)]
    Path(tmp_path, "m.csv").write_text("\n".join(["text,labels", *rows]))
    fit = ["fit", "--dataset", "m.csv", "--label-delimiter", ";", "--dataset-option", "delimiter=,"]
    done = run(*fit, "--encoder", "mean-pool", "--lr", "0.05", "--batch-size", "8", "--epochs", "10", "--output", "several")
    assert done.code == 0
    assert "F1: 1.000" in done.out
    both, none = run("predict", "several", "a b", "c").out.splitlines()
    assert [part.split(":")[0] for part in both.split("\t")[0].split()] == ["a", "b"]
    assert none.startswith("-\t")
    assert json.loads(run("predict", "several", "--json", "b").out)["labels"] == ["b"]


ROWS: list[dict[str, Any]] = [
    {"id": 7, "text": "The film was good.", "note": 'said "yes", twice'},
    {"id": 8, "text": "A dull\nevening, bad", "note": ""},
    {"id": 9, "text": "fine", "note": "ä"},
]


def write_table(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    form = path.suffixes[0]
    if form in (".parquet", ".arrow"):
        pytest.importorskip("pyarrow")
        import pyarrow
        from pyarrow import feather, parquet

        table = pyarrow.Table.from_pylist(rows)
        parquet.write_table(table, path) if form == ".parquet" else feather.write_feather(table, path)
        return path
    text = io.StringIO(newline="")
    if form == ".jsonl":
        text.writelines(json.dumps(row) + "\n" for row in rows)
    else:
        writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if form == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.jsonl", "a.jsonl.gz", "a.parquet", "a.arrow"])
def test_a_table_is_read_by_its_form(run: Run, trained: Path, tmp_path: Path, name: str) -> None:
    write_table(tmp_path / name)
    expected = run("predict", str(trained), *(row["text"] for row in ROWS)).out
    assert run("predict", str(trained), "--file", name).out == expected


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
@pytest.mark.parametrize("source", ["a.csv", "a.jsonl", "a.parquet"])
def test_rows_are_written_with_their_answers(run: Run, trained: Path, tmp_path: Path, source: str, name: str) -> None:
    write_table(tmp_path / source)
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    done = run("predict", str(trained), "--file", source, "--output", name, "--top-k", "2")
    assert done.code == 0, done.err
    assert done.out == ""
    assert f"3 predictions: {name}" in done.err
    rows = read_rows(tmp_path / name)
    answers = [json.loads(line) for line in run("predict", str(trained), "--file", source, "--json").out.splitlines()]
    expected = [{name: str(value) for name, value in row.items()} for row in ROWS]
    assert [{name: str(row[name]) for name in ("id", "text", "note")} for row in rows] == expected
    for row, answer in zip(rows, answers, strict=True):
        assert list(row)[3:] == ["prediction", "probability", "top_1", "top_1_probability", "top_2", "top_2_probability"]
        assert row["prediction"] == row["top_1"] == answer["label"]
        assert float(row["probability"]) == float(row["top_1_probability"]) == answer["probabilities"][answer["label"]]
        assert float(row["top_2_probability"]) == answer["probabilities"][row["top_2"]]


def read_rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        from pyarrow import parquet

        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
        return rows
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_types_of_columns_are_kept(run: Run, trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    rows = [{**row, "when": None, "score": 0.5, "tags": ["a", "b"]} for row in ROWS]
    write_table(tmp_path / "a.parquet", rows)
    assert run("predict", str(trained), "--file", "a.parquet", "--output", "out.parquet").code == 0
    kept = [{name: row[name] for name in rows[0]} for row in read_rows(tmp_path / "out.parquet")]
    assert kept == rows


def test_the_column_of_the_text(run: Run, trained: Path, tmp_path: Path) -> None:
    rows = [{"phrase": row["text"], "other": "x"} for row in ROWS]
    write_table(tmp_path / "a.csv", rows)
    expected = run("predict", str(trained), *(row["text"] for row in ROWS)).out
    assert run("predict", str(trained), "--file", "a.csv", "--text-column", "phrase").out == expected
    for arguments in ([], ["--text-column", "nothing"]):
        done = run("predict", str(trained), "--file", "a.csv", *arguments)
        assert done.code == 1
        assert "name the right one with --text-column" in done.err
        assert "Traceback" not in done.err
    write_table(tmp_path / "one.csv", [{"text": row["text"]} for row in ROWS])
    assert run("predict", str(trained), "--file", "one.csv").out == expected
    (tmp_path / "a.txt").write_text("fine\n")
    assert run("predict", str(trained), "--file", "a.txt", "--text-column", "text").code == 2


def test_a_model_knows_the_column_that_it_learned_from(run: Run, tmp_path: Path) -> None:
    rows = [{"phrase": text, "label": label} for text, label in (("good film", "a"), ("bad film", "b"))] * 20
    write_table(tmp_path / "train.csv", rows)
    fit = ["fit", "--dataset", "train.csv", "--text-column", "phrase", "--encoder", "mean-pool", "--epochs", "1"]
    assert run(*fit, "--output", "own").code == 0
    write_table(tmp_path / "new.csv", [{"id": "1", "phrase": "good film"}])
    assert run("predict", "own", "--file", "new.csv").out.endswith("\tgood film\n")


def test_bad_rows_and_columns_are_named(run: Run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "short.csv").write_text("text,label\nfine,a\nfine\n")
    done = run("predict", str(trained), "--file", "short.csv", "--output", "out.csv")
    assert done.code == 1
    assert "short.csv, line 3: 1 fields" in done.err
    assert not (tmp_path / "out.csv").exists()
    write_table(tmp_path / "taken.csv", [{"text": "fine", "prediction": "x"}])
    done = run("predict", str(trained), "--file", "taken.csv", "--output", "out.csv")
    assert done.code == 2
    assert "'prediction'" in done.err
    (tmp_path / "number.jsonl").write_text('{"text": "fine"}\n{"text": 5}\n')
    assert "number.jsonl, line 2: the text in column 'text' is 5" in run("predict", str(trained), "-f", "number.jsonl").err
    assert run("predict", str(trained), "fine", "--output", "out.xlsx").code == 2
    write_table(tmp_path / "gap.csv", [{"text": "", "id": "1"}, {"text": "fine", "id": "2"}])
    done = run("predict", str(trained), "--file", "gap.csv", "--output", "out.csv")
    assert "text 1 is empty" in done.err
    assert [row["id"] for row in read_rows(tmp_path / "out.csv")] == ["1", "2"]


def test_flags_that_do_not_go_together_are_refused(run: Run, trained: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv")
    assert run("predict", str(trained), "fine", "--output", "out.csv", "--json").code == 2
    done = run("predict", str(trained), "--file", "a.csv", "--dataset-option", "path=b.csv")
    assert done.code == 2
    assert "delimiter, encoding, header, quoting" in done.err
    unsure = run("predict", str(trained), "fine", "--min-confidence", "1", "--top-k", "1").out
    assert unsure.startswith("unsure ")


def test_explain_reads_tables_as_predict_does(run: Run, trained: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", [{"phrase": row["text"], "other": "x"} for row in ROWS])
    assert run("explain", str(trained), "--file", "a.csv").code == 1
    done = run("explain", str(trained), "--file", "a.csv", "--text-column", "phrase", "--json")
    assert len(done.out.splitlines()) == 3


def test_a_stdin_that_cannot_be_read_is_told(trained: Path, tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m seqcls predict {trained} - <&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "stdin is closed" in done.stderr
    command = f"exec {sys.executable} -m seqcls predict {trained} - 0>{tmp_path}/written"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot read stdin: ")


def test_how_a_table_is_written_can_be_said(run: Run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text^id\nsaid "fine^1\n')
    options = ["--dataset-option", "delimiter=^", "--dataset-option", "quoting=none"]
    assert run("predict", str(trained), "--file", "a.csv", *options).out.endswith('\tsaid "fine\n')


def test_texts_and_numbers_are_written_too(run: Run, trained: Path, tmp_path: Path) -> None:
    assert run("predict", str(trained), "fine", "bad", "--output", "out.csv").code == 0
    assert [row["text"] for row in read_rows(tmp_path / "out.csv")] == ["fine", "bad"]
    assert run("predict", str(trained), "fine", "--top-k", "5").out.count(":") == 2
    shown = json.loads(run("predict", str(trained), "fine", "--top-k", "1", "--json").out)
    assert list(shown["probabilities"]) == [shown["label"]]


def test_many_unreadable_texts_are_counted(run: Run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n" * 30)
    err = run("predict", str(trained), "--file", "a.txt").err
    assert err.count("is empty") == 10
    assert "30 of 30 texts" in err


def test_each_line_of_a_pipe_is_answered_as_it_comes(trained: Path) -> None:
    command = [sys.executable, "-m", "seqcls", "predict", str(trained), "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in ("The film was good.", "A dull evening", "caf\u00e9"):
            process.stdin.write(f"{text}\n".encode())
            process.stdin.flush()
            assert process.stdout.readline().decode().split("\t")[2] == f"{text}\n"  # hangs if it waits for more lines
        process.stdin.write(b"no line end")
        process.stdin.close()
        assert process.stdout.readline().endswith(b"\tno line end\n")
        assert process.wait() == 0


def test_answers_have_the_type_of_the_labels(run: Run, tmp_path: Path) -> None:
    rows = [{"text": text, "label": label} for text, label in (("good film", 1), ("bad film", 0))] * 20
    write_table(tmp_path / "train.jsonl", rows)
    assert run("fit", "--dataset", "train.jsonl", "--encoder", "mean-pool", "--epochs", "1", "--output", "own").code == 0
    answer = json.loads(run("predict", "own", "good film", "--json").out)
    assert answer["label"] in answer["probabilities"]
    assert run("predict", "own", "--file", "train.jsonl", "--output", "out.jsonl", "--top-k", "2").code == 0
    for row in read_rows(tmp_path / "out.jsonl"):
        assert row["prediction"] in (0, 1)
        assert {row["top_1"], row["top_2"]} == {0, 1}
    assert run("predict", "own", "good film").out.split("\t")[0] in ("0", "1")


def test_a_text_that_begins_with_a_hyphen_is_given_after_two(run: Run, trained: Path) -> None:
    done = run("predict", str(trained), "-5 degrees")
    assert done.code == 2
    assert "predict MODEL -- TEXT" in " ".join(done.err.split())
    assert run("predict", str(trained), "--", "-5 degrees").out.endswith("\t-5 degrees\n")
    for wrong in (["--devise", "cpu"], ["-o"], ["--threads"]):
        assert "MODEL -- TEXT" not in run("predict", str(trained), "text", *wrong).err
