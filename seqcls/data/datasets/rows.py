"""Rows of tables. A row that cannot be read is a row too, and says what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Row(NamedTuple):
    """A row: where it begins, such as "line 7" or "row 7", and its values by column."""

    where: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read: where it begins, and what is wrong; ``fatal`` if no later row can be read either."""

    where: str
    problem: str
    fatal: bool = False


@dataclass(frozen=True)
class Table:
    """The columns of a file, and its rows, which can be read once.

    Attributes:
        columns: The names; "1", "2", … if the file has no header.
        rows: Sound and bad rows, in order.
        has_header: Whether the names come from the file.
    """

    columns: Sequence[str]
    rows: Iterator[Row | BadRow]
    has_header: bool = True
