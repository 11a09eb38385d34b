"""Text files that are not tables: one document per file, and fastText's lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from seqcls.data.datasets import tables
from seqcls.data.datasets.examples import Example
from seqcls.data.datasets.rows import BadRow
from seqcls.data.datasets.text_files import find_bad_byte, form_of, open_text, reading

_FASTTEXT = "__label__"
_LABEL = re.compile(rf"(?<!\S){_FASTTEXT}(\S*)\s*")


def read_document(file: Path, label: str, encoding: str) -> Example | BadRow:
    """Return the whole file as one example of the class ``label``."""
    with reading(file), open_text(file, encoding) as document:
        text = document.read()
    if bad_byte := find_bad_byte(text):
        return BadRow(str(file), f"{bad_byte}; give it with --dataset-option encoding=NAME")
    return Example(text, (label,), where=str(file)) if text else BadRow(str(file), "it has no text")


def is_fasttext(file: Path) -> bool:
    """Return whether a file is written in fastText's form: its first line that is not blank begins with "__label__"."""
    if form_of(file) in tables.SUFFIXES:
        return False
    with reading(file), open_text(file, "utf-8-sig") as lines:
        return next((line for line in lines if line.strip()), "").lstrip().startswith(_FASTTEXT)


def read_fasttext(file: Path, encoding: str) -> Iterator[Example | BadRow]:
    """Yield the examples of fastText's form: each line has a text and, wherever they stand, labels with a prefix."""
    with reading(file), open_text(file, encoding) as lines:
        for number, line in enumerate(lines, start=1):
            where, labels = f"{file}, line {number}", _LABEL.findall(line)
            rest = _LABEL.sub("", line).strip()
            if bad_byte := find_bad_byte(line):
                yield BadRow(where, bad_byte)
            elif not labels and rest:
                yield BadRow(where, f"there is no label: no word of the line begins with {_FASTTEXT}")
            elif "" in labels:
                yield BadRow(where, f"{_FASTTEXT} stands alone; the name of the label follows it without a space")
            elif labels and not rest:
                yield BadRow(where, "there is no text after the label")
            elif rest:
                yield Example(rest, tuple(dict.fromkeys(labels)), where=where)
