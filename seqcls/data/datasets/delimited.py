"""Delimited text: CSV and TSV, their delimiter, quoting and header."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from seqcls.data.datasets.rows import BadRow, Row, Table
from seqcls.data.datasets.text_files import SAMPLE, find_bad_byte, form_of, open_text, reading
from seqcls.errors import DataError

_HEAD = 100  # rows from which the delimiter is inferred
_DELIMITERS = ",;\t|"

SUFFIXES = {".csv": ",", ".tsv": "\t", ".tab": "\t"}


@dataclass(frozen=True)
class Dialect:
    """How delimited text is written; whatever is None is inferred from the beginning of the file.

    Attributes:
        delimiter: The character between fields.
        quoting: "standard": fields may be in double quotes (RFC 4180); "none": a quote is text.
        encoding: The encoding of any text file, as Python names it.
        header: Whether the first row names the columns. If None, it does if it contains one of ``known_columns``.
        known_columns: Usual names of columns, in lower case.
    """

    delimiter: str | None = None
    quoting: Literal["standard", "none"] | None = None
    encoding: str | None = None
    header: bool | None = None
    known_columns: frozenset[str] = field(default_factory=frozenset)


def open_delimited(path: Path, dialect: Dialect, encoding: str) -> Table:
    """Open delimited text; what the dialect leaves open is inferred from the beginning of the file.

    Raises:
        DataError: The file is empty, or its first row is malformed.
    """
    with open_text(path, encoding, newline="") as file:
        sample = file.read(SAMPLE)
    if not sample.strip("\ufeff\r\n \0"):
        raise DataError(f"{path} is empty")
    delimiter = dialect.delimiter or _sniff_delimiter(path, sample)
    if len(delimiter) != 1:
        raise DataError(f"the delimiter {delimiter!r} of {path} is not a single character")
    quoting = dialect.quoting or _sniff_quoting(delimiter, sample)
    rows = _delimited_rows(path, encoding, delimiter, quoting)
    first = next(rows)
    if isinstance(first, BadRow):
        raise DataError(f"{path}, {first.where}: {first.problem}")
    _, names = first
    known = {name.strip().casefold() for name in names} & dialect.known_columns
    if dialect.header is False or (dialect.header is None and not known):
        columns = [str(number) for number in range(1, len(names) + 1)]
        return Table(columns, _as_rows(chain([first], rows), columns, None), has_header=False)
    columns = [name.strip() for name in names]
    return Table(columns, _as_rows(rows, columns, names))


def _delimited_rows(path: Path, encoding: str, delimiter: str, quoting: str) -> Iterator[tuple[int, list[str]] | BadRow]:
    """Yield the line at which each row begins, from 1, and its fields; empty lines are skipped."""
    csv.field_size_limit(min(sys.maxsize, (1 << 31) - 1))  # a document may be long; on Windows, the limit is a C long
    with reading(path), open_text(path, encoding, newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True, **_csv_quoting(quoting))
        while True:
            line = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield _csv_problem(line, str(error))
                continue
            if fields:
                yield line, fields


def _csv_quoting(quoting: str) -> dict[str, Any]:
    return {"quoting": csv.QUOTE_NONE, "quotechar": None} if quoting == "none" else {"quoting": csv.QUOTE_MINIMAL}


def _csv_problem(line: int, problem: str) -> BadRow:
    if "unexpected end" in problem:
        text = "a quote is opened and never closed; close it, or, if quotes are text, add --dataset-option quoting=none"
        return BadRow(f"line {line}", text, fatal=True)
    if "expected after" in problem:
        return BadRow(
            f"line {line}",
            "there is text after a closing quote; double the quotes inside, or, if quotes are text, add "
            "--dataset-option quoting=none",
        )
    return BadRow(f"line {line}", problem)


def _as_rows(
    rows: Iterable[tuple[int, list[str]] | BadRow], columns: list[str], header: list[str] | None
) -> Iterator[Row | BadRow]:
    for row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        line, fields = row
        bad_byte = next(filter(None, map(find_bad_byte, fields)), None)
        if bad_byte:
            yield BadRow(f"line {line}", bad_byte)
        elif len(fields) != len(columns):
            problem = f"{len(fields)} fields, but the {'header' if header else 'first row'} has {len(columns)}"
            yield BadRow(f"line {line}", f"{problem}; put text that contains the delimiter in quotes")
        elif fields == header:
            yield BadRow(f"line {line}", "the header is repeated")
        else:
            yield Row(f"line {line}", _by_column(columns, fields))


def _by_column(columns: list[str], fields: list[str]) -> dict[str, str]:
    # The first of several columns with one name wins here; `FilesDataset` refuses to read such a column.
    return dict(zip(reversed(columns), reversed(fields), strict=True))


def _sniff_delimiter(path: Path, sample: str) -> str:
    """Return the delimiter that gives most of the first rows the same number of fields; the suffix breaks ties."""
    expected = SUFFIXES.get(form_of(path), ",")
    lines = sample.splitlines(keepends=True)[: 2 * _HEAD]

    def share_of_equal_rows(delimiter: str) -> float:
        reader = csv.reader(lines, delimiter=delimiter)
        try:
            counts = Counter(len(fields) for fields in islice(reader, _HEAD) if fields)
        except csv.Error:
            return 0.0
        ((width, count),) = counts.most_common(1) or [(0, 0)]
        return count / max(1, counts.total()) if width > 1 else 0.0

    shares = {delimiter: share_of_equal_rows(delimiter) for delimiter in _DELIMITERS}
    return max(shares, key=lambda delimiter: (shares[delimiter], delimiter == expected, -_DELIMITERS.index(delimiter)))


def _sniff_quoting(delimiter: str, sample: str) -> str:
    """Return "none" for tab-separated text whose quotes are not well-formed quoting, as in messages that people write."""
    if delimiter != "\t" or '"' not in sample:
        return "standard"
    lines = sample.splitlines(keepends=True)
    if len(sample) >= SAMPLE:
        lines = lines[:-1]
    try:
        rows = [fields for fields in csv.reader(lines, delimiter=delimiter, strict=True) if fields]
    except csv.Error:
        return "none"
    return "standard" if len({len(fields) for fields in rows}) == 1 else "none"
