"""The files that a path, a folder or a pattern stands for, with the split and the class of each."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path

from seqcls.data.datasets import tables
from seqcls.data.datasets.text_files import form_of
from seqcls.data.usual_names import SPLIT_NAMES
from seqcls.errors import DataError


def find_paths(source: str) -> list[Path]:
    """Return the files and folders that a path, a pattern, or several of them, with commas between, stand for."""
    parts = [source] if Path(source).exists() else source.split(",")
    paths: list[Path] = []
    for part in (part.strip() for part in parts):
        matches = [Path(part)] if Path(part).exists() else sorted(map(Path, glob.glob(part, recursive=True)))  # noqa: PTH207
        if not matches:
            raise DataError(f"there is no file {part}, and as a pattern it matches no file")
        paths += matches
    return paths


def expand(path: Path, split: str) -> Iterator[tuple[str, Path, str | None]]:
    """Yield (split, file, class) for each file of ``path``; the class is None if the file itself holds the labels.

    ``path`` is a file, or a folder that holds tables, one folder per class, or one file or folder per split.
    """
    if path.is_file():
        yield split, path, None
        if form_of(path) == ".npz" and split == "train":
            yield "test", path, None
        return
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    named = [entry for entry in entries if entry.name.split(".")[0].casefold() in SPLIT_NAMES]
    if split == "train" and any(SPLIT_NAMES[entry.name.split(".")[0].casefold()] == "train" for entry in named):
        for entry in named:
            yield from expand(entry, SPLIT_NAMES[entry.name.split(".")[0].casefold()])
        return
    folders = [entry for entry in entries if entry.is_dir()]
    files = [(folder.name, file) for folder in folders for file in sorted(folder.iterdir()) if _is_document(file)]
    if files:
        yield from ((split, file, label) for label, file in files)
    elif any(_is_table(entry) for entry in entries):
        yield from ((split, entry, None) for entry in entries if _is_table(entry))
    else:
        raise DataError(f"the folder {path} has neither one folder of text files per class, nor files that can be read")


def _is_document(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


def _is_table(path: Path) -> bool:
    return path.is_file() and form_of(path) in {*tables.SUFFIXES, ".npz", ".txt"}
