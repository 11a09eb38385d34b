"""The choice of the examples that are held out for validation or test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqcls.errors import DataError


def choose_held_out(labels: NDArray[Any], *, groups: Sequence[str] | None, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose examples to hold out: about ``fraction`` of each class, and whole groups only.

    Groups are visited in a seeded random order, and each is taken unless a class would exceed its share. Without groups,
    every example is its own group, so that the shares are exact to one example per class. In multi-label data, each label is
    a class, and so is having no label.

    Args:
        labels: int64 [N], or uint8 [N, K] for multi-label data.
        groups: N names of groups, or None.
        fraction: The share to hold out, between 0 and 1.
        seed: The seed of the random order.

    Returns:
        bool [N], True for the examples that are held out.

    Raises:
        DataError: No example, or every example, would be held out.
    """
    if not 0 < fraction < 1:
        raise DataError(f"the fraction to hold out is {fraction}; give a number between 0 and 1")
    if groups is None and labels.ndim == 1:
        held_out, num_groups = _choose_singly(labels, fraction, seed), len(labels)
    else:
        group_of = np.arange(len(labels)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        held_out, num_groups = _choose_groups(labels, group_of, fraction, seed), int(group_of.max()) + 1
    if not held_out.any() or held_out.all():
        raise DataError(
            f"{len(labels)} training examples in {num_groups} groups are too few to hold out {fraction:.0%} "
            "of them; give a validation split, or more data"
        )
    return held_out


def _choose_singly(labels: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.bool_]:
    order = np.random.default_rng(seed).permutation(len(labels))
    held_out = np.zeros(len(labels), dtype=bool)
    for label, wanted in enumerate(np.round(np.bincount(labels) * fraction).astype(np.int64)):
        held_out[order[labels[order] == label][:wanted]] = True
    return held_out


def _choose_groups(labels: NDArray[Any], group_of: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.bool_]:
    if labels.ndim == 2:
        classes = np.hstack([labels, ~labels.any(axis=1, keepdims=True)]).astype(np.int64)
    else:
        classes = np.eye(int(labels.max()) + 1, dtype=np.int64)[labels]
    num_groups = int(group_of.max()) + 1
    counts = np.zeros((num_groups, classes.shape[1]), dtype=np.int64)
    np.add.at(counts, group_of, classes)
    wanted = np.round(counts.sum(axis=0) * fraction).astype(np.int64)
    taken = np.zeros_like(wanted)
    chosen = np.zeros(num_groups, dtype=bool)
    for group in np.random.default_rng(seed).permutation(num_groups):
        if np.all(taken + counts[group] <= wanted):
            taken += counts[group]
            chosen[group] = True
    held_out: NDArray[np.bool_] = chosen[group_of]
    return held_out
