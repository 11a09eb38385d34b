"""Where and how precisely to compute: devices, autocast, threads."""

from __future__ import annotations

import contextlib
import os
from contextlib import AbstractContextManager
from typing import TypeVar

import torch
from torch import Tensor, nn

from seqcls.errors import DeviceError
from seqcls.system.memory import is_out_of_memory
from seqcls.system.threads import cpu_quota

ModelT = TypeVar("ModelT", bound=nn.Module)

if hasattr(os, "register_at_fork"):
    # OpenMP's threads do not survive a fork: a child that used more than its own one would wait for them for ever.
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def resolve_device(name: str = "auto", local_rank: int | None = None) -> torch.device:
    """Return the device of that name; "auto" is the first of cuda, mps and cpu that is available.

    Args:
        name: auto, cpu, cuda, cuda:N or mps.
        local_rank: The number of this process among several on this machine; each uses the GPU of its number.

    Raises:
        DeviceError: The name is unknown, or the device is not available.
    """
    if local_rank is not None and name != "cpu":
        if name not in ("auto", "cuda"):
            raise DeviceError(f"several processes cannot share {name}; use --device auto, cuda (a GPU each) or cpu")
        name = f"cuda:{local_rank}" if name == "cuda" or torch.cuda.is_available() else "cpu"
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (":" in name and not (kind == "cuda" and index.isdecimal() and len(index) < 9)):
        raise DeviceError(f"unknown device {name!r}; use auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            reason = (
                "this PyTorch build has no CUDA support" if torch.version.cuda is None else f"{count} CUDA devices found"
            )
            raise DeviceError(f"device {name} is not available ({reason}); use --device auto or cpu")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device mps is not available (it needs an Apple GPU); use --device auto or cpu")
    return torch.device(name)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the context in which to run forward passes: bfloat16 autocast for "bf16", nothing for "fp32".

    Raises:
        DeviceError: The device does not support bfloat16.
    """
    if precision == "fp32":
        return contextlib.nullcontext()
    if device.type == "mps" or (device.type == "cuda" and not torch.cuda.is_bf16_supported()):
        raise DeviceError(f"{device} has no bfloat16 arithmetic; use --precision fp32")
    return torch.autocast(device.type, dtype=torch.bfloat16)


def move_to(model: ModelT, device: torch.device) -> ModelT:
    """Move a module to a device.

    Raises:
        DeviceError: The device is available but does not work.
    """
    try:
        return model.to(device)
    except RuntimeError as error:
        if device.type == "cpu" or is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0]
        raise DeviceError(f"{device} cannot be used: {reason}; check the driver, or use --device cpu") from error


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on ``device``, without waiting for the copy if one is needed."""
    # CUDA copies asynchronously only from pinned memory; from other memory the process may have to wait for the device.
    must_pin = device.type == "cuda" and tensor.device.type == "cpu"
    return (tensor.pin_memory() if must_pin else tensor).to(device, non_blocking=True)


def use_deterministic_algorithms() -> None:
    """Make PyTorch use only algorithms that give the same bits each time, and refuse operations without one."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when it starts
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def set_threads(threads: int | None) -> None:
    """Set the number of CPU threads within an operation.

    By default it is PyTorch's own, the cores that the process may use, or OMP_NUM_THREADS; but no more than the quota of a
    container, beyond which threads would only wait for each other.
    """
    quota = None if threads is not None or "OMP_NUM_THREADS" in os.environ else cpu_quota()
    if threads is not None:
        torch.set_num_threads(threads)
    elif quota is not None and quota < torch.get_num_threads():
        torch.set_num_threads(quota)
