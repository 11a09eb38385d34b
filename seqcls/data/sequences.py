"""Encoded sequences: flat values, offsets and labels in a memory-mapped safetensors file. The cache of them is in cache.py.

The file format: https://huggingface.co/docs/safetensors (8 bytes of header length, a JSON header, the arrays).
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqcls.data.scaler import FeatureScaler
from seqcls.data.tokenizer import UNK_ID, TextTokenizer, Truncating
from seqcls.data.tokenizer_worker import encode_on_two_cores
from seqcls.errors import DataError
from seqcls.system.files import replacing
from seqcls.system.untrusted import GARBLED

Preprocessor = TextTokenizer | FeatureScaler
"""What makes sequences of texts, or of numbers."""

_DTYPES = {"I32": "<i4", "I64": "<i8", "F32": "<f4", "U8": "|u1"}
_MANY_TEXTS = 200_000  # from here on a second process is worth its start
_DIGEST_BLOCK, _DIGEST_BLOCKS = 1 << 18, 256  # time steps, and how many blocks of them at most
_HEAD = 1024  # bytes for the length of the header and the header, which is written last, when all sizes are known


@dataclass(frozen=True, eq=False)
class Sequences:
    """N sequences, one after another in one array.

    Attributes:
        values: Token ids, int32 [total], or features, float32 [total, D].
        offsets: int64 [N + 1]; sequence i is values[offsets[i] : offsets[i + 1]].
        labels: int64 [N]; uint8 [N, K], 1 for each of K labels that a sequence has; or None where there are none.

    Raises:
        DataError: The arrays do not fit together.
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]
    labels: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        _check(self.values, self.offsets, self.labels)

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
            offsets=_offsets(np.array([len(array) for array in arrays], dtype=np.int64)),
            labels=None if labels is None else _as_labels(labels),
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Sequences:
        """Map a file that `save` wrote into memory; nothing is copied, and the arrays are read-only.

        Raises:
            DataError: The file is missing, cut off or garbled.
        """
        try:
            with Path(path).open("rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # it stays open after the file is closed
            return cls(**_map_arrays(data))
        except (OSError, DataError, *GARBLED) as error:
            raise DataError(f"{path} does not hold encoded sequences: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, whole or not at all; OSError if it cannot be written."""
        write_sequences(path, [(self.values, self.lengths)], count=len(self), labels=self.labels)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[Any]:
        index = range(len(self))[index]  # counts from the end if negative; IndexError if there is none
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
        """A hash of lengths, labels and values; of more than 67 million values, of 256 evenly spaced blocks."""
        digest = hashlib.sha256(self.lengths.tobytes())
        if self.labels is not None:
            digest.update(self.labels.tobytes())
        step = max(_DIGEST_BLOCK, len(self.values) // _DIGEST_BLOCKS)
        for start in range(0, len(self.values), step):
            digest.update(self.values[start : start + _DIGEST_BLOCK].tobytes())
        return digest.hexdigest()

    def take(self, indices: ArrayLike) -> Sequences:
        """Return copies of the sequences at ``indices``, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        lengths = self.lengths[chosen]
        offsets = _offsets(lengths)
        # Position p of the result, in sequence j, comes from position p - offsets[j] of the sequence at chosen[j].
        positions = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][chosen] - offsets[:-1], lengths)
        return Sequences(self.values[positions], offsets, None if self.labels is None else self.labels[chosen])


@dataclass(frozen=True, eq=False)
class Unencoded:
    """Texts, or raw features, that become `Sequences`, in memory or, piece by piece, in a file.

    Attributes:
        tokenizer: What encodes them.
        texts: N texts, or N float arrays [T, D].
        labels: int64 [N], uint8 [N, K], or None.
    """

    tokenizer: Preprocessor
    texts: Sequence[Any]
    labels: NDArray[Any] | None = None

    def encode(self) -> Sequences:
        """Return the sequences."""
        return encode(self.tokenizer, self.texts, self.labels)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the sequences as `Sequences.save` does, a few thousand in memory at a time."""
        chunks: Iterator[tuple[NDArray[Any], NDArray[np.int64]]]
        if isinstance(self.tokenizer, TextTokenizer) and len(self.texts) >= _MANY_TEXTS:
            chunks = encode_on_two_cores(self.tokenizer, self.texts)
        else:
            chunks = self.tokenizer.encode_chunks(self.texts)
        write_sequences(path, chunks, count=len(self.texts), labels=self.labels)


def write_sequences(
    path: str | os.PathLike[str],
    chunks: Iterable[tuple[NDArray[Any], NDArray[np.int64]]],
    *,
    count: int,
    labels: NDArray[Any] | None,
) -> None:
    """Write a file that `Sequences.load` reads from pieces: the values of some sequences, and their lengths.

    Args:
        path: The file; it is written whole or not at all.
        chunks: int32 [part] or float32 [part, D], and the lengths of the sequences in it, int64.
        count: The number of all sequences.
        labels: As in `Sequences`.
    """
    lengths = [np.empty(0, dtype=np.int64)]
    dtype, shape = np.dtype(np.int32), [0]
    with replacing(Path(path)) as file:
        # What is as long as the number of sequences goes first, at a place known now; it is filled in at the end.
        file.seek(_HEAD + 8 * (count + 1) + (0 if labels is None else labels.nbytes))
        for values, chunk_lengths in chunks:
            dtype, shape = values.dtype, [shape[0] + len(values), *values.shape[1:]]
            lengths.append(chunk_lengths)
            file.write(np.ascontiguousarray(values).data)
        offsets = _offsets(np.concatenate(lengths))
        if len(offsets) != count + 1 or offsets[-1] != shape[0]:
            raise DataError(f"{count} sequences were announced, {len(offsets) - 1} came; the data changed while it was read")
        arrays = {"offsets": offsets, **({} if labels is None else {"labels": np.ascontiguousarray(labels)})}
        entries = [(name, array.dtype, list(array.shape)) for name, array in arrays.items()]
        file.seek(0)
        file.write(_head([*entries, ("values", dtype, shape)]))
        for array in arrays.values():
            file.write(array.data)


def _head(entries: list[tuple[str, np.dtype[Any], list[int]]]) -> bytes:
    names = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
    header, end = {}, 0
    for name, dtype, shape in entries:
        begin, end = end, end + dtype.itemsize * math.prod(shape)
        header[name] = {"dtype": names[dtype], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode().ljust(_HEAD - 8)
    return len(text).to_bytes(8, "little") + text


def parse_preprocessor(data: bytes, path: Path, *, max_length: int | None, truncating: Truncating) -> Preprocessor:
    """Read the tokenizer, or feature statistics, from the content of the file ``path``; CheckpointError if it is damaged."""
    if b'"model"' in data:
        return TextTokenizer.from_json(data, path, max_length=max_length, truncating=truncating)
    return FeatureScaler.from_json(data, path)


def encode(tokenizer: Preprocessor, texts: Iterable[Any], labels: ArrayLike | None = None) -> Sequences:
    """Encode N texts, or N float arrays [T, D]; ``labels`` are int [N], or uint8 [N, K]."""
    values, offsets = tokenizer.encode_batch(texts)
    return Sequences(values, offsets, None if labels is None else _as_labels(labels))


def encode_inputs(tokenizer: Preprocessor, texts: Sequence[Any]) -> Sequences:
    """Encode what a model is asked about; DataError names the item that is none."""
    if isinstance(texts, str):
        raise DataError("give a list of texts, not one text")
    if isinstance(tokenizer, TextTokenizer):
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"texts[{index}] is a {type(text).__name__}; give a str")
    return encode(tokenizer, texts)


def pad(sequences: Sequences, indices: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the sequences at ``indices`` as one array, int64 [B, T] or float32 [B, T, D], 0 in the padding, and lengths."""
    starts, lengths = sequences.offsets[indices], sequences.lengths[indices]
    values = sequences.values
    dtype = np.int64 if values.ndim == 1 else values.dtype
    inputs = np.zeros((len(indices), int(lengths.max()), *values.shape[1:]), dtype=dtype)
    for row, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        inputs[row, :length] = values[start : start + length]
    return inputs, np.asarray(lengths)


def _as_labels(labels: ArrayLike) -> NDArray[Any]:
    array = np.asarray(labels)
    return array if array.dtype == np.uint8 and array.ndim == 2 else array.astype(np.int64)


def unknown_rate(sequences: Sequences) -> float:
    """Return the share of ids that are the unknown word; 0 where there are none."""
    return float(np.mean(sequences.values == UNK_ID)) if len(sequences.values) and sequences.values.ndim == 1 else 0.0


def unknown_rates(sequences: Sequences) -> NDArray[np.float64]:
    """Return, for each of N sequences, the share of its ids that are the unknown word, float64 [N]; 0 for numbers."""
    if sequences.values.ndim == 2 or not len(sequences):
        return np.zeros(len(sequences))
    return np.asarray(np.add.reduceat(sequences.values == UNK_ID, sequences.offsets[:-1]) / sequences.lengths)


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


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


def _map_arrays(data: mmap.mmap) -> dict[str, NDArray[Any]]:
    """Return the arrays of a safetensors file as views of its memory; any standard error if it is garbled."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    if sorted(header) not in (["offsets", "values"], ["labels", "offsets", "values"]):
        raise DataError("its header names other arrays")
    arrays, size = {}, 0
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        array: NDArray[Any] = np.ndarray(entry["shape"], _DTYPES[entry["dtype"]], buffer=data, offset=start + begin)
        if begin < 0 or end - begin != array.nbytes or list(array.shape) != entry["shape"]:
            raise DataError(f"its header misplaces {name}")
        arrays[name], size = array, size + array.nbytes
    if start + size != len(data):
        raise DataError(f"it has {len(data)} bytes instead of {start + size}")
    return arrays
