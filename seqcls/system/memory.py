"""Memory: keeping what was freed, and recognizing errors about exhausted memory."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator, Mapping
from typing import Any

import torch

# M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h, and what they are at first.
_KEEPING, _USUAL = {-1: 1 << 30, -4: 0}, {-1: 128 << 10, -4: 1 << 16}
_own: list[bool] = []  # not empty once the process keeps memory for good

# How CUDA and cuDNN, the CPU's allocator on Linux and on Windows, and Metal say it.
_OUT_OF_MEMORY = ("out of memory", "alloc_failed", "can't allocate memory", "not enough memory")


def keep_freed_memory() -> None:
    """Let this process keep what a batch frees, for the next one, instead of giving it back to the system.

    Tensors of several megabytes would come fresh from the system each time, a page at a time, each filled with zeros first:
    that took a quarter of an LSTM layer's time. Only glibc can be told; others, and accelerators, keep memory as it is.

    It is for processes of our own, such as commands: in others, what is not ours would be kept as well.
    """
    _set_limits(_KEEPING)
    _own.append(True)


@contextlib.contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """Do the same for a block, after which freed memory goes back to the system."""
    if _own:
        yield
        return
    _set_limits(_KEEPING)
    try:
        yield
    finally:
        _set_limits(_USUAL)
        trim = _of_libc("malloc_trim")
        if trim is not None:
            trim(0)


def _set_limits(limits: Mapping[int, int]) -> None:
    mallopt = _of_libc("mallopt")
    for parameter, value in limits.items() if mallopt is not None else ():
        mallopt(parameter, value)


def _of_libc(name: str) -> Any:
    """Return a function of glibc; None where there is none of that name."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):  # musl; Windows has no such thing as None either
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the memory of a device, or of the machine, is used up."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in message for words in _OUT_OF_MEMORY)
