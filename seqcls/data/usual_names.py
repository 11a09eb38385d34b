"""Names that columns and splits usually have."""

from __future__ import annotations

from collections.abc import Sequence

from seqcls.errors import DataError

USUAL_COLUMNS = {
    "text": ("text", "review", "sentence", "content", "message", "document", "comment", "body", "tweet", "sms", "title"),
    "label": ("label", "sentiment", "class", "target", "category", "labels", "tag", "topic", "y"),
    "group": (),
    "weight": (),
}
"""Usual names of the column of each role; the first that a table has counts."""

SPLIT_NAMES = {"train": "train", "training": "train", "test": "test"}
SPLIT_NAMES |= dict.fromkeys(("validation", "valid", "val", "dev"), "validation")
"""The split that the name of a file, a folder or a table stands for."""


def find_column(columns: Sequence[str], role: str, wanted: str | None) -> str:
    """Return the column of a role: the one named ``wanted``, or by default the first with a usual name.

    Raises:
        DataError: There is no such column.
    """
    folded = {name.casefold(): name for name in reversed(columns)}
    if wanted is not None:
        column = wanted if wanted in columns else folded.get(wanted.casefold())
    else:
        column = next((folded[name] for name in USUAL_COLUMNS[role] if name in folded), None)
    if column is None:
        problem = f"no column {wanted!r}" if wanted is not None else f"no column has a usual name for the {role}"
        raise DataError(f"{problem}; there are {list(columns)}")
    return column
