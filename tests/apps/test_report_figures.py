from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from toy import random_predictions

from seqcls.apps.report.figures import accuracy_by, thinned, worst
from seqcls.evaluation.calibration import calibration_error, reliability


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), count=st.integers(1, 60), distinct=st.integers(1, 60))
def test_groups_hold_each_example_once_and_no_value_twice(seed: int, count: int, distinct: int) -> None:
    predictions = random_predictions(seed, count, 2)
    values = np.random.default_rng(seed).integers(0, distinct, count)
    groups = accuracy_by(values, predictions)
    assert sum(group.count for group in groups) == count
    assert all(group.high < following.low for group, following in pairwise(groups))
    assert sum(group.count * group.accuracy.value for group in groups) == pytest.approx(predictions.is_correct.sum())
    assert all(group.accuracy.low <= group.accuracy.value <= group.accuracy.high for group in groups)  # type: ignore[operator]


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_the_worst_mistakes_are_those_of_which_the_model_was_surest(is_multi_label: bool) -> None:
    predictions = random_predictions(5, 40, 3, is_multi_label=is_multi_label)

    def surest(row: int) -> float:
        probabilities, true, predicted = predictions.probabilities[row], predictions.true[row], predictions.predicted[row]
        return max(p if s else 1 - p for p, t, s in zip(probabilities, true, predicted, strict=True) if s != t)

    wrong = [row for row in range(40) if not predictions.is_correct[row]]
    assert worst(predictions, 5).tolist() == sorted(wrong, key=surest, reverse=True)[:5]
    assert sorted(worst(predictions, 1000)) == wrong


def test_the_most_frequent_confusions_are_the_largest_cells_off_the_diagonal() -> None:
    predictions = random_predictions(2, 200, 4)
    assessment = predictions.assess()
    assert assessment.confusion is not None
    names = predictions.label_names
    cells = [(t, s, assessment.confusion[i][j]) for i, t in enumerate(names) for j, s in enumerate(names) if i != j]
    largest = assessment.confusions(50)
    assert sorted(largest) == sorted(cell for cell in cells if cell[2])
    assert [count for *_, count in largest] == sorted((count for *_, count in largest), reverse=True)


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_the_bins_of_the_plot_give_the_calibration_error(is_multi_label: bool) -> None:
    predictions = random_predictions(4, 500, 3, is_multi_label=is_multi_label)
    logits, labels = torch.from_numpy(predictions.logits), torch.from_numpy(predictions.labels)
    bins = reliability(logits, labels)
    total = sum(bucket.count for bucket in bins)
    error = sum(bucket.count * abs(bucket.confidence - bucket.accuracy) for bucket in bins) / total
    assert total == (1500 if is_multi_label else 500)
    assert all(bucket.low < bucket.confidence <= bucket.high for bucket in bins)
    assert error == pytest.approx(calibration_error(logits, labels))


def test_a_thinned_curve_keeps_its_ends_and_its_area() -> None:
    x = np.sort(np.random.default_rng(0).random(5000))
    few_x, few_y = thinned((x, np.sqrt(x)))
    assert len(few_x) == 200
    assert (few_x[0], few_x[-1]) == (x[0], x[-1])
    assert trapezoid(few_y, few_x) == pytest.approx(trapezoid(np.sqrt(x), x), abs=1e-3)
