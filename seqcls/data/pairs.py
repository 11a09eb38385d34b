"""(sequence, label) pairs from what Python programs hold: lists, (texts, labels) pairs, data frames, Hugging Face tables.

No library is imported for it: tables are recognized by their attributes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, Sized
from typing import Any, Protocol

import numpy as np

from seqcls.data.labels import Label, listed, plain_label
from seqcls.data.usual_names import find_column
from seqcls.errors import DataError

Pair = tuple[Any, Label]

_FORMS = "(sequence, label) pairs, a (sequences, labels) pair of two lists, a data frame, Splits, a data set, or a path"


class Frame(Protocol):
    """A table with named columns, as pandas and polars have it."""

    @property
    def columns(self) -> Any:
        """The names of the columns."""

    def __getitem__(self, name: Any, /) -> Any:
        """Return a column."""


def pairs_of(data: object, *, text_column: str | None = None, label_column: str | None = None) -> Iterator[Pair]:
    """Yield the (sequence, label) pairs that ``data`` holds.

    A *tuple* of two sequences of equal length, neither of them a string, is a (sequences, labels) pair; any other iterable
    holds pairs. A tuple of two tuples of two texts could be either, and is refused.

    Args:
        data: Pairs, from any iterable; a (sequences, labels) pair; a data frame of pandas or polars; or a ``Dataset`` of
            Hugging Face.
        text_column: Column of the sequence, for tables; by default the first with a usual name.
        label_column: Column of the label, likewise.

    Raises:
        DataError: It is none of these, lacks a column, or an item is not a pair; the message gives the place.
    """
    if isinstance(data, tuple) and len(data) == 2 and all(map(_is_list_like, data)):
        if all(map(_may_be_a_pair, data)):
            raise DataError(f"{data!r:.120} may be two pairs, or two texts and two labels; give lists instead of tuples")
        return _from_lists(*data)
    if isinstance(getattr(data, "column_names", None), list):
        return _from_rows(data, text_column, label_column)
    if _is_frame(data):
        return _from_frame(data, text_column, label_column)
    if isinstance(data, Mapping):
        raise DataError(f"a dict of {list(data)[:5]} is not data; if these are columns, pass (data['text'], data['label'])")
    if not isinstance(data, Iterable) or isinstance(data, str | bytes):
        raise DataError(f"a {type(data).__name__} is not data; give {_FORMS}")
    return (_plain(item) for item in data)


def sequences_of(data: object) -> Sequence[Any]:
    """Return the texts, or sequences of numbers, that ``data`` holds: a list, an array, a column of a frame, an iterator.

    Raises:
        DataError: It is a single text, a table, or something without an order.
    """
    if isinstance(data, str | bytes) or (isinstance(data, np.ndarray) and data.ndim == 0):
        raise DataError("give a list of texts, not one text")
    names = getattr(data, "column_names", None) or getattr(data, "columns", None)
    if isinstance(data, Mapping) or isinstance(getattr(data, "column_names", None), list) or _is_frame(data):
        columns = [str(name) for name in (data if isinstance(data, Mapping) else names or ())]
        raise DataError(f"a {type(data).__name__} of {listed(columns)} is no list of texts; give one column, data['text']")
    if not isinstance(data, Iterable) or isinstance(data, Set):
        raise DataError(f"a {type(data).__name__} is no list of texts; give them in an order")
    return data if isinstance(data, list | tuple) else list(data)


def check_pair(item: object, where: str) -> Pair:
    """Return ``item`` if it is a (text, label) or (numbers, label) pair.

    Raises:
        DataError: It is not; the message says ``where`` it stands.
    """
    if not (isinstance(item, tuple | list) and len(item) == 2):
        raise DataError(f"{where} is {item!r:.80}; give (text, label) pairs, or a tuple of two lists, (texts, labels)")
    sequence, label = item
    if not isinstance(sequence, str) and not hasattr(sequence, "__len__"):
        raise DataError(f"{where} has a {type(sequence).__name__} as text; give a str, or numbers [T, D]")
    label = plain_label(label)
    if not all(isinstance(part, bool | int | str) for part in (label if isinstance(label, list) else (label,))):
        raise DataError(f"{where} has the label {label!r:.80}; give a str, an int or a bool, or a list of them")
    return sequence, label


def _may_be_a_pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(item, str) for item in value)


def _is_list_like(value: object) -> bool:
    return isinstance(value, Sized) and isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _from_lists(sequences: Any, labels: Any) -> Iterator[Pair]:
    if len(sequences) != len(labels):
        raise DataError(
            f"there are {len(sequences)} sequences but {len(labels)} labels; give one label per sequence "
            "(a tuple of two is read as (sequences, labels): pass pairs as a list)"
        )
    return zip(_as_list(sequences), map(plain_label, _as_list(labels)), strict=True)


def _from_frame(frame: Any, text_column: str | None, label_column: str | None) -> Iterator[Pair]:
    names = {str(name): name for name in frame.columns}
    if len(names) < len(frame.columns):
        raise DataError(f"two columns have one name: {list(map(str, frame.columns))}; rename one of them")
    text, label = _find_columns(list(names), text_column, label_column)
    rows = zip(_as_list(frame[names[text]]), _as_list(frame[names[label]]), strict=True)
    return _without_gaps(((sequence, plain_label(value)) for sequence, value in rows), text, label)


def _from_rows(table: Any, text_column: str | None, label_column: str | None) -> Iterator[Pair]:
    """Yield the rows of a table of Hugging Face, whose labels may be numbers of names."""
    text, label = _find_columns(table.column_names, text_column, label_column)
    names = getattr((getattr(table, "features", None) or {}).get(label), "names", None)

    def name_of(value: Any) -> Any:
        return (None if value == -1 else names[value]) if names and value is not None else value  # -1: not labelled

    return _without_gaps(((row[text], name_of(row[label])) for row in table), text, label)


def _find_columns(columns: list[str], text_column: str | None, label_column: str | None) -> tuple[str, str]:
    try:
        return find_column(columns, "text", text_column), find_column(columns, "label", label_column)
    except DataError as error:
        raise DataError(f"{error}; rename it, or name it with Splits.of(data, text_column=..., label_column=...)") from None


def _without_gaps(pairs: Iterable[Pair], text: str, label: str) -> Iterator[Pair]:
    for number, pair in enumerate(pairs):
        for role, column, value in zip(("text", "label"), (text, label), pair, strict=True):
            if _is_missing(value):
                raise DataError(f"row {number} has no {role} in column {column!r}; leave such rows out")
        yield pair


def _is_frame(data: object) -> bool:
    columns = getattr(data, "columns", None)
    return columns is not None and not callable(columns) and hasattr(data, "shape") and hasattr(data, "__getitem__")


def _as_list(column: Any) -> list[Any]:
    """Return the items of a list, an array, or a column of a frame."""
    if isinstance(column, np.ndarray) and column.ndim > 1:
        return list(column)  # arrays, one per sequence
    for method in ("to_list", "tolist"):
        if hasattr(column, method):
            return list(getattr(column, method)())
    return list(column)


def _plain(item: Any) -> Any:
    return (item[0], plain_label(item[1])) if isinstance(item, tuple | list) and len(item) == 2 else item


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ in ("NAType", "NaTType")
