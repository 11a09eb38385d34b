"""Text files that are not tables: one document per file, and fastText's lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from seqcls.data.datasets import tables
from seqcls.data.datasets.examples import Example
from seqcls.data.datasets.rows import BadRow
from seqcls.data.datasets.text_files import find_bad_byte, form_of, open_text, reading

_FASTTEXT = "__label__"


def read_document(file: Path, label: str, encoding: str) -> Example | BadRow:
    """Return the whole file as one example of the class ``label``."""
    with reading(file), open_text(file, encoding) as document:
        text = document.read()
    if bad_byte := find_bad_byte(text):
        return BadRow(str(file), f"{bad_byte}; give it with --dataset-option encoding=NAME")
    return Example(text, (label,), where=str(file)) if text else BadRow(str(file), "it has no text")


def is_fasttext(file: Path) -> bool:
    """Return whether a file is written in fastText's form: its first line begins with "__label__"."""
    if form_of(file) in tables.SUFFIXES:
        return False
    with reading(file), open_text(file, "utf-8-sig") as lines:
        return lines.readline().startswith(_FASTTEXT)


def read_fasttext(file: Path, encoding: str) -> Iterator[Example | BadRow]:
    """Yield the examples of fastText's form: on each line the labels, each with its prefix, then the text."""
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
