"""What the sections of a report are made of: tables, plots, and numbers as they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Table:
    """Cells as text; the first of each row names it."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Plot:
    """A plot with what its lines are, what to see in it, and its numbers for those who want, or need, these."""

    title: str
    svg: Markup
    note: str
    table: Table
    legend: Sequence[str] = ()


def percent(value: float) -> str:
    """Return a share as "88.1%"."""
    return f"{100 * value:.1f}%"
