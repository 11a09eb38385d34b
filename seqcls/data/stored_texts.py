"""Texts that are kept in a temporary file instead of in memory."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from seqcls.errors import DataError
from seqcls.system.paths import cache_home

logger = logging.getLogger("seqcls")

_BLOCK = 4 << 20  # bytes read or written at a time


class _TemporaryFile:
    """A file without a name, closed when nothing refers to it any more.

    It is in the cache folder, where large data have a place; if that cannot be written, where temporary files usually are.
    """

    def __init__(self) -> None:
        folder = cache_home() / "tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.file = tempfile.TemporaryFile(dir=folder, buffering=_BLOCK)  # noqa: SIM115
        except OSError as error:
            usual = tempfile.gettempdir()
            logger.warning("cannot write in %s: %s; texts are kept in %s meanwhile", folder, error.strerror, usual)
            self.file = tempfile.TemporaryFile(buffering=_BLOCK)  # noqa: SIM115
        self._reading = threading.Lock()

    def __del__(self) -> None:
        if hasattr(self, "file"):
            self.file.close()

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` to ``end``; from any thread."""
        if hasattr(os, "pread"):
            return os.pread(self.file.fileno(), end - start, start)
        with self._reading:  # Windows
            self.file.seek(start)
            data: bytes = self.file.read(end - start)
            return data


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
        """Write texts to a new file as they come.

        Raises:
            DataError: There is no room for them.
        """
        ends, end = array("q"), 0
        encoded = (text.encode("utf-8", "surrogatepass") for text in texts)
        with _writing():
            temporary = _TemporaryFile()
        for data in encoded:
            with _writing():
                end += temporary.file.write(data)
            ends.append(end)
        with _writing():
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
        return self._file.read(start, end)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"the texts cannot be kept in a temporary file: {error.strerror or error}; set SEQCLS_HOME to a folder with room"
        ) from error
