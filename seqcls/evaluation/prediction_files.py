"""Files of predictions, one example per row: CSV, JSON Lines and Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
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


def write_rows(rows: Iterable[Row], path: Path, columns: Sequence[str]) -> None:
    """Write rows, as they come, in the format of the path's extension; a complete new file replaces an existing one.

    In CSV, the items of a list are joined by "|". The types of the columns of Parquet are those of the first 10,000 rows.

    Args:
        rows: Values by column. In JSON Lines, a row may have others than ``columns``.
        path: The file.
        columns: The columns, in their order.

    Raises:
        DataError: The file cannot be written, or a row has an unknown column, or a value of another type.
        UsageError: As `check_format`.
        MissingExtraError: As `check_format`.
    """
    write = {"csv": _write_csv, "jsonl": _write_json_lines, "parquet": _write_parquet}[check_format(path)]
    try:
        with replacing(path) as file:
            write(rows, file, columns)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error


def _write_csv(rows: Iterable[Row], file: BinaryIO, columns: Sequence[str]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in _checked(rows, columns):
        writer.writerow(_cell(row.get(name)) for name in columns)
    text.detach()


def _cell(value: object) -> object:
    if isinstance(value, list) and not any(isinstance(item, list | dict) for item in value):
        return _LABEL_SEPARATOR.join(str(_cell(item)) for item in value)
    if isinstance(value, bool):
        return str(value).lower()  # as labels are called
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else value


def _write_json_lines(rows: Iterable[Row], file: BinaryIO, _: Sequence[str]) -> None:
    for row in rows:
        line = json.dumps(row, ensure_ascii=False, default=str)
        try:
            file.write(f"{line}\n".encode())
        except UnicodeEncodeError:  # a lone surrogate cannot be encoded, but it is valid JSON when it is escaped
            file.write(f"{json.dumps(row, default=str)}\n".encode())


def _write_parquet(rows: Iterable[Row], file: BinaryIO, columns: Sequence[str]) -> None:
    import pyarrow
    from pyarrow import parquet

    remaining = map(_encodable, _checked(rows, columns))
    first = list(islice(remaining, _ROWS_AT_ONCE))
    number = 0
    try:
        schema = pyarrow.schema(
            [(name, _without_null(pyarrow.array([row.get(name) for row in first]).type)) for name in columns]
        )
        with parquet.ParquetWriter(file, schema) as writer:
            chunk = first
            while chunk:
                writer.write_table(pyarrow.Table.from_pylist(chunk, schema=schema))
                number += len(chunk)
                chunk = list(islice(remaining, _ROWS_AT_ONCE))
    except pyarrow.ArrowException as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"the rows after row {number} do not fit into Parquet: {reason}; write .jsonl instead") from error


def _without_null(type_: Any) -> Any:
    """Return a type of Arrow, with that of texts in the place of one that no value has told."""
    import pyarrow

    if pyarrow.types.is_null(type_):
        return pyarrow.string()
    return pyarrow.list_(_without_null(type_.value_type)) if pyarrow.types.is_list(type_) else type_


def _encodable(row: Row) -> Row:
    """Return the row without lone surrogates in its texts, which Arrow refuses."""
    return {
        name: value.encode("utf-8", errors="replace").decode() if isinstance(value, str) else value
        for name, value in row.items()
    }


def _checked(rows: Iterable[Row], columns: Sequence[str]) -> Iterator[Row]:
    known = frozenset(columns)
    for number, row in enumerate(rows, start=1):
        if not row.keys() <= known:
            other = next(name for name in row if name not in known)
            raise DataError(f"row {number} has the column {other!r:.60}, which the first rows lack; write .jsonl instead")
        yield row


def flat(row: Row) -> Row:
    """Return a row with one column per label, ``probability_LABEL``, in the place of "probabilities" by label."""
    probabilities = {f"probability_{name}": value for name, value in row["probabilities"].items()}
    return {name: value for name, value in row.items() if name != "probabilities"} | probabilities
