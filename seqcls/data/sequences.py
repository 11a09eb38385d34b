"""Encoded sequences in memory. How they are made is in encoding.py, their files in sequence_files.py."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqcls.data.sequence_files import map_sequences, offsets_of, write_sequences
from seqcls.errors import DataError
from seqcls.system.untrusted import GARBLED

_DIGEST_BLOCK, _DIGEST_BLOCKS = 1 << 18, 256  # time steps, and how many blocks of them at most


@dataclass(frozen=True, eq=False)
class Sequences:
    """N sequences, one after another in one array.

    Attributes:
        values: Token ids, int32 [total], or features, float32 [total, D].
        offsets: int64 [N + 1]; sequence i is values[offsets[i] : offsets[i + 1]].
        labels: int64 [N]; uint8 [N, K], 1 for each of K labels that a sequence has; or None where there are none.
        weights: float64 [N], how much each sequence counts in the training loss; None if all count the same.
        ngrams: What the wide path reads: N sets of n-grams as ids, each ascending; None if there is no such path.

    Raises:
        DataError: The arrays do not fit together.
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]
    labels: NDArray[Any] | None = None
    weights: NDArray[np.float64] | None = None
    ngrams: Sequences | None = None

    def __post_init__(self) -> None:
        _check(self.values, self.offsets, self.labels)
        if self.weights is not None and (self.weights.dtype.name, self.weights.shape) != ("float64", (len(self),)):
            raise DataError(f"weights are {self.weights.dtype} of shape {self.weights.shape}; give float64 [{len(self)}]")
        if self.ngrams is not None and len(self.ngrams) != len(self):
            raise DataError(f"there are {len(self)} sequences, but n-grams of {len(self.ngrams)}")

    @classmethod
    def from_list(cls, sequences: Iterable[ArrayLike], labels: ArrayLike | None = None) -> Sequences:
        """Join sequences: of integers, each [T], or of floats, each [T, D] with one D."""
        arrays = [np.asarray(sequence) for sequence in sequences]
        filled = [array for array in arrays if array.shape != (0,)]  # NumPy takes an empty list for floats
        try:
            values = np.concatenate(filled) if filled else np.empty(0, dtype=np.int32)
        except ValueError as error:
            raise DataError(f"the sequences do not fit together: {error}") from None
        dtype = {"i": np.int32, "u": np.int32, "f": np.float32}.get(values.dtype.kind, values.dtype)
        return cls(
            values=values.astype(dtype),
            offsets=offsets_of(np.array([len(array) for array in arrays], dtype=np.int64)),
            labels=None if labels is None else as_label_array(labels),
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Sequences:
        """Map a file that `save` wrote into memory; nothing is copied, and the arrays are read-only.

        Raises:
            DataError: The file is missing, truncated or garbled.
        """
        arrays: dict[str, Any] = dict(map_sequences(path))
        try:
            return cls(**arrays)
        except (DataError, *GARBLED) as error:
            raise DataError(f"{path} does not hold encoded sequences: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, without the n-grams, whole or not at all; OSError if it cannot be written."""
        write_sequences(path, [(self.values, self.lengths)], count=len(self), labels=self.labels, weights=self.weights)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[Any]:
        index = range(len(self))[index]  # counts from the end if negative; IndexError if it is out of range
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[index] for index in range(len(self)))

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """int64 [N]."""
        return np.diff(self.offsets)

    @property
    def is_multi_label(self) -> bool:
        """Whether a sequence may have several labels."""
        return self.labels is not None and self.labels.ndim == 2

    @cached_property
    def digest(self) -> str:
        """A hash of everything; of more than 67 million values, of 256 evenly spaced blocks of them."""
        digest = hashlib.sha256(self.lengths.tobytes())
        if self.labels is not None:
            digest.update(self.labels.tobytes())
        if self.weights is not None:
            digest.update(self.weights.tobytes())
        if self.ngrams is not None:
            digest.update(self.ngrams.digest.encode())
        step = max(_DIGEST_BLOCK, len(self.values) // _DIGEST_BLOCKS)
        for start in range(0, len(self.values), step):
            digest.update(self.values[start : start + _DIGEST_BLOCK].tobytes())
        return digest.hexdigest()

    def take(self, indices: ArrayLike) -> Sequences:
        """Return copies of the sequences at ``indices``, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        lengths = self.lengths[chosen]
        offsets = offsets_of(lengths)
        # Position p of the result, in sequence j, comes from position p - offsets[j] of the sequence at chosen[j].
        positions = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][chosen] - offsets[:-1], lengths)
        return Sequences(
            self.values[positions],
            offsets,
            labels=None if self.labels is None else self.labels[chosen],
            weights=None if self.weights is None else self.weights[chosen],
            ngrams=None if self.ngrams is None else self.ngrams.take(chosen),
        )

    def pad(self, indices: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Gather the sequences at ``indices`` into one array.

        Returns:
            The steps, int64 [B, T] or float32 [B, T, D], 0 in the padding, where T is the longest length; and the lengths,
            int64 [B].
        """
        starts, lengths = self.offsets[indices], self.lengths[indices]
        dtype = np.int64 if self.values.ndim == 1 else self.values.dtype
        inputs = np.zeros((len(indices), int(lengths.max()), *self.values.shape[1:]), dtype=dtype)
        for row, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
            inputs[row, :length] = self.values[start : start + length]
        return inputs, np.asarray(lengths)


def pad_bags(ngrams: Sequences, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Gather sets of n-grams into one array, for runtimes without bags: int64 [B, L], -1 in the padding, L at least 1."""
    rows = [ngrams[index] for index in indices.tolist()]
    padded = np.full((len(rows), max(1, *map(len, rows))), -1, dtype=np.int64)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = ids
    return padded


def as_label_array(labels: ArrayLike) -> NDArray[Any]:
    """Return labels as int64 [N]; or as they are if they are uint8 [N, K]."""
    array = np.asarray(labels)
    return array if array.dtype == np.uint8 and array.ndim == 2 else array.astype(np.int64)


def _check(values: NDArray[Any], offsets: NDArray[np.int64], labels: NDArray[Any] | None) -> None:
    if (values.dtype.name, values.ndim) not in (("int32", 1), ("float32", 2)):
        raise DataError(f"values are {values.dtype} of shape {values.shape}; give int32 [total] or float32 [total, D]")
    if (offsets.dtype.name, offsets.ndim) != ("int64", 1) or not len(offsets):
        raise DataError(f"offsets are {offsets.dtype} of shape {offsets.shape}; give int64 [N + 1]")
    if offsets[0] != 0 or offsets[-1] != len(values) or np.any(np.diff(offsets) < 0):
        raise DataError(f"offsets must rise from 0 to the number of values, which is {len(values)}")
    if labels is not None:
        count = len(offsets) - 1
        if len(labels) != count or (labels.dtype.name, labels.ndim) not in (("int64", 1), ("uint8", 2)):
            raise DataError(f"labels are {labels.dtype} of shape {labels.shape}; give int64 [{count}] or uint8 [{count}, K]")
