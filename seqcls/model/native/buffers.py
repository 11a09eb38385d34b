"""Large buffers that are kept from one training step to the next."""

from __future__ import annotations

import threading

import numpy as np
import torch
from torch import Tensor

# The gates of a layer are the largest thing in training, 50 MB for the tutorial's network. In memory fresh from the system,
# each page would have to be zeroed first.
_MOST_SPARE = 4
_spare: list[Tensor] = []
_lock = threading.Lock()


def take(*shape: int, like: Tensor) -> Tensor:
    """Return an uninitialized tensor of the dtype of ``like``, in the memory of a spare one if one is large enough."""
    size = int(np.prod(shape))
    with _lock:
        for position, buffer in enumerate(_spare):
            if buffer.dtype == like.dtype and len(buffer) >= size:
                return _spare.pop(position)[:size].view(shape)
    try:
        return like.new_empty(size).view(shape)
    except RuntimeError:  # the spare ones may take what is missing
        with _lock:
            _spare.clear()
        return like.new_empty(size).view(shape)


def give_back(tensor: Tensor) -> None:
    """Keep the memory of a tensor from `take`, which nobody may use any more; the largest few buffers stay."""
    whole = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
    with _lock:
        _spare.append(whole)
        _spare.sort(key=len)
        if len(_spare) > _MOST_SPARE:
            del _spare[0]
