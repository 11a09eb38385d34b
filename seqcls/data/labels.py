"""Labels: the forms in which they come, their order, and the arrays that hold them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Label = int | str | Sequence[str]
L = TypeVar("L", int, str, int | str)


def pack_labels(indices: Sequence[tuple[int, ...]], num_labels: int | None) -> NDArray[Any]:
    """Return the labels of N examples as int64 [N]; as uint8 [N, num_labels] if ``num_labels`` is given (multi-label)."""
    counts = np.fromiter(map(len, indices), dtype=np.int64, count=len(indices))
    flat = np.fromiter(chain.from_iterable(indices), dtype=np.int64, count=int(counts.sum()))
    if num_labels is None:
        return flat
    labels = np.zeros((len(indices), num_labels), dtype=np.uint8)
    labels[np.repeat(np.arange(len(indices)), counts), flat] = 1
    return labels


def as_set(label: Label) -> tuple[int | str, ...]:
    """Return the distinct labels of one example."""
    return (label,) if isinstance(label, int | str) else tuple(dict.fromkeys(label))


def are_in_range(labels: NDArray[Any], count: int) -> bool:
    """Return whether labels are indices below ``count``, int64 [N], or rows of 0 and 1, uint8 [N, count]."""
    if labels.ndim == 2:
        return labels.shape[1] == count and bool((labels <= 1).all())
    return not len(labels) or 0 <= int(labels.min()) <= int(labels.max()) < count


def sort_labels(labels: Iterable[L]) -> list[L]:
    """Sort the names of labels: integers, and strings that are all integers, as numbers (2 before 10); others as strings."""
    names = list(labels)
    if all(isinstance(name, str) and re.fullmatch(r"[+-]?\d{1,18}", name) for name in names):
        return sorted(names, key=lambda name: (int(name), str(name)))
    return sorted(names, key=lambda name: (isinstance(name, str), name))


def listed(names: Sequence[str], most: int = 8) -> str:
    """Return the first names for a message, and the number of the others."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
