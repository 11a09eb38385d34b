"""Files of predictions, one example per row: CSV, JSON Lines and Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from seqcls.errors import DataError, MissingExtraError, UsageError
from seqcls.system.files import replacing

FORMATS = ("csv", "jsonl", "parquet")
"""The file name extensions, which tell the format."""

_LABEL_SEPARATOR = "|"  # in CSV
_ROWS_AT_ONCE = 10_000  # of Parquet

Row = dict[str, Any]


@dataclass(frozen=True)
class Columns:
    """What the rows hold: the text if ``has_text``, label, prediction, confidence, and one probability per label."""

    label_names: Sequence[str]
    has_text: bool
    is_multi_label: bool

    @property
    def names(self) -> list[str]:
        """The names of the columns; those of probabilities are ``probability_LABEL``."""
        text = ["text"] if self.has_text else []
        return [*text, "label", "prediction", "confidence", *(f"probability_{name}" for name in self.label_names)]


def check_format(path: Path) -> str:
    """Return the format that a file's extension stands for.

    Raises:
        UsageError: It is none of `FORMATS`.
        MissingExtraError: The format is Parquet, and pyarrow is not installed.
    """
    extension = path.suffix.removeprefix(".").lower()
    if extension not in FORMATS:
        raise UsageError(f"the extension of {path} is not one of {', '.join(f'.{name}' for name in FORMATS)}")
    if extension == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ModuleNotFoundError:
            raise MissingExtraError("pyarrow", "data") from None
    return extension


def write_rows(rows: Iterable[Row], path: Path, columns: Columns) -> None:
    """Write rows in the format of the path's extension; an existing file is replaced only by a complete new one.

    Args:
        rows: Each has the names of ``columns``, except that "probabilities" maps labels to their probabilities.
        path: The file.
        columns: What the rows hold.

    Raises:
        DataError: The file cannot be written.
        UsageError: As `check_format`.
        MissingExtraError: As `check_format`.
    """
    write = {"csv": _write_csv, "jsonl": _write_json_lines, "parquet": _write_parquet}[check_format(path)]
    try:
        with replacing(path) as file:
            write(rows, file, columns)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error


def _write_csv(rows: Iterable[Row], file: BinaryIO, columns: Columns) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="")
    writer = csv.writer(text)
    writer.writerow(columns.names)
    for row in rows:
        values = _flat(row).values()
        writer.writerow(_LABEL_SEPARATOR.join(value) if isinstance(value, list) else value for value in values)
    text.detach()


def _write_json_lines(rows: Iterable[Row], file: BinaryIO, _: Columns) -> None:
    for row in rows:
        line = json.dumps(row, ensure_ascii=False)
        try:
            file.write(f"{line}\n".encode())
        except UnicodeEncodeError:  # a lone surrogate cannot be encoded, but it is valid JSON when it is escaped
            file.write(f"{json.dumps(row)}\n".encode())


def _write_parquet(rows: Iterable[Row], file: BinaryIO, columns: Columns) -> None:
    import pyarrow
    from pyarrow import parquet

    text = pyarrow.string()
    label = pyarrow.list_(text) if columns.is_multi_label else text
    types = {"text": text, "label": label, "prediction": label}
    schema = pyarrow.schema([(name, types.get(name, pyarrow.float64())) for name in columns.names])
    with parquet.ParquetWriter(file, schema) as writer:
        remaining = map(_flat, rows)
        while chunk := list(islice(remaining, _ROWS_AT_ONCE)):
            if columns.has_text:
                for row in chunk:
                    row["text"] = row["text"].encode("utf-8", errors="replace").decode()
            writer.write_table(pyarrow.Table.from_pylist(chunk, schema=schema))


def _flat(row: Row) -> Row:
    """Return the row with one column per probability."""
    probabilities = {f"probability_{name}": value for name, value in row["probabilities"].items()}
    return {name: value for name, value in row.items() if name != "probabilities"} | probabilities
