"""`files`: texts and labels from files of your own."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from seqcls.data.datasets import keras
from seqcls.data.datasets.base import Dataset
from seqcls.data.datasets.delimited import Dialect
from seqcls.data.datasets.examples import Collected, Example, Labels, is_missing, join, labels_of
from seqcls.data.datasets.folders import expand, find_paths
from seqcls.data.datasets.plain_text import is_fasttext, read_document, read_fasttext
from seqcls.data.datasets.rows import BadRow, Row, Table
from seqcls.data.datasets.tables import open_table
from seqcls.data.datasets.text_files import form_of, reading
from seqcls.data.splits import Splits
from seqcls.data.usual_names import USUAL_COLUMNS, find_column
from seqcls.errors import DataError

_SHOWN = 5  # bad rows that are named one by one

logger = logging.getLogger("seqcls")


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
        collected = {name: Collected.of(self._read_split(name, files)) for name, files in self._files().items()}
        splits = join(collected, is_multi_label=self.label_delimiter is not None)
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
            for path in find_paths(source) if source is not None else []:
                for name, file, label in expand(path, split):
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
            yield read_document(file, label, encoding)
        elif form_of(file) == ".npz":
            for place, (text, number) in enumerate(keras.read_imdb(file, split), start=1):
                yield Example(text, (str(number),), where=f"{file}, {split} review {place}")
        elif is_fasttext(file):
            yield from read_fasttext(file, encoding)
        else:
            table = open_table(file, self.dialect)
            columns = _find_columns(file, table, self.columns)
            for row in table.rows:
                where = f"{file}, {row.where}"
                yield replace(row, where=where) if isinstance(row, BadRow) else self._as_example(row, columns, where)

    def _as_example(self, row: Row, columns: dict[str, str], where: str) -> Example | BadRow:
        text, group = row.values.get(columns["text"]), row.values.get(columns.get("group", ""))
        if is_missing(text):
            return BadRow(where, f"there is no text in column {columns['text']!r}")
        if not isinstance(text, str):
            return BadRow(where, f"the text in column {columns['text']!r} is {text!r:.60}, a {type(text).__name__}")
        labels = labels_of(row.values.get(columns["label"]), self.label_delimiter)
        if labels is None:
            return BadRow(where, f"there is no label in column {columns['label']!r}")
        if isinstance(labels, str):
            return BadRow(where, f"in column {columns['label']!r} {labels}")
        if "group" in columns and is_missing(group):
            return BadRow(where, f"there is no group in column {columns['group']!r}")
        return Example(text, labels, str(group) if "group" in columns else None, where)


def _state(path: Path) -> tuple[str, int, int]:
    with reading(path):
        status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns


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
