"""What the sections of a report are made of: tables, plots, and percentages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

MAX_ROWS = 100
"""The most labels that a table shows."""


@dataclass(frozen=True)
class Table:
    """Cells as text; the first cell of a row is its heading."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Plot:
    """A plot with the names of its lines, a note on how to read it, and its numbers as a table, which everyone can read."""

    title: str
    svg: Markup
    note: str
    table: Table
    legend: Sequence[str] = ()


def percent(value: float) -> str:
    """Return a share as "88.1%"."""
    return f"{100 * value:.1f}%"
