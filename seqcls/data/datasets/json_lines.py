"""JSON: one object per line, or an array of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from seqcls.data.datasets.rows import BadRow, Row, Table
from seqcls.data.datasets.text_files import find_bad_byte, open_text, reading
from seqcls.errors import DataError

_HEAD = 100  # rows whose names are the columns

SUFFIXES = {".jsonl", ".ndjson", ".json"}


def open_json(path: Path, encoding: str) -> Table:
    """Open a JSON file; its columns are the names in the first objects.

    Raises:
        DataError: The file is empty, or holds no JSON object.
    """
    rows = _json_rows(path, encoding)
    head = list(islice(rows, _HEAD))
    if not head:
        raise DataError(f"{path} is empty")
    if isinstance(head[0], BadRow) and all(isinstance(row, BadRow) for row in head):
        raise DataError(f"{path}, {head[0].where}: {head[0].problem}")
    columns = list(dict.fromkeys(name for row in head if isinstance(row, Row) for name in row.values))
    return Table(columns, chain(head, rows))


def _json_rows(path: Path, encoding: str) -> Iterator[Row | BadRow]:
    """Yield one object per line, or the objects of one array."""
    with reading(path), open_text(path, encoding) as file:
        for number, line in enumerate(file, start=1):
            if number == 1 and line.lstrip().startswith("["):
                yield from _json_array(line + file.read())
                return
            if line.strip():
                yield _json_row(line, f"line {number}")


def _json_row(line: str, where: str) -> Row | BadRow:
    if bad_byte := find_bad_byte(line):
        return BadRow(where, bad_byte)
    try:
        return _as_object(json.loads(line), where)
    except (ValueError, RecursionError) as error:  # also for numbers too long, or brackets too deep
        column = f", column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        return BadRow(where + column, f"not JSON: {getattr(error, 'msg', error)}")


def _json_array(text: str) -> Iterator[Row | BadRow]:
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        yield BadRow("line 1", f"not JSON: {error}", fatal=True)
        return
    for number, item in enumerate(items, start=1):
        yield _as_object(item, f"item {number}")


def _as_object(value: object, where: str) -> Row | BadRow:
    if isinstance(value, dict):
        return Row(where, value)
    return BadRow(where, f'a {type(value).__name__}, not an object such as {{"text": …, "label": …}}')
