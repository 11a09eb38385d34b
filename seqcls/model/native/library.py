"""The compiled time loop of LSTM layers: which library runs on this processor, if any, and how to call it.

The build makes one library per kind of register (hatch_build.py). Without a compiler it makes none, and PyTorch's own layers
do the work. Nothing is compiled later.
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import torch

SWITCH = "SEQCLS_NATIVE"
# The libraries that would run, best first, by what torch reports of the processor.
_LIBRARIES = {"AVX512": ("amx", "avx512", "avx2", "plain"), "AVX2": ("avx2", "plain")}
Pass = Literal["layout", "projection", "forward", "backward", "tiles", "tiled forward"]
_PASSES: dict[Pass, int] = {name: number for number, name in enumerate(get_args(Pass))}

logger = logging.getLogger("seqcls")


class Layer(ctypes.Structure):
    """The arguments of one pass of a layer; lstm.c describes them."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("steps", "input_size", "hidden_size", "directions")],
        *[(name, ctypes.c_int64) for name in ("rows", "block", "units", "next", "failed")],
        *[(name, ctypes.c_void_p) for name in ("starts", "inputs")],
        ("parameters", ctypes.c_void_p * 8),
        *[(name, ctypes.c_void_p) for name in ("weights", "biases", "tiles", "projections", "index")],
        *[(name, ctypes.c_void_p) for name in ("gates", "cells", "states")],
        *[(name, ctypes.c_void_p) for name in ("outside", "input_weights", "input_gradients")],
        *[(name, ctypes.c_void_p) for name in ("weight_gradients", "bias_gradients")],
    ]


@dataclass(frozen=True)
class Native:
    """A loaded library.

    Attributes:
        name: The registers it is compiled for: amx, avx512, avx2, or plain, which any processor of this architecture has.
        vector_bytes: Size of a vector register.
        has_tiles: Whether it can predict with AMX tiles.
        has_threads: Whether it can use PyTorch's threads.
    """

    name: str
    vector_bytes: int
    has_tiles: bool
    has_threads: bool
    _run: Any
    _flush: Any
    _parallel: ctypes.c_void_p

    def run(self, layer: Layer, name: Pass, *, dtype: torch.dtype) -> None:
        """Run one pass of a float32 or float64 layer, in as many threads as PyTorch uses.

        Raises:
            MemoryError: There is not enough memory.
        """
        threads = min(torch.get_num_threads(), layer.units)
        if not self._run(ctypes.byref(layer), _PASSES[name], dtype == torch.float64, threads, self._parallel):
            raise MemoryError(f"out of memory in the {name} pass of an LSTM layer")

    @contextmanager
    def flushing_denormals(self) -> Iterator[None]:
        """Treat numbers that are too small for full precision as 0, in all threads that PyTorch uses.

        Adam's averages for a word that does not occur again become that small after some hundred steps, and each operation
        on such a number takes a hundred times as long. Without this, an epoch over many texts costs more per text than one
        over few.
        """
        threads = torch.get_num_threads()
        self._flush(1, threads, self._parallel)
        try:
            yield
        finally:
            self._flush(0, threads, self._parallel)


@cache
def native() -> Native | None:
    """Return the best library for this processor; None if there is none, for the reason that `describe` gives."""
    return _best()[0]


def describe() -> str:
    """Describe in words what computes LSTM layers on the CPU."""
    best, reason = _best()
    if best is None:
        return f"PyTorch's own layers: {reason}"
    threads = "" if best.has_threads else ", one thread: PyTorch's OpenMP library was not found"
    return f"compiled for {best.name}{threads}"


def usable() -> tuple[str, ...]:
    """Return the names of the libraries that this processor can run, best first."""
    names = _LIBRARIES.get(torch.backends.cpu.get_cpu_capability(), ("plain",))
    return tuple(name for name in names if _path(name).is_file() and _is_usable(name))


@cache
def _is_usable(name: str) -> bool:
    if name != "amx":
        return True
    try:
        return bool(_library(name).seqcls_usable())
    except (OSError, AttributeError):  # the other libraries may still work
        return False


@cache
def _best() -> tuple[Native | None, str]:
    wanted = os.environ.get(SWITCH)
    if wanted == "0":
        return None, f"{SWITCH} is 0"
    names = usable()
    if not names:
        return None, "seqcls was installed without a C compiler"
    if wanted in names:
        names = (wanted,)
    elif wanted:
        logger.warning("%s=%s is not a library that this CPU can run; use 0 or one of %s", SWITCH, wanted, ", ".join(names))
    try:
        return load(names[0]), ""
    except (OSError, AttributeError) as error:
        logger.warning("LSTMs will be slower, since %s cannot be loaded: %s", _path(names[0]), error)
        return None, f"{_path(names[0]).name} cannot be loaded: {error}"


def load(name: str) -> Native:
    """Load one of the `usable` libraries.

    Raises:
        OSError: The file is not a library, is that of another version, or cannot run on this machine.
    """
    library = _library(name)
    if library.seqcls_layer_bytes() != ctypes.sizeof(Layer):
        raise OSError("it was compiled from other sources; install seqcls again")
    if not _is_usable(name):  # the operating system must permit AMX, too
        raise OSError("this machine cannot run it")
    run = library.seqcls_lstm
    run.argtypes = [ctypes.POINTER(Layer), ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
    try:
        # torch has loaded its OpenMP library globally; its threads are the ones to share.
        parallel = ctypes.cast(ctypes.CDLL(None).GOMP_parallel, ctypes.c_void_p)
    except AttributeError:
        parallel = ctypes.c_void_p()
    flush = library.seqcls_flush_denormals
    flush.argtypes, flush.restype = [ctypes.c_int, ctypes.c_uint, ctypes.c_void_p], None
    return Native(name, library.seqcls_vector_bytes(), name == "amx", parallel.value is not None, run, flush, parallel)


def _library(name: str) -> ctypes.CDLL:
    return ctypes.CDLL(str(_path(name)))


def _path(name: str) -> Path:
    return Path(__file__).with_name(f"lstm-{name}.so")
