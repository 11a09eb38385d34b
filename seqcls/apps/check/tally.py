"""Counting how often integers occur that come in parts, when few of all possible ones do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SMALL = 1_000_000
"""The number of counts that are kept in parts in any case."""

_Counts = tuple[NDArray[np.int64], NDArray[np.int64]]


class Tally:
    """Counts integers; parts are merged when they have doubled, so that the work is about M log M for M integers."""

    def __init__(self) -> None:
        self._parts: list[_Counts] = []
        self._limit = SMALL

    @property
    def num_held(self) -> int:
        """The number of counts in all parts."""
        return sum(len(keys) for keys, _ in self._parts)

    def add(self, values: NDArray[np.int64]) -> None:
        """Count values [n]."""
        self._parts.append(np.unique(values, return_counts=True))
        if self.num_held > self._limit:
            self._limit = SMALL + 2 * len(self.counts()[0])

    def counts(self) -> _Counts:
        """Return the different integers, ascending, and how often each was added, both int64 [K]."""
        empty = np.empty(0, dtype=np.int64)
        keys, counts = (np.concatenate([empty, *parts]) for parts in zip((empty, empty), *self._parts, strict=True))
        distinct, places = np.unique(keys, return_inverse=True)
        sums = np.zeros(len(distinct), dtype=np.int64)
        np.add.at(sums, places, counts)
        self._parts = [(distinct, sums)]
        return distinct, sums
