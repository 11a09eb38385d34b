from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from seqcls.errors import DataError
from seqcls.evaluation.differences import compare, differences, seed_differences
from seqcls.evaluation.predictions import Predictions


def answers(is_correct: Any) -> Predictions:
    """Return predictions for examples with the first of two labels."""
    is_correct = np.asarray(is_correct, dtype=bool)
    logits = np.where(is_correct[:, None], [2.0, 0.0], [0.0, 2.0])
    return Predictions(("a", "b"), logits, np.zeros(len(is_correct), dtype=np.int64))


def named(**are_correct: Any) -> dict[str, Predictions]:
    return {name: answers(is_correct) for name, is_correct in are_correct.items()}


def test_the_interval_of_a_difference_is_that_of_a_bootstrap_over_pairs() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random(400) < 0.9, rng.random(400) < 0.8
    difference = compare("one", "other", named(one=one, other=other))
    rows = rng.integers(0, 400, (20_000, 400))
    resampled = one[rows].mean(axis=1) - other[rows].mean(axis=1)
    assert difference.accuracy.value == pytest.approx(one.mean() - other.mean())
    bounds = [difference.accuracy.low, difference.accuracy.high]
    assert bounds == pytest.approx(np.quantile(resampled, [0.025, 0.975]).tolist(), abs=0.005)
    assert (difference.only_one, difference.only_other) == (int((one & ~other).sum()), int((other & ~one).sum()))


@settings(max_examples=30)
@given(only_one=st.integers(0, 30), only_other=st.integers(0, 30))
def test_mcnemars_test_is_that_of_the_binomial_distribution(only_one: int, only_other: int) -> None:
    one = [True] * only_one + [False] * only_other + [True] * 5
    other = [False] * only_one + [True] * only_other + [True] * 5
    expected = min(1.0, 2 * stats.binom.cdf(min(only_one, only_other), only_one + only_other, 0.5))
    assert compare("one", "other", named(one=one, other=other)).p_value == pytest.approx(expected)


def test_the_best_model_is_compared_with_each_of_the_others() -> None:
    compared = differences(named(bad=[False] * 60 + [True] * 40, good=[True] * 100, even=[True] * 99 + [False]))
    assert [(difference.one, difference.other, difference.is_certain) for difference in compared] == [
        ("good", "bad", True),
        ("good", "even", False),
    ]
    sentences = [difference.sentence() for difference in compared]
    assert sentences[0].startswith("good is better than bad by 60.0 points, 95% interval 50.0 to 70.0 (McNemar p = ")
    assert sentences[1].startswith("No certain difference between good and even")
    assert sentences[1].endswith("1.0 points, 95% interval 0.0 to 3.0 (McNemar p = 1)")


def test_models_that_were_asked_about_different_examples_are_not_compared() -> None:
    for other in (answers([True] * 9), Predictions(("a", "b"), np.zeros((10, 2)), np.ones(10, dtype=np.int64))):
        with pytest.raises(DataError, match="same examples"):
            compare("one", "other", {"one": answers([True] * 10), "other": other})


def test_the_order_of_label_names_does_not_matter() -> None:
    reversed_names = Predictions(("b", "a"), np.zeros((10, 2)), np.ones(10, dtype=np.int64))
    assert compare("one", "other", {"one": answers([True] * 10), "other": reversed_names}).only_other == 0


def test_encoders_are_compared_seed_by_seed() -> None:
    (difference,) = seed_differences({"worse": [0.8, 0.82, 0.81], "better": [0.9, 0.92, 0.91]})
    assert (difference.one, difference.other, difference.is_certain) == ("better", "worse", True)
    assert difference.sentence() == "better is better than worse by 10.0 points, 95% interval 10.0 to 10.0"


def test_a_single_seed_gives_no_certain_difference() -> None:
    (difference,) = seed_differences({"a": [0.5], "b": [0.6]})
    assert not difference.is_certain
    assert difference.sentence().startswith("No certain difference between b and a: 10.0 points; a single seed")
    assert json.loads(json.dumps(difference.as_dict()))["p_value"] is None
