"""Encoded sequences that stay on a GPU: copied there once, and gathered into padded batches there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqcls.data.sequences import Sequences
from seqcls.system.device import to_device
from seqcls.system.memory import is_out_of_memory

T = TypeVar("T")

logger = logging.getLogger("seqcls")

# Of the memory that is free when a split is first asked for, it may take this share. Training, validation and test splits
# together then take at most 58%, and what a step needs, which is not known yet, finds room in the rest.
SHARE = 0.25
_PIECE = 1 << 26  # bytes that are copied at a time: the file that a split is mapped from may be larger than memory


class Resident:
    """A copy of N sequences on a device.

    Attributes:
        values: int32 [total + 1] or float32 [total + 1, D]; the last is 0, which is what padding is read from.
        labels: int64 [N], uint8 [N, K], or None.
    """

    def __init__(self, sequences: Sequences, device: torch.device) -> None:
        # Not the sequences themselves: they would never be freed.
        self._offsets, self._lengths = sequences.offsets, sequences.lengths
        # The first use may be a prediction, whose tensors are of no use in training.
        with torch.inference_mode(mode=False):
            self.values = _copied(sequences.values, device, spare=1)
            self.labels = None if sequences.labels is None else _copied(sequences.labels, device)

    def gather(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return inputs and labels on the device, and between them lengths on the CPU, as `Batch` has them."""
        lengths = self._lengths[indices]
        places = torch.from_numpy(np.stack([self._offsets[indices], lengths, indices]))
        starts, counts, rows = to_device(places, self.values.device).unsqueeze(-1)  # [B, 1] each
        steps = torch.arange(int(lengths.max()), device=self.values.device)
        positions = (starts + steps).masked_fill_(steps >= counts, len(self.values) - 1)  # [B, T]
        inputs = self.values.index_select(0, positions.flatten()).view(*positions.shape, *self.values.shape[1:])
        labels = None if self.labels is None else self.labels.index_select(0, rows.flatten())
        return inputs.long() if self.values.ndim == 1 else inputs, torch.from_numpy(lengths), labels


_residents: WeakKeyDictionary[Sequences, dict[torch.device, Resident | None]] = WeakKeyDictionary()


def resident(sequences: Sequences, device: torch.device) -> Resident | None:
    """Return the copy on a GPU, made when first asked for and kept as long as the sequences; None if it does not fit."""
    if device.type != "cuda":
        return None
    device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
    copies = _residents.setdefault(sequences, {})
    if device not in copies:
        copies[device] = _try_to_copy(sequences, device)
    return copies[device]


def free_residents() -> bool:
    """Let no sequences so far stay on a device any more; return whether there were any."""
    found = False
    for copies in _residents.values():
        for device, copy in copies.items():
            found, copies[device] = found or copy is not None, None
    return found


def without_residents_if_needed(run: Callable[[], T]) -> T:
    """Return what a function does; if it finds too little memory, and residents take some, once more without them."""
    try:
        return run()
    except (RuntimeError, MemoryError) as error:
        if not (is_out_of_memory(error) and free_residents()):
            raise
    logger.warning("out of memory: the data no longer stay on the device")
    return run()  # outside of the except clause, which would hold the tensors that were in the way


def _try_to_copy(sequences: Sequences, device: torch.device) -> Resident | None:
    free, _ = torch.cuda.mem_get_info(device.index)
    needed = sequences.values.nbytes + (0 if sequences.labels is None else sequences.labels.nbytes)
    if needed > SHARE * free:
        return None
    try:
        return Resident(sequences, device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def _copied(array: NDArray[Any], device: torch.device, *, spare: int = 0) -> Tensor:
    """Return an array on a device, with so many rows of zeros after it."""
    dtype = torch.from_numpy(np.empty(0, dtype=array.dtype)).dtype
    copied = torch.zeros(len(array) + spare, *array.shape[1:], dtype=dtype, device=device)
    rows = max(1, _PIECE * len(array) // max(1, array.nbytes))
    for start in range(0, len(array), rows):
        piece = array[start : start + rows].copy()  # PyTorch warns of memory that cannot be written
        copied[start : start + len(piece)].copy_(torch.from_numpy(piece))
    return copied
