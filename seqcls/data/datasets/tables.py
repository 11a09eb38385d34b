"""Tables of every form that can be read; the suffix of a file says which form it has."""

from __future__ import annotations

from pathlib import Path

from seqcls.data.datasets import arrow, delimited, json_lines
from seqcls.data.datasets.arrow import open_arrow
from seqcls.data.datasets.delimited import Dialect, open_delimited
from seqcls.data.datasets.json_lines import open_json
from seqcls.data.datasets.rows import Table
from seqcls.data.datasets.text_files import form_of, reading, sniff_encoding

SUFFIXES = {*delimited.SUFFIXES, *json_lines.SUFFIXES, *arrow.SUFFIXES}
"""Suffixes of files that are tables."""


def open_table(path: Path, dialect: Dialect) -> Table:
    """Open a table; the suffix says which form it has, and delimited text is the fallback.

    Raises:
        DataError: The file cannot be read, is empty, or is malformed.
        MissingExtraError: pyarrow is needed and not installed.
    """
    form = form_of(path)
    with reading(path):
        if form in arrow.SUFFIXES:
            return open_arrow(path)
        encoding = dialect.encoding or sniff_encoding(path)
        if form in json_lines.SUFFIXES:
            return open_json(path, encoding)
        return open_delimited(path, dialect, encoding)
