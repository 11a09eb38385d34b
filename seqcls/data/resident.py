"""Encoded sequences that stay on a GPU: they are copied there once, and padded batches are gathered there."""

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

# The share of the free memory that a split may take when it is first used. Training, validation and test splits together
# then take at most 58%, and the rest is left for the training step, whose needs are not known yet.
SHARE = 0.25
_PIECE = 1 << 26  # bytes copied at a time: the file that a split is mapped from may be larger than memory


class Resident:
    """A copy of N sequences on a device.

    Attributes:
        values: int32 [total + 1] or float32 [total + 1, D]; the last row is 0, and padding is read from it.
        labels: int64 [N], uint8 [N, K], or None.
    """

    def __init__(self, sequences: Sequences, device: torch.device) -> None:
        # Only the arrays are kept: a reference to the sequences would keep them from ever being freed.
        self._offsets, self._lengths = sequences.offsets, sequences.lengths
        # The first use may be a prediction: tensors made in inference mode cannot be used in training.
        with torch.inference_mode(mode=False):
            self.values = _copied(sequences.values, device, spare=1)
            self.labels = None if sequences.labels is None else _copied(sequences.labels, device)

    def gather(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return inputs on the device, lengths on the CPU, and labels on the device, as in `Batch`."""
        lengths = self._lengths[indices]
        index = torch.from_numpy(np.stack([self._offsets[indices], lengths, indices]))  # [3, B]
        starts, counts, rows = to_device(index, self.values.device).unsqueeze(-1)  # [B, 1] each
        steps = torch.arange(int(lengths.max()), device=self.values.device)
        positions = (starts + steps).masked_fill_(steps >= counts, len(self.values) - 1)  # [B, T]
        inputs = self.values.index_select(0, positions.flatten()).view(*positions.shape, *self.values.shape[1:])
        labels = None if self.labels is None else self.labels.index_select(0, rows.flatten())
        return inputs.long() if self.values.ndim == 1 else inputs, torch.from_numpy(lengths), labels


_residents: WeakKeyDictionary[Sequences, dict[torch.device, Resident | None]] = WeakKeyDictionary()


def resident(sequences: Sequences, device: torch.device) -> Resident | None:
    """Return the copy on a GPU, made on first use and kept as long as the sequences; None if it does not fit."""
    if device.type != "cuda":
        return None
    device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
    copies = _residents.setdefault(sequences, {})
    if device not in copies:
        copies[device] = _try_to_copy(sequences, device)
    return copies[device]


def free_residents() -> bool:
    """Drop every copy on a device, for good; return whether there were any."""
    had_copies = False
    for copies in _residents.values():
        for device, copy in copies.items():
            had_copies, copies[device] = had_copies or copy is not None, None
    return had_copies


def without_residents_if_needed(run: Callable[[], T]) -> T:
    """Call a function; if it runs out of memory while residents take some, free them and call it again."""
    try:
        return run()
    except (RuntimeError, MemoryError) as error:
        if not (is_out_of_memory(error) and free_residents()):
            raise
    logger.warning("out of memory: the data no longer stay on the device")
    return run()  # outside the except clause, which would keep the tensors of the failed call alive


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
    """Return a copy of an array on a device, followed by ``spare`` rows of zeros."""
    dtype = torch.from_numpy(np.empty(0, dtype=array.dtype)).dtype
    copied = torch.zeros(len(array) + spare, *array.shape[1:], dtype=dtype, device=device)
    rows = max(1, _PIECE * len(array) // max(1, array.nbytes))
    for start in range(0, len(array), rows):
        piece = array[start : start + rows].copy()  # PyTorch warns about read-only memory
        copied[start : start + len(piece)].copy_(torch.from_numpy(piece))
    return copied
