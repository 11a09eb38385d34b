from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from seqcls.errors import DataError, UsageError
from seqcls.evaluation.predictions import Predictions

TEXTS = ['said "no", then left', "two\nlines", "完全に", "half a pair \ud800", "", "=1+1"]


@pytest.fixture
def predictions() -> Predictions:
    logits, labels = np.random.default_rng(1).normal(size=(len(TEXTS), 2)), np.arange(len(TEXTS)) % 2
    return Predictions(("bad", "so, so"), logits, labels, temperature=0.5, texts=TEXTS)


def test_csv_holds_one_example_per_row(predictions: Predictions, tmp_path: Path) -> None:
    predictions.write(tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["text", "label", "prediction", "confidence", "probability_bad", "probability_so, so"]
    assert [row["text"] for row in rows] == [text.replace("\ud800", "?") for text in TEXTS]
    assert [row["label"] for row in rows] == [predictions.label_names[number] for number in predictions.labels]
    written = [[float(row["probability_bad"]), float(row["probability_so, so"])] for row in rows]
    np.testing.assert_array_equal(written, predictions.probabilities)


def test_json_lines_hold_one_example_per_line(predictions: Predictions, tmp_path: Path) -> None:
    predictions.write(tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows == list(predictions.rows())
    assert [row["text"] for row in rows] == TEXTS
    assert [max(row["probabilities"].values()) for row in rows] == [row["confidence"] for row in rows]


def test_parquet_holds_one_example_per_row(predictions: Predictions, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    predictions.write(tmp_path / "out.parquet")
    rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["probability_bad"] for row in rows] == predictions.probabilities[:, 0].tolist()
    assert [row["text"] for row in rows] == [text.replace("\ud800", "?") for text in TEXTS]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_several_labels_stand_in_one_row(tmp_path: Path, ending: str) -> None:
    labels = np.array([[1, 1], [0, 0]], dtype=np.uint8)
    several = Predictions(("a", "b"), np.array([[3.0, 3.0], [3.0, -3.0]]), labels, thresholds=(0.5, 0.5))
    path = tmp_path / f"out.{ending}"
    several.write(path)
    if ending == "csv":
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        assert [(row["label"], row["prediction"]) for row in rows] == [("a|b", "a|b"), ("", "a")]
    else:
        if ending == "jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
        else:
            rows = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
        assert [(row["label"], row["prediction"]) for row in rows] == [(["a", "b"], ["a", "b"]), ([], ["a"])]
        assert "text" not in rows[0]


def test_a_file_that_cannot_be_written_is_named(predictions: Predictions, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"out\.xls .*\.csv, \.jsonl, \.parquet"):
        predictions.write(tmp_path / "out.xls")
    with pytest.raises(DataError, match=r"cannot write .*/missing/out\.csv: No such file"):
        predictions.write(tmp_path / "missing" / "out.csv")
    assert list(tmp_path.iterdir()) == []
