"""Files of encoded sequences: flat values, offsets, labels and weights in a memory-mapped safetensors file.

The file format: https://huggingface.co/docs/safetensors (8 bytes of header length, a JSON header, the arrays).
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqcls.errors import DataError
from seqcls.system.files import replacing
from seqcls.system.untrusted import GARBLED

_DTYPES = {"I32": "<i4", "I64": "<i8", "F32": "<f4", "F64": "<f8", "U8": "|u1"}
_HEAD = 1024  # bytes for the header and its length: it is written last, when all sizes are known


def write_sequences(
    path: str | os.PathLike[str],
    chunks: Iterable[tuple[NDArray[Any], NDArray[np.int64]]],
    *,
    count: int,
    labels: NDArray[Any] | None,
    weights: NDArray[np.float64] | None = None,
) -> None:
    """Write a file that `map_sequences` reads, a chunk of sequences at a time.

    Args:
        path: The file; it is written whole or not at all.
        chunks: The steps of some sequences, int32 [part] or float32 [part, D], and their lengths, int64.
        count: The number of all sequences, N.
        labels: int64 [N], uint8 [N, K], or None.
        weights: float64 [N], or None.

    Raises:
        DataError: There are more or fewer sequences than ``count``.
        OSError: The file cannot be written.
    """
    lengths = [np.empty(0, dtype=np.int64)]
    dtype, shape = np.dtype(np.int32), [0]
    with replacing(Path(path)) as file:
        # What there is one of per sequence comes first, since its size is known now; it is filled in at the end.
        given = {name: array for name, array in (("weights", weights), ("labels", labels)) if array is not None}
        file.seek(_HEAD + 8 * (count + 1) + sum(array.nbytes for array in given.values()))
        for values, chunk_lengths in chunks:
            dtype, shape = values.dtype, [shape[0] + len(values), *values.shape[1:]]
            lengths.append(chunk_lengths)
            file.write(np.ascontiguousarray(values).data)
        offsets = offsets_of(np.concatenate(lengths))
        if len(offsets) != count + 1 or offsets[-1] != shape[0]:
            raise DataError(
                f"{count} sequences were announced, but {len(offsets) - 1} came; the data changed while it was read"
            )
        arrays = {"offsets": offsets, **{name: np.ascontiguousarray(array) for name, array in given.items()}}
        entries = [(name, array.dtype, list(array.shape)) for name, array in arrays.items()]
        file.seek(0)
        file.write(_head([*entries, ("values", dtype, shape)]))
        for array in arrays.values():
            file.write(array.data)


def map_sequences(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Return the values, offsets and, where there are any, labels and weights of a file, mapped into memory and read-only.

    Raises:
        DataError: The file is missing, truncated or garbled.
    """
    try:
        with Path(path).open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # it stays open after the file is closed
        return _view_arrays(data)
    except (OSError, DataError, *GARBLED) as error:
        raise DataError(f"{path} does not hold encoded sequences: {error}") from error


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each of N sequences begins and the last one ends, int64 [N + 1]."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


def _head(entries: list[tuple[str, np.dtype[Any], list[int]]]) -> bytes:
    names = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
    header, end = {}, 0
    for name, dtype, shape in entries:
        begin, end = end, end + dtype.itemsize * math.prod(shape)
        header[name] = {"dtype": names[dtype], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode().ljust(_HEAD - 8)
    return len(text).to_bytes(8, "little") + text


def _view_arrays(data: mmap.mmap) -> dict[str, NDArray[Any]]:
    """Return the arrays of a safetensors file as views of its memory; any standard error if it is garbled."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    if header.keys() - {"labels", "weights"} != {"offsets", "values"}:
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
