"""A guard against descriptions of models that are far larger than the weights beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from seqcls.errors import CheckpointError
from seqcls.storage.description import MIXED_FILES

_FILLING = (torch.Tensor.normal_, torch.Tensor.uniform_, torch.nn.init.normal_, torch.nn.init.uniform_)


class OversizedModelGuard(TorchFunctionMode):
    """Stop the construction of a model that calls torch far more often than its file of weights can account for.

    A config.json of a few bytes may ask for a million layers. On the meta device they take no memory for values, but each
    still takes time and memory for itself.

    Args:
        num_tensors: Number of tensors in model.safetensors.
        path: The model directory, for the error message.
    """

    def __init__(self, num_tensors: int, path: Path) -> None:
        super().__init__()
        self._calls_left = 1000 + 100 * num_tensors
        self._path = path

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._calls_left -= 1
        if self._calls_left < 0:
            raise CheckpointError(
                f"{self._path}/config.json describes a model of far more tensors than model.safetensors has; {MIXED_FILES}"
            )
        if func in _FILLING:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:  # it has no values, and PyTorch would spend a second on importing its compiler to fill them
                return tensor
        return func(*args, **(kwargs or {}))
