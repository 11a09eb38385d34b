from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics

from seqcls.errors import DataError, UsageError
from seqcls.evaluation.calibration import calibration_error
from seqcls.evaluation.predictions import Predictions


def _drawn(seed: int, count: int, classes: int, *, levels: int | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Logits, of few different values with ``levels``, and labels that they tell something of."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)) + 1.5 * (labels[:, None] == np.arange(classes))
    return (logits if levels is None else np.round(logits * levels) / levels), labels


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000), count=st.integers(1, 60), classes=st.integers(2, 5), levels=st.sampled_from([None, 1, 2])
)
def test_figures_of_labels_are_those_of_scikit_learn(seed: int, count: int, classes: int, levels: int | None) -> None:
    logits, labels = _drawn(seed, count, classes, levels=levels)
    names = tuple(f"label {number}" for number in range(classes))
    predictions = Predictions(names, logits, labels, temperature=1.7)
    found = predictions.assess()
    said, every = predictions.probabilities.argmax(axis=1), list(range(classes))
    wanted = metrics.precision_recall_fscore_support(labels, said, labels=every, zero_division=0)
    for number, name in enumerate(names):
        label, true, probability = found.labels[name], labels == number, predictions.probabilities[:, number]
        expected = [column[number] for column in wanted]
        assert [label.precision, label.recall, label.f1, label.support] == pytest.approx(expected, abs=1e-12)
        if 0 < true.sum() < count:
            assert label.roc_auc == pytest.approx(metrics.roc_auc_score(true, probability), abs=1e-12)
            assert label.average_precision == pytest.approx(metrics.average_precision_score(true, probability), abs=1e-12)
        else:
            assert (label.roc_auc, label.average_precision) == (None, None)
    assert found.confusion == metrics.confusion_matrix(labels, said, labels=every).tolist()
    macro = metrics.f1_score(labels, said, labels=every, average="macro", zero_division=0)
    assert found.macro_f1 == pytest.approx(macro, abs=1e-12)
    assert found.score.accuracy == metrics.accuracy_score(labels, said)
    assert found.score.loss == pytest.approx(metrics.log_loss(labels, predictions.probabilities, labels=every))
    if len(set(labels)) == classes > 2:
        area = metrics.roc_auc_score(labels, predictions.probabilities, multi_class="ovr", labels=every)
        assert found.roc_auc == pytest.approx(area, abs=1e-12)


@settings(max_examples=30)
@given(seed=st.integers(0, 1000))
def test_figures_of_several_labels_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (50, 3)).astype(np.uint8)
    logits = rng.normal(size=(50, 3)) + 2 * labels - 1
    thresholds = (0.3, 0.5, 0.8)
    found = Predictions(("a", "b", "c"), logits, labels, thresholds=thresholds).assess()
    said = (1 / (1 + np.exp(-logits))) >= np.array(thresholds)
    assert found.confusion is None
    assert found.macro_f1 == pytest.approx(metrics.f1_score(labels, said, average="macro", zero_division=0))
    assert found.score.f1 == pytest.approx(metrics.f1_score(labels, said, average="micro", zero_division=0))
    assert found.score.accuracy == metrics.accuracy_score(labels, said)
    assert found.roc_auc == pytest.approx(metrics.roc_auc_score(labels, logits))


def test_both_calibration_errors_are_given() -> None:
    logits, labels = _drawn(0, 500, 3)
    found = Predictions(("a", "b", "c"), 5 * logits, labels, temperature=5.0).assess()
    true = torch.from_numpy(labels)
    assert found.calibration_error == calibration_error(torch.from_numpy(logits), true)
    assert found.uncalibrated_error == calibration_error(torch.from_numpy(5 * logits), true)


def test_a_least_confidence_answers_the_sure_ones() -> None:
    # Confidences 0.9, 0.6, 0.8, 0.7; wrong is the second.
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    predictions = Predictions(("a", "b"), np.log(probabilities), np.array([0, 1, 1, 0]))
    found = [predictions.assess(min_confidence=least) for least in (0.0, 0.65, 0.75, 0.95)]
    assert [assessment.coverage for assessment in found] == [1.0, 0.75, 0.5, 0.0]
    assert [assessment.selective_accuracy for assessment in found] == [0.75, 1.0, 1.0, None]
    assert [assessment.score.accuracy for assessment in found] == [0.75] * 4


TEXTS = ['said "no", then left', "two\nlines", "完全に", "half a pair \ud800", "", "=1+1"]


@pytest.fixture
def predictions() -> Predictions:
    logits, labels = _drawn(1, len(TEXTS), 2)
    return Predictions(("bad", "so, so"), logits, labels, temperature=0.5, texts=TEXTS)


def test_csv_holds_a_row_an_example(predictions: Predictions, tmp_path: Path) -> None:
    predictions.write(tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["text", "label", "prediction", "confidence", "probability_bad", "probability_so, so"]
    assert [row["text"] for row in rows] == [text.replace("\ud800", "?") for text in TEXTS]
    assert [row["label"] for row in rows] == [predictions.label_names[number] for number in predictions.labels]
    found = [[float(row["probability_bad"]), float(row["probability_so, so"])] for row in rows]
    np.testing.assert_array_equal(found, predictions.probabilities)


def test_json_lines_hold_a_row_an_example(predictions: Predictions, tmp_path: Path) -> None:
    predictions.write(tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows == list(predictions.rows())
    assert [row["text"] for row in rows] == TEXTS
    assert [max(row["probabilities"].values()) for row in rows] == [row["confidence"] for row in rows]


def test_parquet_holds_a_row_an_example(predictions: Predictions, tmp_path: Path) -> None:
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
    with pytest.raises(
        UsageError, match=r"out\.xls has no ending that tells the format; end it in \.csv, \.jsonl, \.parquet"
    ):
        predictions.write(tmp_path / "out.xls")
    with pytest.raises(DataError, match=r"cannot write .*/missing/out\.csv: No such file"):
        predictions.write(tmp_path / "missing" / "out.csv")
    assert list(tmp_path.iterdir()) == []
