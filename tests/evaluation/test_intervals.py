from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from toy import random_predictions

from seqcls.evaluation.intervals import Interval, accuracy_interval, label_intervals, mean_interval, wilson_interval
from seqcls.evaluation.predictions import Predictions


def test_the_interval_holds_the_true_accuracy_19_times_in_20() -> None:
    rng = np.random.default_rng(1)
    labels = np.zeros(500, dtype=np.int64)
    hits = 0
    for _ in range(300):
        logits = np.where(rng.random((500, 1)) < 0.85, [2.0, 0.0], [0.0, 2.0])
        interval = accuracy_interval(Predictions(("a", "b"), logits, labels))
        assert interval.low is not None
        assert interval.high is not None
        hits += interval.low <= 0.85 <= interval.high
    assert 0.91 < hits / 300 < 0.98


def test_the_intervals_of_a_label_are_about_those_of_a_bootstrap_over_examples() -> None:
    predictions = random_predictions(0, 300, 3)
    intervals = label_intervals(predictions)["label 1"]
    true, predicted = predictions.true[:, 1], predictions.predicted[:, 1]
    rows = np.random.default_rng(1).integers(0, 300, (5000, 300))
    hits = (true & predicted)[rows].sum(axis=1)
    resampled = {"precision": hits / predicted[rows].sum(axis=1), "recall": hits / true[rows].sum(axis=1)}
    resampled["f1"] = 2 * hits / (true[rows].sum(axis=1) + predicted[rows].sum(axis=1))
    for name, values in resampled.items():
        interval, score = getattr(intervals, name), predictions.assess().labels["label 1"]
        assert interval.value == pytest.approx(getattr(score, name))
        assert [interval.low, interval.high] == pytest.approx(np.quantile(values, [0.025, 0.975]).tolist(), abs=0.02)


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_figures_of_labels_are_those_of_the_assessment_and_reproducible(is_multi_label: bool) -> None:
    # Some of the labels belong to no example, or are predicted for none.
    predictions = random_predictions(3, 12, 6, is_multi_label=is_multi_label)
    intervals, scores = label_intervals(predictions), predictions.assess().labels
    assert {name: interval.f1.value for name, interval in intervals.items()} == pytest.approx(
        {name: score.f1 for name, score in scores.items()}
    )
    for each in intervals.values():
        for interval in (each.f1, each.precision, each.recall):
            if interval.low is not None and interval.high is not None:
                assert 0 <= interval.low <= interval.value <= interval.high <= 1
                assert interval.low < interval.high  # nothing is certain
    assert label_intervals(predictions) == intervals


def test_means_over_seeds_have_the_interval_of_student() -> None:
    values = [0.88, 0.9, 0.91, 0.87]
    interval = mean_interval(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert [interval.value, interval.low, interval.high] == pytest.approx([np.mean(values), low, high])
    assert mean_interval([0.9]) == Interval(0.9)


def test_a_few_correct_examples_do_not_make_an_accuracy_certain() -> None:
    # Wilson's lower bound for 4 of 4 is 4 / (4 + z**2) with z = 1.95996.
    interval = wilson_interval(4, 4)
    assert (interval.value, interval.high) == (1.0, 1.0)
    assert interval.low == pytest.approx(4 / (4 + 1.95996**2), rel=1e-5)


@pytest.mark.parametrize("right", [True, False])
def test_no_figure_of_a_few_examples_is_certain(right: bool) -> None:
    labels = np.array([0, 1] * 6)
    logits = np.eye(3)[labels if right else 1 - labels]
    predictions = Predictions(("a", "b", "never"), logits, labels)
    low, high = 12 / (12 + 1.95996**2), 1.95996**2 / (12 + 1.95996**2)
    interval = accuracy_interval(predictions)
    assert (interval.low, interval.high) == pytest.approx((low, 1) if right else (0, high), abs=1e-5)
    figures = label_intervals(predictions)
    for interval in (figures["a"].precision, figures["a"].recall, figures["a"].f1):
        assert interval.low is not None
        assert interval.high is not None
        assert interval.high - interval.low > 0.2
    assert figures["never"].f1 == Interval(0.0)  # no example has it, or is given it
    assert predictions.assess().macro_f1 == (1.0 if right else 0.0)


def test_intervals_are_shown_in_percent() -> None:
    assert Interval(0.881, 0.8794, 0.8836).in_percent() == "88.1% (87.9 to 88.4)"
    assert Interval(0.881).in_percent() == "88.1%"
