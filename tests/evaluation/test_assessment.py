from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics

from seqcls.evaluation.calibration import calibration_error
from seqcls.evaluation.predictions import Predictions
from seqcls.evaluation.scores import Score


def _random_predictions(
    seed: int, count: int, classes: int, *, levels: int | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return logits, rounded to multiples of 1 / ``levels``, and labels that correlate with them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)) + 1.5 * (labels[:, None] == np.arange(classes))
    return (logits if levels is None else np.round(logits * levels) / levels), labels


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000), count=st.integers(1, 60), classes=st.integers(2, 5), levels=st.sampled_from([None, 1, 2])
)
def test_figures_of_labels_are_those_of_scikit_learn(seed: int, count: int, classes: int, levels: int | None) -> None:
    logits, labels = _random_predictions(seed, count, classes, levels=levels)
    names = tuple(f"label {number}" for number in range(classes))
    predictions = Predictions(names, logits, labels, temperature=1.7)
    assessment = predictions.assess()
    predicted, every = predictions.probabilities.argmax(axis=1), list(range(classes))
    wanted = metrics.precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    for number, name in enumerate(names):
        label, true, probability = assessment.labels[name], labels == number, predictions.probabilities[:, number]
        expected = [column[number] for column in wanted]
        assert [label.precision, label.recall, label.f1, label.support] == pytest.approx(expected, abs=1e-12)
        if 0 < true.sum() < count:
            assert label.roc_auc == pytest.approx(metrics.roc_auc_score(true, probability), abs=1e-12)
            assert label.average_precision == pytest.approx(metrics.average_precision_score(true, probability), abs=1e-12)
        else:
            assert (label.roc_auc, label.average_precision) == (None, None)
    assert assessment.confusion == metrics.confusion_matrix(labels, predicted, labels=every).tolist()
    macro = metrics.f1_score(labels, predicted, average="macro", zero_division=0)
    assert assessment.macro_f1 == pytest.approx(macro, abs=1e-12)
    shown = [assessment.labels[names[number]].f1 for number in sorted({*labels.tolist(), *predicted.tolist()})]
    assert assessment.macro_f1 == pytest.approx(np.mean(shown), abs=1e-12)
    assert assessment.score.accuracy == metrics.accuracy_score(labels, predicted)
    assert assessment.score.loss == pytest.approx(metrics.log_loss(labels, predictions.probabilities, labels=every))
    if len(set(labels)) == classes > 2:
        area = metrics.roc_auc_score(labels, predictions.probabilities, multi_class="ovr", labels=every)
        assert assessment.roc_auc == pytest.approx(area, abs=1e-12)


@settings(max_examples=30)
@given(seed=st.integers(0, 1000))
def test_figures_of_several_labels_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (50, 3)).astype(np.uint8)
    logits = rng.normal(size=(50, 3)) + 2 * labels - 1
    thresholds = (0.3, 0.5, 0.8)
    assessment = Predictions(("a", "b", "c"), logits, labels, thresholds=thresholds).assess()
    predicted = (1 / (1 + np.exp(-logits))) >= np.array(thresholds)
    assert assessment.confusion is None
    assert assessment.macro_f1 == pytest.approx(metrics.f1_score(labels, predicted, average="macro", zero_division=0))
    assert assessment.score.f1 == pytest.approx(metrics.f1_score(labels, predicted, average="micro", zero_division=0))
    assert assessment.macro_f1 == pytest.approx(np.mean([label.f1 for label in assessment.labels.values()]), abs=1e-12)
    assert assessment.score.accuracy == metrics.accuracy_score(labels, predicted)
    assert assessment.roc_auc == pytest.approx(metrics.roc_auc_score(labels, logits))


def test_both_calibration_errors_are_reported() -> None:
    logits, labels = _random_predictions(0, 500, 3)
    assessment = Predictions(("a", "b", "c"), 5 * logits, labels, temperature=5.0).assess()
    true = torch.from_numpy(labels)
    assert assessment.calibration_error == calibration_error(torch.from_numpy(logits), true)
    assert assessment.uncalibrated_error == calibration_error(torch.from_numpy(5 * logits), true)


def test_a_minimum_confidence_leaves_unsure_examples_out() -> None:
    # Confidences are 0.9, 0.6, 0.8 and 0.7; the second prediction is wrong.
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    predictions = Predictions(("a", "b"), np.log(probabilities), np.array([0, 1, 1, 0]))
    assessment = [predictions.assess(min_confidence=least) for least in (0.0, 0.65, 0.75, 0.95)]
    assert [assessment.coverage for assessment in assessment] == [1.0, 0.75, 0.5, 0.0]
    assert [assessment.selective_accuracy for assessment in assessment] == [0.75, 1.0, 1.0, None]
    assert [assessment.score.accuracy for assessment in assessment] == [0.75] * 4


def test_the_figures_of_the_score_are_attributes_of_the_assessment() -> None:
    logits, labels = _random_predictions(0, 20, 3)
    assessment = Predictions(("a", "b", "c"), logits, labels).assess()
    score = assessment.score
    figures = assessment.loss, assessment.accuracy, assessment.correct, assessment.count, assessment.f1, assessment.macro_f1
    assert Score(*figures) == score
    assert score.as_dict().items() <= assessment.as_dict().items()


def test_representations_are_short_and_hold_the_main_figures() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    predictions = Predictions(("bad", "good"), np.log(probabilities), np.array([0, 1, 1, 0]))
    # The mean of -log 0.9, -log 0.4, -log 0.8 and -log 0.7.
    assert repr(predictions.score) == "Score(loss=0.4004, accuracy=0.7500, correct=3, count=4)"
    assert "4 examples, 2 labels ('bad', 'good')" in repr(predictions)
    assert repr(predictions.assess()).startswith("Assessment(accuracy=0.7500, loss=0.4004, macro_f1=0.7333")
