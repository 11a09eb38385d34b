from __future__ import annotations

import codecs
import json
import subprocess
import sys
from pathlib import Path

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
