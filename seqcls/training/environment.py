"""What a result depends on, bit by bit, besides data, settings and seed: recorded with a run, and compared on resume."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

import torch

from seqcls.model.native.library import describe, native
from seqcls.system.memory import keeping_freed_memory

# The packages whose arithmetic or order of calls affects the weights.
_PACKAGES = ("seqcls", "numpy", "safetensors", "tokenizers")


@contextlib.contextmanager
def fast_arithmetic(device: torch.device) -> Iterator[None]:
    """On a CPU, keep freed memory for the next batch, and flush denormal numbers to zero for the block."""
    if device.type != "cpu":
        yield
        return
    library = native()
    with keeping_freed_memory(), contextlib.nullcontext() if library is None else library.flushing_denormals():
        yield


def describe_environment(device: torch.device, processes: int) -> dict[str, str | int]:
    """Return the build of PyTorch, the device, the numbers of threads and processes and the versions of packages."""
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": device.type if device.type == "cpu" else _device_name(device),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "lstm": describe(),
        "threads": torch.get_num_threads(),
        "processes": processes,
        **{name: metadata.version(name) for name in _PACKAGES},
    }


def differences(recorded: Mapping[str, Any], device: torch.device, processes: int) -> list[str]:
    """Return how this environment differs from a recorded one, as "threads 2 -> 1"."""
    here = describe_environment(device, processes)
    return [f"{name} {recorded.get(name)} -> {value}" for name, value in here.items() if recorded.get(name) != value]


def _device_name(device: torch.device) -> str:
    if device.type != "cuda":
        return device.type
    return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
