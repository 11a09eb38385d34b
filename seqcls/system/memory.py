"""Memory: keeping what was freed, and recognizing errors about exhausted memory."""

from __future__ import annotations

import ctypes
from functools import cache

import torch

# How CUDA and cuDNN, the CPU's allocator on Linux and on Windows, and Metal say it.
_OUT_OF_MEMORY = ("out of memory", "alloc_failed", "can't allocate memory", "not enough memory")


@cache
def keep_freed_memory() -> None:
    """Let the process keep what a batch frees, for the next one, instead of giving it back to the system.

    Tensors of several megabytes would come fresh from the system each time, a page at a time, each filled with zeros first:
    that took a quarter of an LSTM layer's time. Only glibc can be told; others, and accelerators, keep memory as it is.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl; Windows has no such thing as None either
        return
    for parameter, value in ((-1, 1 << 30), (-4, 0)):  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
        mallopt(parameter, value)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the memory of a device, or of the machine, is used up."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in message for words in _OUT_OF_MEMORY)
