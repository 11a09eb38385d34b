from __future__ import annotations

import json
from pathlib import Path

from commands import Run


def test_check_says_what_is_wrong_where_and_what_to_do_in_80_columns(run: Run, faulty: str) -> None:
    done = run("check", faulty, "--text-column", "words", "--dataset-option", "label_column=mood")
    assert done.code == 0
    assert done.out.startswith("./faulty.csv: train 60; 2 labels\n\nwarning: duplicates\n  1 text in train is the same")
    assert "    train 6: placefa, number 5, was a [bold]good one\n    train 8: placefa" in done.out
    assert "\n  Remove them" in done.out
    assert done.out.endswith("\n\n3 warnings, 0 notes\n")
    assert max(map(len, done.out.splitlines())) <= 80
    assert "\x1b" not in done.out


def test_check_strict_fails_on_a_warning_alone(run: Run, faulty: str) -> None:
    columns = ["--text-column", "words", "--label-column", "mood"]
    assert run("check", faulty, *columns, "--strict").code == 1
    rows = [f"place{chr(97 + number)} was a <b>{'good' if number % 2 else 'bad'}</b> one" for number in range(24)]
    lines = [f"{text},{number % 2}" for number, text in enumerate(rows)]
    Path("notes.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    done = run("check", "./notes.csv", "--strict")
    assert done.code == 0
    assert "note: html" in done.out
    assert "0 warnings, " in done.out


def test_check_json_is_one_object_with_the_documented_keys(run: Run, faulty: str) -> None:
    checked = json.loads(run("check", faulty, "--text-column", "words", "--label-column", "mood", "--json").out)
    assert list(checked) == ["dataset", "splits", "label_names", "findings"]
    assert (checked["dataset"], checked["splits"]) == ("./faulty.csv", {"train": 60})
    assert {finding["kind"] for finding in checked["findings"]} >= {"duplicates", "empty"}
    for finding in checked["findings"]:
        assert list(finding) == ["kind", "severity", "count", "message", "advice", "examples"]
        assert all(list(example) == ["split", "row", "excerpt"] for example in finding["examples"])
