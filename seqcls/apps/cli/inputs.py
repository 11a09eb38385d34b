"""What a classifier is asked about: texts from arguments, lines or tables, or sequences of numbers from a file."""

from __future__ import annotations

import codecs
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from seqcls.data.datasets.rows import Table
    from seqcls.inference.classifier import Classifier
    from seqcls.inference.portable.onnx_classifier import OnnxClassifier

logger = logging.getLogger("seqcls")

_AT_ONCE = 1024  # items that are read before a classifier is asked
_BYTES_AT_ONCE = 1 << 16  # of stdin
_TABLE_OPTIONS = {"delimiter", "quoting", "encoding", "header"}


class Item(NamedTuple):
    """A text, or a sequence of numbers, and the row of the table that it comes from; other items are rows of one column."""

    sequence: Any
    row: Mapping[str, Any]


@dataclass(frozen=True)
class Inputs:
    """What a classifier is asked about.

    Attributes:
        columns: The names in the rows of the items.
        chunks: The items, as many at a time as are there: an answer never waits for lines that are still to come.
    """

    columns: Sequence[str]
    chunks: Iterator[list[Item]]


def inputs(
    texts: list[str] | None, file: Path | None, *, text_column: str | None = None, options: Mapping[str, Any] | None = None
) -> Callable[[Classifier | OnnxClassifier], Inputs]:
    """Return a function that reads what a classifier takes: texts, or sequences of numbers.

    Args:
        texts: The texts; a single "-" stands for the lines of stdin.
        file: A table, or a file with one text per line; for numbers, a file of arrays.
        text_column: The column of the text in a table.
        options: Options of the data set `files` for a table, such as its delimiter.

    Raises:
        UsageError: Neither texts nor a file are given, or both are; or there is a text column without a table.
    """
    from seqcls.data.datasets import tables
    from seqcls.data.datasets.text_files import form_of
    from seqcls.errors import UsageError

    if (file is None) == (not texts):
        raise UsageError("give texts as arguments, or --file FILE, or - to read stdin")
    is_table = file is not None and form_of(file) in tables.SUFFIXES
    if not is_table and (text_column or options):
        raise UsageError("--text-column and --dataset-option are for tables, such as --file FILE.csv")
    if unknown := (options or {}).keys() - _TABLE_OPTIONS:
        raise UsageError(f"--dataset-option {min(unknown)}: a table has {', '.join(sorted(_TABLE_OPTIONS))}")

    def read(classifier: Classifier | OnnxClassifier) -> Inputs:
        if classifier.preprocessor.kind != "text":
            return Inputs(["sequence"], _chunks(_read_numbers(file)))
        if file is not None and is_table:
            return _read_table(file, text_column, options or {}, _learned_from(classifier))
        if file is None and texts != ["-"]:
            return Inputs(["text"], _chunks(map(_as_item, texts or [])))
        chunks = _lines_of_file(file) if file is not None else _lines_of_stdin()
        return Inputs(["text"], ([_as_item(text) for text in chunk] for chunk in _decoded(chunks, file or "stdin")))

    return read


def _as_item(text: str) -> Item:
    return Item(text, {"text": text})


def _chunks(items: Iterable[Any]) -> Iterator[list[Any]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, _AT_ONCE)):
        yield chunk


def _lines_of_file(file: Path) -> Iterator[list[bytes]]:
    from seqcls.data.datasets.text_files import open_bytes, reading

    with reading(file), open_bytes(file) as lines:
        yield from _chunks(lines)


def _lines_of_stdin() -> Iterator[list[bytes]]:
    """Yield the lines that are there, as soon as there is one."""
    from seqcls.errors import UsageError

    if sys.stdin is None:
        raise UsageError("stdin is closed, so that there are no texts to read")
    stdin: BinaryIO = sys.stdin.buffer
    begun: list[bytes] = []  # of a line whose end is still to come
    while data := _read_some(stdin):
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = b"".join([*begun, lines[0]])
            begun = []
            yield lines
        begun.append(rest)
    if last := b"".join(begun):
        yield [last]


def _read_some(stdin: BinaryIO) -> bytes:
    """Return what is there of stdin, as soon as there is something; nothing at its end."""
    from seqcls.data.datasets.text_files import reading

    with reading(Path("stdin")):
        data: bytes = stdin.read1(_BYTES_AT_ONCE)  # type: ignore[attr-defined]
    return data


def _decoded(chunks: Iterable[list[bytes]], name: Path | str) -> Iterator[list[str]]:
    """Yield the texts of the lines of a file or of stdin."""
    from seqcls.errors import DataError

    number, is_utf8 = 0, True
    for chunk in chunks:
        texts = []
        for line in chunk:
            number += 1
            if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise DataError(f"{name} is UTF-16; write it as UTF-8 (iconv -f utf-16 -t utf-8)")
            text, is_valid = _decode(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line)
            if is_utf8 and not is_valid:
                logger.warning(
                    "%s: line %d is not UTF-8; such lines are read as Windows-1252, or with \ufffd for each broken byte",
                    name,
                    number,
                )
                is_utf8 = False
            texts.append(text.rstrip("\r\n"))
        yield texts


def _read_table(file: Path, wanted: str | None, options: Mapping[str, Any], learned_from: str | None) -> Inputs:
    """Open a table, and find the column of its texts: the wanted one, that which the model learned from, or a usual one.

    Raises:
        DataError: The file cannot be read, or has no such column.
    """
    from seqcls.config.settings import DataConfig
    from seqcls.data.datasets.files import FilesDataset
    from seqcls.data.datasets.tables import open_table
    from seqcls.data.prepare import build_dataset
    from seqcls.data.usual_names import find_column
    from seqcls.errors import DataError

    known = {**options, "text_column": wanted or learned_from}
    dataset = build_dataset(DataConfig(dataset="files", dataset_options={**known, "path": str(file)}))
    assert isinstance(dataset, FilesDataset)
    table = open_table(file, dataset.dialect)
    columns = list(table.columns)
    if wanted is None and learned_from in columns:
        wanted = learned_from
    if wanted is None and len(columns) == 1:
        wanted = columns[0]
    try:
        column = find_column(columns, "text", wanted)
    except DataError as error:
        raise DataError(f"{file}: {error}: name the right one with --text-column") from None
    return Inputs(columns, _chunks(_items_of(file, table, column)))


def _items_of(file: Path, table: Table, column: str) -> Iterator[Item]:
    from seqcls.data.datasets.examples import is_missing
    from seqcls.data.datasets.rows import BadRow
    from seqcls.errors import DataError

    for row in table.rows:
        if isinstance(row, BadRow):
            raise DataError(f"{file}, {row.where}: {row.problem}")
        text = row.values.get(column)
        if is_missing(text):
            text = ""
        if not isinstance(text, str):
            kind = type(text).__name__
            raise DataError(f"{file}, {row.where}: the text in column {column!r} is {text!r:.60}, a {kind}; give texts")
        yield Item(text, row.values)


def _learned_from(classifier: Classifier | OnnxClassifier) -> str | None:
    """Return the column that the training data had the texts in, if it was named."""
    config = getattr(classifier, "config", None)
    column = None if config is None else config.data.dataset_options.get("text_column")
    return column if isinstance(column, str) else None


def _decode(line: bytes) -> tuple[str, bool]:
    """Return the text of a line, and whether it is valid UTF-8.

    Otherwise it is read as Windows-1252, unless some character beyond ASCII is valid UTF-8.
    """
    try:
        return line.decode(), True
    except UnicodeDecodeError:
        text = line.decode(errors="replace")
        is_mostly_utf8 = not text.replace("\ufffd", "").isascii()
        return text if is_mostly_utf8 else line.decode("cp1252", errors="replace"), False


def _read_numbers(file: Path | None) -> Iterator[Item]:
    from seqcls.data.datasets.arrays import read_arrays
    from seqcls.errors import UsageError

    if file is None:
        raise UsageError("the model reads sequences of numbers, not texts; give them as --file FILE.npz or FILE.ts")
    return (Item(sequence, {"sequence": number}) for number, (sequence, _) in enumerate(read_arrays(file), start=1))


def seconds_of_flag(flag: str, duration: str | None) -> float | None:
    """Return the seconds that a flag gives, such as 90s or 1h30m; None if it is not given.

    Raises:
        UsageError: It is of another form, or not above zero.
    """
    from seqcls.config.values import seconds_of
    from seqcls.errors import UsageError

    if duration is None:
        return None
    try:
        seconds = seconds_of(duration)
    except ValueError as error:
        raise UsageError(f"{flag} {duration}: {error}") from None
    assert isinstance(seconds, float)
    if not seconds:
        raise UsageError(f"{flag} must be greater than zero")
    return seconds
