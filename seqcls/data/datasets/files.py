"""`files`: texts and labels from files of your own."""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from seqcls.data.datasets import keras
from seqcls.data.datasets.base import (
    SPLIT_NAMES,
    USUAL_COLUMNS,
    Dataset,
    Split,
    Splits,
    find_column,
    pack_labels,
    sort_labels,
)
from seqcls.data.datasets.tables import (
    ARROW,
    JSON,
    TABULAR,
    BadRow,
    Dialect,
    Row,
    Table,
    find_bad_byte,
    form_of,
    open_table,
    open_text,
    reading,
)
from seqcls.data.stored_texts import StoredTexts
from seqcls.errors import DataError

_FASTTEXT = "__label__"
_SHOWN = 5  # bad rows that are named one by one

logger = logging.getLogger("seqcls")

Labels = tuple[str, ...]


class Example(NamedTuple):
    """A text with its labels, its group if there is a group column, and where it stands."""

    text: str
    labels: Labels
    group: str | None = None
    where: str = ""


class FilesDataset(Dataset):
    """Texts and labels from files: CSV, TSV, JSON Lines, Parquet, Arrow, fastText's form, imdb.npz, or a folder a class.

    All may be compressed (.gz, .zst). A row that cannot be used is an error that names it, never left out in silence.

    Args:
        path: A file, a folder, a pattern such as "part-*.csv", or several of them with commas between. A folder has a
            folder of text files for each class, or folders named train, validation and test that do.
        validation: Validation data, in the same ways; else a share of the training data is held out.
        test: Test data, in the same ways.
        test_fraction: Share of the training data held out as test data, if ``test`` is not given.
        text_column: Column of the text; by default one with a usual name (text, review, sentence, ...).
        label_column: Column of the label; by default one with a usual name (label, sentiment, class, ...).
        group_column: Column of what belongs together, such as an author: it never stands on both sides of a split.
        label_delimiter: What stands between the labels of a text that may have several.
        delimiter: Of CSV and TSV, a character; found out if not given.
        quoting: Whether a double quote quotes, or is text; found out if not given.
        encoding: Of text files, such as "latin-1"; found out if not given.
        header: Whether CSV and TSV begin with the names of columns; found out if not given. Else they are 1, 2, ...
        skip_bad_rows: Leave out rows that cannot be used, and say how many.
        seed: Of the choice of test data that ``test_fraction`` holds out.
    """

    def __init__(
        self,
        *,
        path: str,
        validation: str | None = None,
        test: str | None = None,
        test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        text_column: str | None = None,
        label_column: str | None = None,
        group_column: str | None = None,
        label_delimiter: str | None = None,
        delimiter: str | None = None,
        quoting: Literal["standard", "none"] | None = None,
        encoding: str | None = None,
        header: bool | None = None,
        skip_bad_rows: bool = False,
        seed: int = 0,
    ) -> None:
        self.sources = {"train": path, "validation": validation, "test": test}
        self.test_fraction = test_fraction
        self.columns = {"text": text_column, "label": label_column, "group": group_column}
        self.label_delimiter = label_delimiter
        self.skip_bad_rows = skip_bad_rows
        self.seed = seed
        known = {name.casefold() for name in (*chain(*USUAL_COLUMNS.values()), text_column, label_column) if name}
        delimiter = {"tab": "\t", "\\t": "\t"}.get(delimiter or "", delimiter)
        self.dialect = Dialect(delimiter, quoting, encoding, header, frozenset(known))

    def load(self) -> Splits:
        """Read every file once; texts go to a temporary file, so that they may be larger than memory."""
        collected = {name: _Collected.of(self._read_split(name, files)) for name, files in self._files().items()}
        splits = _join(collected, is_multi_label=self.label_delimiter is not None)
        if self.test_fraction and splits.test is None:
            train, test = splits.train.hold_out(fraction=self.test_fraction, seed=self.seed)
            return replace(splits, train=train, test=test)
        return splits

    def pairs(self) -> Iterator[tuple[str, str | Labels]]:
        """Yield (text, label) for every row of ``path``, whatever split it is of; (text, labels) of several labels."""
        for name, files in self._files().items():
            for example in self._read_split(name, files):
                is_single = len(example.labels) == 1 and self.label_delimiter is None
                yield example.text, example.labels[0] if is_single else example.labels

    def fingerprint(self) -> str:
        """Return a hash of the options, and of name, size and time of change of every file."""
        files = {name: [_state(file) for file, _ in found] for name, found in self._files().items()}
        options = {name: value for name, value in self.options.items() if name not in self.sources and name != "path"}
        return hashlib.sha256(json.dumps([files, options], sort_keys=True).encode()).hexdigest()

    def _files(self) -> dict[str, list[tuple[Path, str | None]]]:
        """Return the files of each split, those of a folder a class with their class."""
        found: dict[str, list[tuple[Path, str | None]]] = {}
        for split, source in self.sources.items():
            for path in _find(source) if source is not None else []:
                for name, file, label in _expand(path, split):
                    found.setdefault(name, []).append((file, label))
        return found

    def _read_split(self, split: str, files: Iterable[tuple[Path, str | None]]) -> Iterator[Example]:
        """Yield the examples of files; a bad row raises, or is counted and named in the end."""
        skipped: list[str] = []
        count = 0
        for found in chain.from_iterable(self._read(split, file, label) for file, label in files):
            if isinstance(found, Example):
                count += 1
                yield found
            elif found.fatal or not self.skip_bad_rows:
                advice = "" if found.fatal else "; correct it, or leave out such rows with --skip-bad-rows"
                raise DataError(f"{found.where}: {found.problem}{advice}")
            else:
                skipped.append(f"{found.where}: {found.problem}")
        if skipped:
            shown = "; ".join(skipped[:_SHOWN]) + (f"; and {len(skipped) - _SHOWN:,} more" if len(skipped) > _SHOWN else "")
            logger.warning(f"{len(skipped):,} of {count + len(skipped):,} rows of {split} are bad and left out: {shown}")

    def _read(self, split: str, file: Path, label: str | None) -> Iterator[Example | BadRow]:
        """Yield the examples and bad rows of a file."""
        encoding = self.dialect.encoding or "utf-8-sig"
        if label is not None:
            yield _read_document(file, label, encoding)
        elif form_of(file) == ".npz":
            for place, (text, number) in enumerate(keras.read_imdb(file, split), start=1):
                yield Example(text, (str(number),), where=f"{file}, {split} review {place}")
        elif _is_fasttext(file):
            yield from _read_fasttext(file, encoding)
        else:
            table = open_table(file, self.dialect)
            columns = _find_columns(file, table, self.columns)
            for row in table.rows:
                where = f"{file}, {row.where}"
                yield replace(row, where=where) if isinstance(row, BadRow) else self._as_example(row, columns, where)

    def _as_example(self, row: Row, columns: dict[str, str], where: str) -> Example | BadRow:
        text, group = row.values.get(columns["text"]), row.values.get(columns.get("group", ""))
        if _is_missing(text):
            return BadRow(where, f"there is no text in column {columns['text']!r}")
        if not isinstance(text, str):
            return BadRow(where, f"the text in column {columns['text']!r} is {text!r:.60}, a {type(text).__name__}")
        labels = _as_labels(row.values.get(columns["label"]), self.label_delimiter)
        if labels is None:
            return BadRow(where, f"there is no label in column {columns['label']!r}")
        if isinstance(labels, str):
            return BadRow(where, f"in column {columns['label']!r} {labels}")
        if "group" in columns and _is_missing(group):
            return BadRow(where, f"there is no group in column {columns['group']!r}")
        return Example(text, labels, str(group) if "group" in columns else None, where)


# Files and folders.


def _find(source: str) -> list[Path]:
    """Return what a path, a pattern, or several of them name."""
    parts = [source] if Path(source).exists() else source.split(",")
    found: list[Path] = []
    for part in (part.strip() for part in parts):
        matches = [Path(part)] if Path(part).exists() else sorted(map(Path, glob.glob(part, recursive=True)))  # noqa: PTH207
        if not matches:
            raise DataError(f"there is no file {part}, and it is no pattern that fits one")
        found += matches
    return found


def _expand(path: Path, split: str) -> Iterator[tuple[str, Path, str | None]]:
    """Yield (split, file, class) for a file, a folder a class, a folder a split, or a folder of files."""
    if path.is_file():
        yield split, path, None
        if form_of(path) == ".npz" and split == "train":
            yield "test", path, None
        return
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    named = [entry for entry in entries if entry.name.split(".")[0].casefold() in SPLIT_NAMES]
    if split == "train" and any(SPLIT_NAMES[entry.name.split(".")[0].casefold()] == "train" for entry in named):
        for entry in named:
            yield from _expand(entry, SPLIT_NAMES[entry.name.split(".")[0].casefold()])
        return
    folders = [entry for entry in entries if entry.is_dir()]
    files = [(folder.name, file) for folder in folders for file in sorted(folder.iterdir()) if _is_document(file)]
    if files:
        yield from ((split, file, label) for label, file in files)
    elif any(_is_table(entry) for entry in entries):
        yield from ((split, entry, None) for entry in entries if _is_table(entry))
    else:
        raise DataError(f"the folder {path} has neither a folder of text files for each class, nor files that can be read")


def _is_document(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


def _is_table(path: Path) -> bool:
    return path.is_file() and form_of(path) in {*TABULAR, *JSON, *ARROW, ".npz", ".txt"}


def _state(path: Path) -> tuple[str, int, int]:
    with reading(path):
        status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns


# Forms that are no tables.


def _read_document(file: Path, label: str, encoding: str) -> Example | BadRow:
    with reading(file), open_text(file, encoding) as document:
        text = document.read()
    if bad_byte := find_bad_byte(text):
        return BadRow(str(file), f"{bad_byte}; give it with --dataset-option encoding=NAME")
    return Example(text, (label,), where=str(file)) if text else BadRow(str(file), "there is no text in it")


def _is_fasttext(file: Path) -> bool:
    if form_of(file) in {*TABULAR, *JSON, *ARROW}:
        return False
    with reading(file), open_text(file, "utf-8-sig") as lines:
        return lines.readline().startswith(_FASTTEXT)


def _read_fasttext(file: Path, encoding: str) -> Iterator[Example | BadRow]:
    """Yield lines of labels, each with its prefix, then the text."""
    with reading(file), open_text(file, encoding) as lines:
        for number, line in enumerate(lines, start=1):
            where, rest, labels = f"{file}, line {number}", line.strip(), []
            while rest.startswith(_FASTTEXT):
                label, _, rest = rest.partition(" ")
                labels.append(label.removeprefix(_FASTTEXT))
                rest = rest.lstrip()
            if bad_byte := find_bad_byte(line):
                yield BadRow(where, bad_byte)
            elif not labels and rest:
                yield BadRow(where, f"there is no label: the line does not begin with {_FASTTEXT}")
            elif labels and not rest:
                yield BadRow(where, "there is no text after the label")
            elif rest:
                yield Example(rest, tuple(dict.fromkeys(labels)), where=where)


# Columns.


def _find_columns(file: Path, table: Table, wanted: dict[str, str | None]) -> dict[str, str]:
    """Return the column of each role."""
    found = {}
    for role, name in wanted.items():
        if name is None and role == "group":
            continue
        try:
            found[role] = find_column(table.columns, role, name)
        except DataError as error:
            raise DataError(f"{file}: {error}: {_name_the_column(role, table, name)}") from None
        if list(table.columns).count(found[role]) > 1:
            raise DataError(
                f"{file} has {list(table.columns).count(found[role])} columns {found[role]!r}; rename all but one"
            )
    return found


def _name_the_column(role: str, table: Table, wanted: str | None) -> str:
    if table.has_header or wanted is not None:
        return f"name the right one with --{role}-column"
    known = f"; or, if that row has the names, --{role}-column NAME"
    return f"the first row may be data: say which holds what, such as --text-column 2 --label-column 1{known}"


# Labels.


def _is_missing(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _as_labels(value: object, delimiter: str | None) -> Labels | str | None:
    """Return the labels of a cell; None if there is none; a str says what is wrong with it."""
    if isinstance(value, list | tuple):
        parts = [_as_labels(part, None) for part in value]
        problem = next((part for part in parts if isinstance(part, str)), None)
        return problem or tuple(dict.fromkeys(chain.from_iterable(part for part in parts if isinstance(part, tuple))))
    if _is_missing(value):
        return None if delimiter is None else ()
    if isinstance(value, bool | int):
        return (str(value).lower(),)
    if isinstance(value, float):
        return (
            (str(int(value)),)
            if value.is_integer()
            else f"the label {value!r} is a number with a fraction; labels are names"
        )
    if not isinstance(value, str):
        return f"the label is a {type(value).__name__}"
    if delimiter is not None:
        return tuple(dict.fromkeys(part.strip() for part in value.split(delimiter) if part.strip()))
    return (value.strip(),) if value.strip() else None


@dataclass(eq=False)
class _Collected:
    """The examples of a split: texts on the disk, labels as numbers of names, and where each name came first."""

    texts: StoredTexts
    numbers: list[tuple[int, ...]]
    first_seen: dict[str, str]
    groups: list[str]

    @classmethod
    def of(cls, examples: Iterable[Example]) -> _Collected:
        known: dict[Labels, tuple[int, ...]] = {}
        numbers: list[tuple[int, ...]] = []
        first_seen: dict[str, str] = {}
        number_of: dict[str, int] = {}
        groups: list[str] = []

        def texts() -> Iterator[str]:
            for example in examples:
                if example.labels not in known:
                    for name in example.labels:
                        first_seen.setdefault(name, example.where)
                    known[example.labels] = tuple(number_of.setdefault(name, len(number_of)) for name in example.labels)
                numbers.append(known[example.labels])  # one tuple for all examples with the same labels
                if example.group is not None:
                    groups.append(example.group)
                yield example.text

        return cls(StoredTexts.write(texts()), numbers, first_seen, groups)

    def split(self, label_names: Sequence[str], *, is_multi_label: bool) -> Split:
        """Return the split, its labels as indices into ``label_names``."""
        place = {name: index for index, name in enumerate(label_names)}
        new = np.array([place[name] for name in self.first_seen], dtype=np.int64)
        if is_multi_label:
            indices = [tuple(new[list(numbers)].tolist()) for numbers in self.numbers]
            return Split(self.texts, pack_labels(indices, len(label_names)), self.groups or None)
        numbers = np.fromiter((number for (number,) in self.numbers), dtype=np.int64, count=len(self.numbers))
        return Split(self.texts, new[numbers], self.groups or None)


def _join(collected: dict[str, _Collected], *, is_multi_label: bool) -> Splits:
    """Number the labels as training has them, and refuse others."""
    train = collected["train"]
    if not train.numbers:
        raise DataError("there is no row of training data")
    for name, split in collected.items():
        unseen = [label for label in split.first_seen if label not in train.first_seen]
        if unseen:
            raise DataError(
                f"{split.first_seen[unseen[0]]}: the label {unseen[0]!r} occurs in {name}, but never in training, which has "
                f"{sort_labels(train.first_seen)[:20]}"
                + (f"; {len(unseen) - 1} more labels are unknown as well" if len(unseen) > 1 else "")
            )
    is_multi_label = is_multi_label or any(len(numbers) != 1 for split in collected.values() for numbers in split.numbers)
    names = sort_labels(train.first_seen)
    return Splits(
        **{name: split.split(names, is_multi_label=is_multi_label) for name, split in collected.items()},
        label_names=tuple(names),
    )
