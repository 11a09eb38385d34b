"""Rows of tables, sound and bad: what is wrong with a row comes out as a row too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Row(NamedTuple):
    """A row: where it begins, as "line 7" or "row 7", and its values by column."""

    where: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read: where it begins, what is wrong, and what to do; ``fatal`` if no later row can be read."""

    where: str
    problem: str
    fatal: bool = False


@dataclass(frozen=True)
class Table:
    """Columns, and rows that can be read once.

    Attributes:
        columns: Their names; "1", "2", … where the file has no header.
        rows: Sound and bad rows, in order.
        has_header: Whether the names come from the file.
        first: The first row of a table without header.
    """

    columns: Sequence[str]
    rows: Iterator[Row | BadRow]
    has_header: bool = True
