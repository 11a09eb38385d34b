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

    In a few examples, a share of each class may come to nothing. Then one example of a class, at most, is held out until
    their number is ``fraction`` of all; if groups are too large for that, the smallest one is. Each class keeps an example.

    Args:
        labels: int64 [N], or uint8 [N, K] for multi-label data.
        groups: N names of groups, or None.
        fraction: The share to hold out, between 0 and 1.
        seed: The seed of the random order.

    Returns:
        bool [N], True for the examples that are held out.

    Raises:
        DataError: Nothing can be held out such that each class keeps an example.
    """
    if not 0 < fraction < 1:
        raise DataError(f"the fraction to hold out is {fraction}; give a number between 0 and 1")
    group_of = np.arange(len(labels)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if groups is None and labels.ndim == 1:
        held_out = _choose_singly(labels, fraction, seed)
    else:
        held_out = _choose_groups(labels, group_of, fraction, seed)
    if not held_out.any():
        held_out = _choose_few(labels, group_of, fraction, seed)
    if not held_out.any() or held_out.all():
        raise DataError(_too_few(len(labels), None if groups is None else int(group_of.max()) + 1))
    return held_out


def choose_folds(labels: NDArray[Any], *, groups: Sequence[str] | None, count: int, seed: int) -> NDArray[np.int64]:
    """Divide examples into folds for cross-validation, with about the same share of each class and no group in two folds.

    Groups are visited from the largest to the smallest, those of one size in a seeded random order. Each goes to the fold
    that has the fewest examples of its classes, and, among such folds, the fewest in all.

    Args:
        labels: int64 [N], or uint8 [N, K] for multi-label data.
        groups: N names of groups, or None.
        count: The number of folds.
        seed: The seed of the random order.

    Returns:
        int64 [N], the fold of each example, from 0; there are fewer folds if there are fewer groups.
    """
    group_of = np.arange(len(labels)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    rows, classes = _memberships(labels)
    sizes = np.bincount(group_of)
    per_group = np.zeros((len(sizes), int(classes.max()) + 1), dtype=np.int64)
    np.add.at(per_group, (group_of[rows], classes), 1)
    count = min(count, len(sizes))
    in_fold, fold_of = np.zeros((count, per_group.shape[1]), dtype=np.int64), np.zeros(len(sizes), dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(sizes))
    for group in order[np.argsort(-sizes[order], kind="stable")].tolist():
        own, all_in = in_fold @ per_group[group], in_fold.sum(axis=1)
        fold_of[group] = np.lexsort((all_in, own))[0]
        in_fold[fold_of[group]] += per_group[group]
    return fold_of[group_of]


def _too_few(examples: int, groups: int | None) -> str:
    if groups is None:
        return f"{examples} training examples, one per label, leave none for validation; give more, or a validation split"
    return (
        f"{examples} training examples in {groups} group{'' if groups == 1 else 's'}: holding out any of them would leave a "
        "label without training examples; give a validation split, more groups, or no groups"
    )


def _choose_singly(labels: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.bool_]:
    order = np.random.default_rng(seed).permutation(len(labels))
    counts = np.bincount(labels)
    wanted = np.round(counts * fraction).astype(np.int64)
    # The examples class by class, each class in the random order, of which the first are taken.
    by_class = order[np.argsort(labels[order], kind="stable")]
    places = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    held_out = np.zeros(len(labels), dtype=bool)
    held_out[by_class[places < np.repeat(wanted, counts)]] = True
    return held_out


def _choose_groups(labels: NDArray[Any], group_of: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.bool_]:
    _, classes = _memberships(labels)
    left = np.round(np.bincount(classes) * fraction).astype(np.int64)  # how many each class may still give
    return _choose_within(left, labels, group_of, seed, most=len(labels))


def _choose_few(labels: NDArray[Any], group_of: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose at least one group if each class can keep an example; see `choose_held_out`."""
    _, classes = _memberships(labels)
    spare = np.maximum(np.bincount(classes) - 1, 0)
    most = max(round(len(labels) * fraction), 1)
    held_out = _choose_within(np.minimum(spare, 1), labels, group_of, seed, most=most)
    if held_out.any():
        return held_out
    for size in np.unique(np.bincount(group_of)).tolist():
        held_out = _choose_within(spare, labels, group_of, seed, most=size)
        if held_out.any():
            break
    return held_out


def _choose_within(
    shares: NDArray[np.int64], labels: NDArray[Any], group_of: NDArray[np.int64], seed: int, *, most: int
) -> NDArray[np.bool_]:
    """Choose groups in a seeded random order, at most ``shares`` [C] examples of each class and ``most`` in all."""
    rows, classes = _memberships(labels)
    num_classes = int(classes.max()) + 1
    # Groups have few classes each, so only the pairs that occur are counted, sorted by group.
    pairs, counts = np.unique(group_of[rows] * num_classes + classes, return_counts=True)
    num_groups = int(group_of.max()) + 1
    ends = np.cumsum(np.bincount(pairs // num_classes, minlength=num_groups)).tolist()
    members = list(zip((pairs % num_classes).tolist(), counts.tolist(), strict=True))
    left, sizes = shares.tolist(), np.bincount(group_of, minlength=num_groups).tolist()
    chosen = np.zeros(num_groups, dtype=bool)
    for group in np.random.default_rng(seed).permutation(num_groups).tolist():
        in_group = members[ends[group - 1] if group else 0 : ends[group]]
        if sizes[group] <= most and all(count <= left[number] for number, count in in_group):
            for number, count in in_group:
                left[number] -= count
            most -= sizes[group]
            chosen[group] = True
    held_out: NDArray[np.bool_] = chosen[group_of]
    return held_out


def _memberships(labels: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each pair of an example and a class that it has, as two arrays of indices; having no label is a class too."""
    if labels.ndim == 1:
        return np.arange(len(labels)), labels
    rows, classes = np.nonzero(labels)
    (without,) = np.nonzero(~labels.any(axis=1))
    return np.append(rows, without), np.append(classes, np.full(len(without), labels.shape[1]))
