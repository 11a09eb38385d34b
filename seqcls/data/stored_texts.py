"""Texts that are kept in a temporary file instead of in memory."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from seqcls.system.paths import cache_home

_BLOCK = 4 << 20  # bytes read or written at a time


class _TemporaryFile:
    """A file without a name, closed when nothing refers to it any more."""

    def __init__(self) -> None:
        folder = cache_home() / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        self.file = tempfile.TemporaryFile(dir=folder, buffering=_BLOCK)  # noqa: SIM115

    def __del__(self) -> None:
        self.file.close()


class StoredTexts(Sequence[str]):
    """N texts in a temporary file in the cache folder, which vanishes with the process; memory holds only their positions.

    Iteration reads the file in blocks; single texts are read in any order. Slices and `take` share the file.
    """

    def __init__(self, file: _TemporaryFile, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        self._file = file
        self._starts = starts
        self._ends = ends

    @classmethod
    def write(cls, texts: Iterable[str]) -> StoredTexts:
        """Write texts to a new file as they come."""
        temporary = _TemporaryFile()
        ends, end = array("q"), 0
        for text in texts:
            end += temporary.file.write(text.encode("utf-8", "surrogatepass"))
            ends.append(end)
        temporary.file.flush()
        stops = np.array(ends, dtype=np.int64)
        return cls(temporary, np.concatenate([np.zeros(1, dtype=np.int64), stops])[:-1], stops)

    def take(self, indices: NDArray[np.int64]) -> StoredTexts:
        """Return the texts at ``indices``, in that order."""
        return StoredTexts(self._file, self._starts[indices], self._ends[indices])

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> StoredTexts: ...
    def __getitem__(self, index: int | slice) -> str | StoredTexts:
        if isinstance(index, slice):
            return StoredTexts(self._file, self._starts[index], self._ends[index])
        start, end = int(self._starts[index]), int(self._ends[index])
        return self._read(start, end).decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        block, block_start, block_end = b"", 0, 0
        for start, end in zip(self._starts.tolist(), self._ends.tolist(), strict=True):
            if not block_start <= start <= end <= block_end:
                block_start, block_end = start, max(end, start + _BLOCK)
                block = self._read(block_start, block_end)
                block_end = block_start + len(block)
            yield block[start - block_start : end - block_start].decode("utf-8", "surrogatepass")

    def _read(self, start: int, end: int) -> bytes:
        return os.pread(self._file.file.fileno(), end - start, start)
