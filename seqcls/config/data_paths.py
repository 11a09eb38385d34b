"""Data sets that are named by a path: when a name is one, and which data set reads its files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def is_data_path(dataset: str) -> bool:
    """Return whether a data set is named by a path, and not by a registered name or a class (module:Class)."""
    return bool(re.search(r"[./\\*?\[,~]", dataset)) and not re.fullmatch(r"[\w.]+:[\w.]+", dataset)


def dataset_of_path(path: str) -> str:
    """Return the data set that reads the files: `arrays` for numbers, `files` for texts (including Keras' imdb.npz)."""
    file = Path(path)
    return "arrays" if file.suffix.lower() in (".npz", ".ts") and file.name != "imdb.npz" else "files"


def read_data_path(dataset: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of the data set that reads ``dataset``; a name that is not a path stays as it is."""
    if not is_data_path(dataset):
        return dataset, dict(options)
    return dataset_of_path(dataset), {**options, "path": dataset}
