"""Names that columns and splits are usually known by."""

from __future__ import annotations

from collections.abc import Sequence

from seqcls.errors import DataError

USUAL_COLUMNS = {
    "text": ("text", "review", "sentence", "content", "message", "document", "comment", "body", "tweet", "sms", "title"),
    "label": ("label", "sentiment", "class", "target", "category", "labels", "tag", "topic", "y"),
    "group": (),
}
"""Names that columns are known by, the first that is there."""

SPLIT_NAMES = {"train": "train", "training": "train", "test": "test"}
SPLIT_NAMES |= dict.fromkeys(("validation", "valid", "val", "dev"), "validation")
"""Names of files, folders and tables, and the splits they mean."""


def find_column(columns: Sequence[str], role: str, wanted: str | None) -> str:
    """Return the column of the text or label: the one that is asked for, else the first with a usual name.

    Raises:
        DataError: There is none.
    """
    folded = {name.casefold(): name for name in reversed(columns)}
    if wanted is not None:
        column = wanted if wanted in columns else folded.get(wanted.casefold())
    else:
        column = next((folded[name] for name in USUAL_COLUMNS[role] if name in folded), None)
    if column is None:
        what = f"no column {wanted!r}" if wanted is not None else f"no column that is known to hold the {role}"
        raise DataError(f"{what}; there are {list(columns)}")
    return column
