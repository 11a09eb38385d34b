"""Data sets that are named by a path: when a name is one, and which data set reads its files."""

from __future__ import annotations

import re
from pathlib import Path


def is_data_path(dataset: str) -> bool:
    """Return whether a data set is named by files, and not by a registered name or a class, module:Class."""
    return bool(re.search(r"[./\\*?\[,~]", dataset)) and not re.fullmatch(r"[\w.]+:[\w.]+", dataset)


def dataset_of_path(path: str) -> str:
    """Return the data set that reads the files: arrays for numbers, files for texts (Keras' imdb.npz among them)."""
    file = Path(path)
    return "arrays" if file.suffix.lower() in (".npz", ".ts") and file.name != "imdb.npz" else "files"
