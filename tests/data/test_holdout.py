from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from work import count_elements, peak_memory

from seqcls.data.holdout import choose_held_out
from seqcls.errors import DataError


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=40, max_size=80), st.integers(0, 3))
def test_held_out_texts_have_each_label_at_most_in_its_share(rows: list[tuple[bool, ...]], seed: int) -> None:
    labels = np.array(rows, dtype=np.uint8)
    try:
        held_out = choose_held_out(labels, groups=None, fraction=0.2, seed=seed)
    except DataError:
        return  # every label is so rare that none may be held out
    for column in (*labels.T, ~labels.any(axis=1)):
        assert column[held_out].astype(bool).sum() <= np.round(0.2 * column.astype(bool).sum())


def _straightforward(labels: NDArray[Any], groups: list[str] | None, fraction: float, seed: int) -> NDArray[np.bool_]:
    """The definition, with one count per group and class."""
    rng = np.random.default_rng(seed)
    group_of = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    classes = np.eye(labels.max() + 1, dtype=int)[labels] if labels.ndim == 1 else labels.astype(int)
    if labels.ndim == 2:
        classes = np.column_stack([classes, classes.sum(axis=1) == 0])
    wanted, taken = np.round(classes.sum(axis=0) * fraction), np.zeros(classes.shape[1])
    held_out = np.zeros(len(labels), dtype=bool)
    for group in rng.permutation(group_of.max() + 1):
        counts = classes[group_of == group].sum(axis=0)
        if (taken + counts <= wanted).all():
            taken += counts
            held_out[group_of == group] = True
    return held_out


@settings(max_examples=60)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(20, 150),
    num_labels=st.integers(1, 12),
    is_multi_label=st.booleans(),
    has_groups=st.booleans(),
)
def test_the_held_out_examples_are_those_of_the_definition(
    seed: int, count: int, num_labels: int, is_multi_label: bool, has_groups: bool
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_labels, count)
    if is_multi_label:
        labels = (rng.random((count, num_labels)) < 0.2).astype(np.uint8)
    groups = [f"group {number}" for number in rng.integers(0, count // 3, count)] if has_groups else None
    expected = _straightforward(labels, groups, 0.3, seed)
    assume(0 < expected.sum() < count)
    np.testing.assert_array_equal(choose_held_out(labels, groups=groups, fraction=0.3, seed=seed), expected)


@pytest.mark.parametrize("has_groups", [False, True])
def test_the_work_of_splitting_does_not_grow_with_the_number_of_labels(has_groups: bool) -> None:
    rng = np.random.default_rng(0)
    groups = [str(number) for number in rng.integers(0, 2_000, 20_000)] if has_groups else None

    def split(labels: NDArray[Any]) -> None:
        choose_held_out(labels, groups=groups, fraction=0.3, seed=0)

    few, many = (rng.integers(0, num_labels, 20_000) for num_labels in (2, 2_000))
    split(few)  # what is imported on the first call is not counted
    assert count_elements(split, many) < 2 * count_elements(split, few)
    with peak_memory() as peak:
        split(many)
        assert peak() < 20_000 * 300  # a table of examples and labels would take 20,000 * 2,000 at least
