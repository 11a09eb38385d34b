"""The data set `files`: texts and labels from the user's files."""

from __future__ import annotations

import hashlib
import json
import logging
import math
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
from seqcls.data.example_weights import REMEDY, parse_weight
from seqcls.data.splits import Splits
from seqcls.data.usual_names import USUAL_COLUMNS, find_column
from seqcls.errors import DataError

_SHOWN = 5  # bad rows that are named one by one

logger = logging.getLogger("seqcls")


class FilesDataset(Dataset):
    """Texts and labels from files: CSV, TSV, JSON Lines, Parquet, Arrow, fastText's form, imdb.npz, or one folder per class.

    Files may be compressed (.gz, .zst). A row that cannot be used is an error that names it; no row is skipped silently.

    Args:
        path: A file, a folder, a pattern such as "part-*.csv", or several of these with commas between. A folder has one
            folder of text files per class, or files or folders named train, validation and test.
        validation: Validation data, in the same forms; by default a share of the training data is held out.
        test: Test data, in the same forms.
        test_fraction: Share of the training data to hold out as test data if ``test`` is not given.
        text_column: Column of the text; by default the first with a usual name (text, review, sentence, ...).
        label_column: Column of the label; by default the first with a usual name (label, sentiment, class, ...).
        group_column: Column of what belongs together, such as an author; no group is on both sides of a split.
        weight_column: Column of the weights of the training examples in the loss; by default all count the same.
        label_delimiter: What separates the labels in a cell, if a text may have several.
        delimiter: The character between the fields of CSV and TSV; inferred by default.
        quoting: Whether a double quote encloses a field or is text; inferred by default.
        encoding: Encoding of text files, such as "latin-1"; inferred by default.
        header: Whether CSV and TSV begin with the names of the columns; inferred by default. Otherwise they are 1, 2, ...
        skip_bad_rows: Skip rows that cannot be used, and warn how many there are.
        seed: Seed of the choice of test data.
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
        weight_column: str | None = None,
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
        self.weight_column = weight_column
        self.label_delimiter = label_delimiter
        self.skip_bad_rows = skip_bad_rows
        self.seed = seed
        known = {name.casefold() for name in (*chain(*USUAL_COLUMNS.values()), text_column, label_column) if name}
        delimiter = {"tab": "\t", "\\t": "\t"}.get(delimiter or "", delimiter)
        self.dialect = Dialect(delimiter, quoting, encoding, header, frozenset(known))

    def load(self) -> Splits:
        """Read every file once; texts are kept in a temporary file, so that they may be larger than memory."""
        weight_columns = {"train": self.weight_column}  # only training uses weights
        collected = {
            name: Collected.of(self._read_split(name, files, weight_columns.get(name)))
            for name, files in self._files().items()
        }
        weights = collected["train"].weights
        if weights is not None and not weights.any():
            raise DataError(f"{self.options['path']}: the column {self.weight_column!r} gives every row the weight 0")
        if self.skip_bad_rows:
            collected = {name: self._skip_unknown(name, split, collected["train"]) for name, split in collected.items()}
        splits = join(collected, is_multi_label=self.label_delimiter is not None)
        if self.test_fraction and splits.test is None:
            train, test = splits.train.hold_out(fraction=self.test_fraction, seed=self.seed)
            return replace(splits, train=train, test=test)
        return splits

    def _skip_unknown(self, name: str, split: Collected, train: Collected) -> Collected:
        """Return a split without the examples whose labels training lacks, with a warning of them."""
        kept, problems = split.without_unknown(train.first_seen)
        if problems:
            count = len(split.numbers)
            rows = f"{count - len(kept.numbers):,} of {count:,} rows of {name}"
            logger.warning(f"{rows} are bad and are skipped: {_some(problems)}")
        return kept

    def pairs(self) -> Iterator[tuple[str, str | Labels]]:
        """Yield (text, label) for every row, whatever its split; (text, labels) if it does not have exactly one label."""
        for name, files in self._files().items():
            for example in self._read_split(name, files):
                is_single = len(example.labels) == 1 and self.label_delimiter is None
                yield example.text, example.labels[0] if is_single else example.labels

    def fingerprint(self) -> str:
        """Return a hash of the options, and of the name, size and modification time of every file."""
        files = {name: [_state(file) for file, _ in labelled] for name, labelled in self._files().items()}
        options = {name: value for name, value in self.options.items() if name not in self.sources and name != "path"}
        return hashlib.sha256(json.dumps([files, options], sort_keys=True).encode()).hexdigest()

    def _files(self) -> dict[str, list[tuple[Path, str | None]]]:
        """Return the files of each split, each with its class if the folder says it."""
        files: dict[str, list[tuple[Path, str | None]]] = {}
        for split, source in self.sources.items():
            for path in find_paths(source) if source is not None else []:
                for name, file, label in expand(path, split):
                    files.setdefault(name, []).append((file, label))
        return files

    def _read_split(
        self, split: str, files: Iterable[tuple[Path, str | None]], weight_column: str | None = None
    ) -> Iterator[Example]:
        """Yield the examples of files; a bad row is an error, or, with ``skip_bad_rows``, part of a warning at the end."""
        skipped: list[str] = []
        count = 0
        for row in chain.from_iterable(self._read(split, file, label, weight_column) for file, label in files):
            if isinstance(row, Example):
                count += 1
                yield row
            elif row.fatal or not self.skip_bad_rows:
                advice = "" if row.fatal else "; correct it, or skip such rows with --skip-bad-rows"
                raise DataError(f"{row.where}: {row.problem}{advice}")
            else:
                skipped.append(f"{row.where}: {row.problem}")
        if skipped:
            rows = f"{len(skipped):,} of {count + len(skipped):,} rows of {split}"
            logger.warning(f"{rows} are bad and are skipped: {_some(skipped)}")

    def _read(self, split: str, file: Path, label: str | None, weight_column: str | None) -> Iterator[Example | BadRow]:
        """Yield the examples and bad rows of a file."""
        encoding = self.dialect.encoding or "utf-8-sig"
        is_table = label is None and form_of(file) != ".npz" and not is_fasttext(file)
        if weight_column is not None and not is_table:
            raise DataError(f"{file} is not a table; only tables have a column of weights, such as {weight_column!r}")
        if label is not None:
            yield read_document(file, label, encoding)
        elif form_of(file) == ".npz":
            for number, (text, label_index) in enumerate(keras.read_imdb(file, split), start=1):
                yield Example(text, (str(label_index),), where=f"{file}, {split} review {number}")
        elif not is_table:
            yield from read_fasttext(file, encoding)
        else:
            table = open_table(file, self.dialect)
            columns = _find_columns(file, table, {**self.columns, "weight": weight_column})
            for row in table.rows:
                where = f"{file}, {row.where}"
                yield replace(row, where=where) if isinstance(row, BadRow) else self._as_example(row, columns, where)

    def _as_example(self, row: Row, columns: dict[str, str], where: str) -> Example | BadRow:
        text, group = row.values.get(columns["text"]), row.values.get(columns.get("group", ""))
        if is_missing(text):
            return BadRow(where, f"there is no text in column {columns['text']!r}")
        if not isinstance(text, str):
            return BadRow(where, f"the text in column {columns['text']!r} is {text!r:.60}, a {type(text).__name__}")
        label = row.values.get(columns["label"])
        labels = labels_of(label, self.label_delimiter)
        if labels is None:
            return BadRow(where, f"there is no label in column {columns['label']!r}")
        if isinstance(labels, str):
            return BadRow(where, f"in column {columns['label']!r} {labels}")
        if "group" in columns and is_missing(group):
            return BadRow(where, f"there is no group in column {columns['group']!r}")
        weight = None
        if "weight" in columns:
            value = row.values.get(columns["weight"])
            weight = parse_weight(value)
            if math.isnan(weight):
                return BadRow(where, f"the weight in column {columns['weight']!r} is {value!r:.60}; {REMEDY}")
        value = None if isinstance(label, str) else label
        return Example(text, labels, str(group) if "group" in columns else None, where, weight, value)


def _some(problems: list[str]) -> str:
    """Return the first problems, and the number of the others."""
    more = len(problems) - _SHOWN
    return "; ".join(problems[:_SHOWN]) + (f"; and {more:,} more" if more > 0 else "")


def _state(path: Path) -> tuple[str, int, int]:
    with reading(path):
        status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns


def _find_columns(file: Path, table: Table, wanted: dict[str, str | None]) -> dict[str, str]:
    """Return the name of each role's column."""
    columns = {}
    for role, name in wanted.items():
        if name is None and role in ("group", "weight"):
            continue
        try:
            columns[role] = find_column(table.columns, role, name)
        except DataError as error:
            raise DataError(f"{file}: {error}: {_name_the_column(role, table, name)}") from None
        if (count := list(table.columns).count(columns[role])) > 1:
            raise DataError(f"{file} has {count} columns {columns[role]!r}; rename all but one")
    return columns


def _name_the_column(role: str, table: Table, wanted: str | None) -> str:
    if table.has_header or wanted is not None:
        return f"name the right one with --{role}-column"
    return (
        "if the first row is data, give the numbers of the columns, such as --text-column 2 --label-column 1; "
        f"if it is a header, give a name from it with --{role}-column NAME"
    )
