"""The data set `arrays`: sequences of numbers from .npz and .ts files."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqcls.data.datasets.base import Dataset
from seqcls.data.datasets.text_files import find_bad_byte, open_text, reading
from seqcls.data.example_weights import as_weights
from seqcls.data.labels import Label
from seqcls.data.preprocessor import Kind
from seqcls.data.scaler import as_features
from seqcls.data.splits import Splits
from seqcls.errors import DataError
from seqcls.system.archives import Limits, check_zip

Pair = tuple[NDArray[Any], Label]

_REMEDY = "it should hold values, offsets and labels"
_LIMITS = Limits(members=100, file_bytes=64 << 30, total_bytes=128 << 30)


class ArraysDataset(Dataset):
    """Labelled sequences of numbers, each [T, D] with its own T, from .npz files, or .ts files of the UEA and UCR archives.

    An .npz file holds three arrays and no pickle: values, float [total, D] or [total]; offsets, int [N + 1], such that
    sequence i is values[offsets[i]:offsets[i + 1]]; labels, int or str [N]. A fourth array, weights, float [N], says how
    much each example counts in the training loss; only that of the training data is read.

    Args:
        path: The training data.
        validation: Validation data; by default a share of the training data is held out.
        test: Test data; by default NAME_TEST.ts if the training data are NAME_TRAIN.ts in the same folder.
    """

    kind: ClassVar[Kind] = "features"

    def __init__(self, *, path: str, validation: str | None = None, test: str | None = None) -> None:
        train = Path(path)
        default_test = train.with_name(re.sub("_TRAIN(?=[.]ts$)", "_TEST", train.name))
        if test is None and default_test != train and default_test.is_file():
            test = str(default_test)
        named = {"train": path, "validation": validation, "test": test}
        self.files = {name: Path(file) for name, file in named.items() if file is not None}

    def load(self) -> Splits:
        """Read the files; see `Dataset.load`."""
        pairs = {name: list(read_arrays(file)) for name, file in self.files.items()}
        return Splits.from_pairs(**pairs, weights=read_weights(self.files["train"], count=len(pairs["train"])))

    def fingerprint(self) -> str:
        """Return a hash of the name, size and modification time of every file."""
        states = []
        for name, file in self.files.items():
            with reading(file):
                status = file.stat()
            states.append((name, str(file.resolve()), status.st_size, status.st_mtime_ns))
        return hashlib.sha256(repr(states).encode()).hexdigest()


def read_arrays(path: Path) -> Iterator[Pair]:
    """Yield the (sequence, label) pairs of a file: float [T, D] and a str or int.

    Raises:
        DataError: The file cannot be read, or a sequence is malformed; the message says where.
    """
    with reading(path):
        yield from _read_ts(path) if path.suffix.lower() == ".ts" else _read_npz(path)


def read_weights(path: Path, *, count: int) -> NDArray[np.float64] | None:
    """Return the weights of the ``count`` sequences of a file, float64 [count]; None if it has none.

    Raises:
        DataError: One is not a finite number of at least 0, or there are more or fewer of them.
    """
    if path.suffix.lower() == ".ts":
        return None
    with reading(path):
        arrays = _load_npz(path, optional=("weights",))
    if "weights" not in arrays:
        return None
    weights = as_weights(arrays["weights"], lambda index: f"{path}, sequence {index}: the weight")
    if len(weights) != count:
        raise DataError(f"{path} has {len(weights)} weights and {count} sequences; give one weight per sequence")
    if not weights.any():
        raise DataError(f"{path} gives every sequence the weight 0; give at least one a weight above 0")
    return weights


def _read_npz(path: Path) -> Iterator[Pair]:
    arrays = _load_npz(path, required=("values", "offsets", "labels"))
    values, offsets, labels = arrays["values"], arrays["offsets"], arrays["labels"]
    if labels.dtype.kind not in "iuU" or labels.ndim != 1:
        raise DataError(f"{path}: labels are {labels.dtype} of shape {list(labels.shape)}; give integers or strings, [N]")
    if offsets.dtype.kind not in "iu" or offsets.shape != (len(labels) + 1,):
        raise DataError(f"{path}: offsets are {offsets.dtype} of shape {list(offsets.shape)}; give integers, [N + 1]")
    if offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets.astype(np.int64)) < 0).any():
        raise DataError(f"{path}: offsets must rise from 0 to the number of values, which is {len(values)}")
    for number, label in enumerate(labels.tolist()):
        steps = values[offsets[number] : offsets[number + 1]]
        yield as_features(steps, size=None, where=f"{path}, sequence {number}"), label


def _load_npz(path: Path, *, required: Sequence[str] = (), optional: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
    """Return the named arrays of a file; DataError if a required one is missing, or the file is damaged."""
    try:
        with path.open("rb") as opened:
            with zipfile.ZipFile(opened) as archive:
                check_zip(archive, path, _LIMITS, remedy=_REMEDY)
            opened.seek(0)
            with np.load(opened, allow_pickle=False) as file:
                # A member that is not an array is read as bytes, and a single number has no dimension.
                names = [*required, *(name for name in optional if name in file)]
                return {name: np.atleast_1d(file[name]) for name in names}
    except DataError:
        raise
    except KeyError as error:
        raise DataError(f"{path} has no array {error}; {_REMEDY}") from error
    except OSError:
        raise
    except Exception as error:  # the errors of NumPy and zipfile have no common class
        raise DataError(f"cannot read {path}: {error}") from error


def _read_ts(path: Path) -> Iterator[Pair]:
    """Read the format of https://www.timeseriesclassification.com: a header, then lines with D series and a class."""
    classes: set[str] | None = None
    in_data = False
    with open_text(path, "utf-8-sig") as file:
        for number, line in enumerate(map(str.strip, file), start=1):
            where = f"{path}, line {number}"
            if not line or line.startswith("#"):
                continue
            if in_data:
                yield _parse_ts_line(line, classes, where)
            elif line.casefold().startswith("@data"):
                in_data = True
            elif line.casefold().startswith("@classlabel"):
                fields = line.split()[1:]
                if not fields or fields[0].casefold() != "true":
                    raise DataError(f"{where}: the series have no classes")
                classes = set(fields[1:])
            elif line.casefold().startswith("@timestamps") and line.casefold().endswith("true"):
                raise DataError(f"{where}: series with time stamps are not supported; give plain values")
            elif not line.startswith("@"):
                raise DataError(f"{where}: {line[:40]!r} comes before @data, but is not a line of the header")
    if not in_data:
        raise DataError(f"{path} has no @data")


def _parse_ts_line(line: str, classes: set[str] | None, where: str) -> Pair:
    *series, label = line.split(":")
    label = label.strip()
    if bad_byte := find_bad_byte(line):
        raise DataError(f"{where}: {bad_byte}")
    if not series or (classes is not None and label not in classes):
        hint = "" if classes is None else f"; the header has {sorted(classes)}"
        raise DataError(f"{where}: unknown class {label[:40]!r}{hint}")
    try:
        columns = [np.array(values.split(","), dtype=np.float64) for values in series]
    except ValueError as error:
        hint = "; fill in missing values (?) first" if "?" in line else ""
        raise DataError(f"{where}: {error}{hint}") from None
    if len({len(column) for column in columns}) > 1:
        raise DataError(
            f"{where}: the dimensions have {[len(column) for column in columns]} steps; give each the same number"
        )
    return as_features(np.stack(columns, axis=1), size=None, where=where), label
