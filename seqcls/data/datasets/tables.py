"""Rows of files: CSV, JSON Lines, Parquet and Arrow, compressed or not. What is wrong with a row comes out as a row too."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import logging
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from seqcls.errors import DataError, MissingExtraError

_SAMPLE = 1 << 20  # bytes that encoding, delimiter and quoting are judged by
_HEAD = 100  # rows that the columns of JSON Lines are judged by
_DELIMITERS = ",;\t|"
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")  # how Python's "surrogateescape" shows a byte that is no text

TABULAR = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
JSON = {".jsonl", ".ndjson", ".json"}
ARROW = {".parquet", ".pq", ".arrow", ".feather"}
COMPRESSED = {".gz", ".zst"}

logger = logging.getLogger("seqcls")


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


@dataclass(frozen=True)
class Dialect:
    """How delimited text is written; None is found out from the beginning of the file.

    Attributes:
        delimiter: Between fields; a single character.
        quoting: "standard": fields may stand in double quotes (RFC 4180); "none": a quote is text.
        encoding: Of any text file; a name that Python knows.
        header: Whether the first row names the columns. If None, it does if it has one of ``known_columns``.
        known_columns: Names that columns are known by.
    """

    delimiter: str | None = None
    quoting: Literal["standard", "none"] | None = None
    encoding: str | None = None
    header: bool | None = None
    known_columns: frozenset[str] = field(default_factory=frozenset)


def form_of(path: Path) -> str:
    """Return the suffix that tells the form, in lower case, without one of compression: ".csv" of "a.CSV.gz"."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever reading a damaged file raises into a DataError that names it."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    except UnicodeError as error:
        raise DataError(f"cannot read {path}: {error}; give its encoding with --dataset-option encoding=NAME") from error


def open_table(path: Path, dialect: Dialect) -> Table:
    """Open a table, its form told by the suffix.

    Raises:
        DataError: The file cannot be read, is empty, or is of no known form.
        MissingExtraError: pyarrow is needed and not installed.
    """
    form = form_of(path)
    with reading(path):
        if form in ARROW:
            return _open_arrow(path)
        encoding = dialect.encoding or _sniff_encoding(path)
        if form in JSON:
            return _open_json(path, encoding)
        return _open_delimited(path, dialect, encoding)


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file, decompressed; gzip is recognized by its content, Zstandard by its suffix."""
    if path.suffix.lower() == ".zst":
        stream: IO[bytes] = _pyarrow().input_stream(str(path), compression="zstd")
        return io.BufferedReader(stream)  # type: ignore[type-var]
    file = path.open("rb")
    if file.peek(2)[:2] == b"\x1f\x8b":
        file.close()
        return gzip.open(path)  # type: ignore[return-value]
    return file


def open_text(path: Path, encoding: str, *, newline: str = "\n") -> IO[str]:
    """Open a text file; a byte that is no text in ``encoding`` shows as a lone surrogate (see `find_bad_byte`)."""
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise DataError(f"encoding {encoding!r} is not known to Python; try utf-8, latin-1, cp1252 or utf-16") from None
    return io.TextIOWrapper(open_bytes(path), encoding=encoding, errors="surrogateescape", newline=newline)


def find_bad_byte(text: str) -> str | None:
    """Return in words what byte of ``text`` was not of its encoding; None if all were."""
    found = None if text.isascii() else _ESCAPED_BYTE.search(text)
    return (
        found
        and f"the byte 0x{ord(found[0]) - 0xDC00:02X} after {text[: found.start()][-20:]!r} is not of the file's encoding"
    )


# Encoding.


def _sniff_encoding(path: Path) -> str:
    """Return the encoding by byte order mark and content; of text that is not UTF-8 at all, Windows-1252, saying so."""
    with open_bytes(path) as file:
        sample = file.read(_SAMPLE)
    for mark, encoding in ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if sample.startswith(mark):
            return encoding
    if sample[1::2].count(0) > 0.3 * len(sample[1::2]) > 0:
        return "utf-16-le"
    if sample[::2].count(0) > 0.3 * len(sample[::2]) > 0:
        return "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, final=False)
    except UnicodeDecodeError:
        text = sample.decode("utf-8", "surrogateescape")
        if all(character.isascii() or "\udc80" <= character <= "\udcff" for character in text):
            logger.warning(f"{path} is not UTF-8; it is read as Windows-1252 (another: --dataset-option encoding=NAME)")
            return "cp1252"
    return "utf-8"


# Delimited text.


def _open_delimited(path: Path, dialect: Dialect, encoding: str) -> Table:
    with open_text(path, encoding, newline="") as file:
        sample = file.read(_SAMPLE)
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
    """Yield the line each row begins at, from 1, and its fields; rows without any character are no rows."""
    csv.field_size_limit(sys.maxsize)  # a document may be long
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
            "there is text after a closing quote; double the quotes inside, or add --dataset-option quoting=none",
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
            problem = f"{len(fields)} fields where {'the header has' if header else 'the first row has'} {len(columns)}"
            yield BadRow(f"line {line}", f"{problem}; put text that holds the delimiter in quotes")
        elif fields == header:
            yield BadRow(f"line {line}", "the header comes again")
        else:
            yield Row(f"line {line}", _by_column(columns, fields))


def _by_column(columns: list[str], fields: list[str]) -> dict[str, str]:
    # Of columns with one name the first would win silently: it is marked, and asking for it is an error.
    return dict(zip(reversed(columns), reversed(fields), strict=True))


def _sniff_delimiter(path: Path, sample: str) -> str:
    """Return the delimiter that cuts the first rows into the most alike numbers of fields; the suffix breaks ties."""
    expected = TABULAR.get(form_of(path), ",")
    lines = sample.splitlines(keepends=True)[: 2 * _HEAD]

    def share_of_like_rows(delimiter: str) -> float:
        reader = csv.reader(lines, delimiter=delimiter)
        try:
            counts = Counter(len(fields) for fields in islice(reader, _HEAD) if fields)
        except csv.Error:
            return 0.0
        ((width, count),) = counts.most_common(1) or [(0, 0)]
        return count / max(1, counts.total()) if width > 1 else 0.0

    shares = {delimiter: share_of_like_rows(delimiter) for delimiter in _DELIMITERS}
    return max(shares, key=lambda delimiter: (shares[delimiter], delimiter == expected, -_DELIMITERS.index(delimiter)))


def _sniff_quoting(delimiter: str, sample: str) -> str:
    """Return "none" for tab-separated text whose quotes are no well-formed quoting, as in messages that people wrote."""
    if delimiter != "\t" or '"' not in sample:
        return "standard"
    lines = sample.splitlines(keepends=True)
    if len(sample) >= _SAMPLE:
        lines = lines[:-1]
    try:
        rows = [fields for fields in csv.reader(lines, delimiter=delimiter, strict=True) if fields]
    except csv.Error:
        return "none"
    return "standard" if len({len(fields) for fields in rows}) == 1 else "none"


# JSON.


def _open_json(path: Path, encoding: str) -> Table:
    rows = _json_rows(path, encoding)
    head = list(islice(rows, _HEAD))
    if not head:
        raise DataError(f"{path} is empty")
    if isinstance(head[0], BadRow) and all(isinstance(row, BadRow) for row in head):
        raise DataError(f"{path}, {head[0].where}: {head[0].problem}")
    columns = list(dict.fromkeys(name for row in head if isinstance(row, Row) for name in row.values))
    return Table(columns, chain(head, rows))


def _json_rows(path: Path, encoding: str) -> Iterator[Row | BadRow]:
    """Yield an object a line, or the objects of one array."""
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
    except (ValueError, RecursionError) as error:  # also of a number too long, or too many brackets
        place = f", column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        return BadRow(where + place, f"this is no JSON: {getattr(error, 'msg', error)}")


def _json_array(text: str) -> Iterator[Row | BadRow]:
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        yield BadRow("line 1", f"this is no JSON: {error}", fatal=True)
        return
    for number, item in enumerate(items, start=1):
        yield _as_object(item, f"item {number}")


def _as_object(value: object, where: str) -> Row | BadRow:
    if isinstance(value, dict):
        return Row(where, value)
    return BadRow(where, f'a {type(value).__name__} stands where an object belongs, such as {{"text": …, "label": …}}')


# Parquet and Arrow.


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ModuleNotFoundError:
        raise MissingExtraError("pyarrow", "data") from None
    except ImportError as error:
        raise DataError(f"pyarrow cannot be used here: {error}") from error
    return pyarrow


def _open_arrow(path: Path) -> Table:
    pyarrow = _pyarrow()
    try:
        schema, batches = _open_parquet(path) if form_of(path) in (".parquet", ".pq") else _open_ipc(path)
    except pyarrow.ArrowException as error:
        raise DataError(f"cannot read {path}: {error}") from error
    return Table(list(schema.names), _arrow_rows(batches))


def _arrow_source(path: Path) -> Any:
    """Map the file; a compressed one is decompressed into memory, since its parts are read in any order."""
    pyarrow = _pyarrow()
    if path.suffix.lower() not in COMPRESSED:
        return pyarrow.memory_map(str(path))
    with open_bytes(path) as file:
        return pyarrow.BufferReader(file.read())


def _open_parquet(path: Path) -> tuple[Any, Iterator[Any]]:
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(_arrow_source(path))
    return file.schema_arrow, file.iter_batches(batch_size=1000)


def _open_ipc(path: Path) -> tuple[Any, Iterator[Any]]:
    import pyarrow.ipc

    source = _arrow_source(path)
    try:
        file = pyarrow.ipc.open_file(source)
    except pyarrow.ArrowInvalid:  # a stream has no footer
        source.seek(0)
        stream = pyarrow.ipc.open_stream(source)
        return stream.schema, iter(stream)
    return file.schema, (file.get_batch(number) for number in range(file.num_record_batches))


def _arrow_rows(batches: Iterator[Any]) -> Iterator[Row | BadRow]:
    number = 0
    try:
        for batch in batches:
            names, columns = batch.schema.names, [column.to_pylist() for column in batch.columns]
            for values in zip(*columns, strict=True):
                number += 1
                yield Row(f"row {number}", dict(zip(names, values, strict=True)))
    except (_pyarrow().ArrowException, UnicodeError) as error:
        yield BadRow(f"after row {number}", f"the file is damaged: {error}", fatal=True)
