"""Holding out validation data from few examples, or from few groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqcls import Splits
from seqcls.data.holdout import choose_held_out
from seqcls.errors import DataError


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(0, 5))
def test_something_is_held_out_wherever_a_label_can_spare_it(labels: list[int], seed: int) -> None:
    counts = np.bincount(labels)
    if counts.max() == 1:
        with pytest.raises(DataError, match="one per label, leave none for validation; give more"):
            choose_held_out(np.array(labels), groups=None, fraction=0.1, seed=seed)
        return
    held_out = choose_held_out(np.array(labels), groups=None, fraction=0.1, seed=seed)
    kept = np.bincount(np.array(labels)[~held_out], minlength=len(counts))
    assert 1 <= held_out.sum() <= max(1, round(0.1 * len(labels)) + len(counts))
    assert (kept[counts > 0] >= 1).all()


@pytest.mark.parametrize("classes", [2, 30])
def test_three_examples_of_each_label_give_a_tenth_of_different_labels(classes: int) -> None:
    labels = np.repeat(np.arange(classes), 3)
    held_out = choose_held_out(labels, groups=None, fraction=0.1, seed=0)
    assert held_out.sum() == max(1, round(0.3 * classes))
    assert len(set(labels[held_out])) == held_out.sum()


def test_few_texts_with_several_labels_give_one() -> None:
    labels = np.array([[1, 0], [1, 1], [1, 1], [0, 1]], dtype=np.uint8)
    held_out = choose_held_out(labels, groups=None, fraction=0.1, seed=0)
    assert held_out.sum() == 1
    assert (labels[~held_out].sum(axis=0) >= 1).all()


def test_large_groups_give_the_smallest_one() -> None:
    labels, groups = np.tile([0, 1], 15), ["a"] * 8 + ["b"] * 12 + ["c"] * 10
    held_out = choose_held_out(labels, groups=groups, fraction=0.1, seed=0)
    assert held_out.tolist() == [group == "a" for group in groups]


@pytest.mark.parametrize("groups", [["a"] * 4, ["a", "a", "b", "b"]])
def test_groups_that_each_hold_a_label_alone_are_refused_with_a_remedy(groups: list[str]) -> None:
    with pytest.raises(DataError, match=r"group.* leave a label without training examples; give a validation split"):
        choose_held_out(np.array([0, 0, 1, 1]), groups=groups, fraction=0.1, seed=0)


def test_a_label_with_one_example_stays_in_training() -> None:
    splits = Splits.from_pairs([("a rare one", "rare"), *((f"text {number}", "common") for number in range(3))])
    divided = splits.with_validation(fraction=0.1, seed=0)
    assert divided.validation is not None
    assert len(divided.validation) == 1
    assert "rare" in {divided.label_names[label] for _, label in divided.train}
