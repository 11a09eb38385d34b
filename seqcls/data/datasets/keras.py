"""Keras' imdb.npz and imdb_word_index.json: reviews as lists of word numbers, read without executing the pickle inside."""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from seqcls.errors import DataError
from seqcls.system.archives import Limits, check_zip
from seqcls.system.untrusted import GARBLED

WORD_INDEX = "imdb_word_index.json"
_INDEX_FROM = 3  # in Keras, 0 is padding, 1 the start, 2 an unknown word; the word of rank r is r + 3
_LARGEST = 1 << 31
_LIMITS = Limits(members=100, file_bytes=1 << 30, total_bytes=2 << 30)  # imdb.npz has 4, of 73 MB


def read_imdb(path: Path, split: str) -> Iterator[tuple[str, int]]:
    """Yield the (text, label) pairs of the split "train" or "test", words joined by spaces.

    Raises:
        DataError: The file is damaged, holds something other than lists of integers, or the word index is missing.
    """
    words = _read_words(path.with_name(WORD_INDEX))
    try:
        with zipfile.ZipFile(path) as archive:
            check_zip(archive, path, _LIMITS, remedy="it should be Keras' imdb.npz")
            sequences = _read_lists(archive.read(f"x_{split}.npy"))
            labels = _read_lists(archive.read(f"y_{split}.npy"))
    except DataError:
        raise
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read {path}: {error}; it should be Keras' imdb.npz") from error
    except Exception as error:  # the errors of NumPy, pickle and zipfile have no common class
        raise DataError(f"{path} is damaged, or holds more than lists of integers: {error}") from error
    if not all(map(_is_list_of_numbers, sequences)) or not _is_list_of_numbers(labels):
        raise DataError(f"{path} is damaged, or holds more than lists of integers, in {split}")
    if len(sequences) != len(labels):
        raise DataError(f"{path} has {len(sequences)} reviews but {len(labels)} labels in {split}")
    for sequence, label in zip(sequences, labels, strict=True):
        yield " ".join(words.get(number - _INDEX_FROM, "") for number in sequence if number > _INDEX_FROM), label


def _read_words(path: Path) -> dict[int, str]:
    try:
        ranks = json.loads(path.read_bytes())
        return {int(rank): str(word) for word, rank in ranks.items()}
    except OSError as error:
        raise DataError(
            f"cannot read {path}, which has the words of imdb.npz: {error.strerror}; put it into the same folder"
        ) from error
    except GARBLED as error:
        raise DataError(f"{path} is damaged: {error}; it should be an object that maps words to ranks") from error


# The pickle operations that build an array of lists of numbers, each with its length (Python's Lib/pickletools.py). Those
# that could ask for any amount of memory are bounded: an index of the memo is below 2^20, a text below 256 bytes.
_OPERATIONS = [
    rb"[K\x80q].|M..|J.{4}|r..[\x00-\x0f]\x00|h.|j..[\x00-\x0f]\x00|\x95.{8}",
    rb"[](){}aebtsuN.R0\x85\x86\x87\x88\x89\x93\x94]|c[^\n]{1,99}\n[^\n]{1,99}\n",
    *(rb"[CU\x8a\x8c]\x%02x.{%d}|[BTX]\x%02x\0\0\0.{%d}" % (size, size, size, size) for size in range(256)),
]
_PICKLE = re.compile(rb"(?:%s)*+" % b"|".join(_OPERATIONS), re.DOTALL)


def _read_lists(data: bytes) -> Any:
    """Return the content of an .npy file: a list of integers, or a list of lists of integers."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if dtype != np.dtype(object):
        if dtype.kind not in "iu":
            raise ValueError(f"an array of {dtype}")
        return np.frombuffer(file.read(), dtype=dtype).reshape(shape).tolist()
    if not _PICKLE.fullmatch(data, file.tell()):
        raise pickle.UnpicklingError("it does more than build a list")
    content = _InertUnpickler(file).load().content
    if not isinstance(content, list) or not all(_is_list_of_numbers(item) for item in content):
        raise ValueError("it holds something other than lists of integers")
    return content


def _is_list_of_numbers(item: object) -> bool:
    return isinstance(item, list) and all(type(number) is int and 0 <= number < _LARGEST for number in item)


class _Inert:
    """Stands for a NumPy array or its type: it keeps the content that the pickle states, and does nothing."""

    content: object = None

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or not state:
            raise pickle.UnpicklingError("it does not hold the state of an array")
        self.content = state[-1]


def _reconstruct(*_: object) -> _Inert:
    return _Inert()


_NAMES: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Inert,
    ("numpy", "dtype"): _Inert,
}


class _InertUnpickler(pickle.Unpickler):
    """Resolves the names that an array needs to inert stand-ins, and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a name."""
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _NAMES[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Refuse persistent objects."""
        raise pickle.UnpicklingError(f"it asks for a persistent object {pid!r:.40}")
