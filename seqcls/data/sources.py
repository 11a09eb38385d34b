"""Data as users name or hold it, and the splits that it stands for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from seqcls.config.data_paths import is_data_path
from seqcls.config.settings import DataConfig
from seqcls.data.datasets.base import Dataset
from seqcls.data.labels import Label
from seqcls.data.pairs import Frame
from seqcls.data.prepare import build_dataset
from seqcls.data.splits import Splits

DataLike: TypeAlias = (
    str
    | Path
    | Dataset
    | Splits
    | Iterable[tuple[Any, Label]]
    | tuple[Sequence[Any], Sequence[Label]]
    | Mapping[str, Any]
    | Frame
)
"""What goes in as data: a registered name or a path; a data set; splits; an iterable of (sequence, label) pairs; a
(sequences, labels) pair of two equally long sequences; a DataFrame of pandas or polars; a ``Dataset`` of Hugging Face; or a
dict of the last four by split name. `seqcls.data.pairs.pairs_of` says how a tuple of two is read."""


def splits_of(data: DataLike) -> Splits:
    """Return the splits that ``data`` stands for, loading a data set that is named or built.

    Raises:
        DataError: The data are of another form, or damaged.
        UnknownNameError: There is no data set of that name.
        ConfigError: The data set has options that must be given.
    """
    source = source_of(data)
    if isinstance(source, str):
        source = build_dataset(DataConfig(dataset=source))
    return source.load() if isinstance(source, Dataset) else source


def source_of(data: DataLike) -> str | Dataset | Splits:
    """Return names, paths and data sets as they are, which the cache identifies by a fingerprint; everything else as splits.

    Raises:
        DataError: The data are of another form.
    """
    if isinstance(data, str | Dataset | Splits):
        return data
    if isinstance(data, os.PathLike):
        path = os.fspath(data)
        return path if is_data_path(path) else f".{os.sep}{path}"  # not the registered name of a data set
    return Splits.of(data)
