"""Slices of tables of examples by labels, so that what is computed from one needs little memory, however many labels."""

from __future__ import annotations

from collections.abc import Iterator

CELLS = 1 << 20
"""The most cells of a table that are computed with at a time, unless a single row or column has more; 8 MB of float64."""


def chunks(count: int, width: int) -> Iterator[slice]:
    """Yield consecutive slices that cover ``count`` rows of ``width`` cells each; one that is empty if there are no rows."""
    step = max(1, CELLS // max(1, width))
    for start in range(0, max(1, count), step):
        yield slice(start, min(start + step, count))
