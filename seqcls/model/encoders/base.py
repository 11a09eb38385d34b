"""The contract that every encoder keeps; `seqcls.testing.check_encoder` tests its laws."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from seqcls.errors import DataError, DeviceError


class Encoder(nn.Module, ABC):
    """Map sequences of vectors to one vector each.

    ``__init__(self, input_size: int, *, ...)`` takes the encoder's options as keyword-only arguments, without ``*args`` or
    ``**kwargs``: names, types and defaults are read from the signature.

    Laws: a row of the result depends on the first ``lengths[b]`` steps of its own sequence alone; every parameter gets a
    gradient; evaluation mode is deterministic; the state dict round-trips.

    Attributes:
        input_size: The first argument of ``__init__``, kept here by the base class.
        options: The keyword arguments of ``__init__``, kept here by the base class so that a saved model can be rebuilt.
        output_size: Size of the vector that ``forward`` gives for a sequence.
        device_types: Device types that the encoder runs on ("cpu", "cuda" …); None for all.
        takes_index: Whether ``forward`` has a third argument, ``index: Tensor | None = None``. With one, int64 [B, T], x is
            [U, input_size], and step t of sequence b is ``x[index[b, t]]``: an encoder that multiplies each step by the same
            weights need not do so twice for words that stand there twice. It is given in prediction on a CPU.
    """

    input_size: int
    options: dict[str, Any]
    output_size: int
    device_types: ClassVar[tuple[str, ...] | None] = None
    takes_index: ClassVar[bool] = False

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Note the arguments, whatever the subclass's ``__init__`` does with them."""
        encoder = super().__new__(cls)
        options = dict(kwargs)
        # Through __dict__: torch's __setattr__ works only after nn.Module.__init__.
        encoder.__dict__["input_size"] = args[0] if args else options.pop("input_size", None)
        encoder.__dict__["options"] = options
        return encoder

    def __call__(self, x: Tensor, lengths: Tensor, index: Tensor | None = None) -> Tensor:
        """Encode a padded batch; see `forward`, and `takes_index`.

        Raises:
            DataError: A sequence has no step, or more than x; the message has its number.
        """
        steps = (x if index is None else index).shape[1]
        wrong = ((lengths < 1) | (lengths > steps)).nonzero()
        if len(wrong):
            number = int(wrong[0])
            raise DataError(f"sequence {number} has length {int(lengths[number])}; it must have 1 to {steps} steps")
        encoded: Tensor = super().__call__(x, lengths) if index is None else super().__call__(x, lengths, index)
        return encoded

    @abstractmethod
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Encode a padded batch.

        Args:
            x: float [B, T, input_size]; what stands at and beyond a sequence's length is arbitrary.
            lengths: int64 [B] on the CPU, each in 1..T.

        Returns:
            float [B, output_size].
        """

    def check_device(self, device: torch.device) -> None:
        """Raise DeviceError if the encoder cannot run on ``device``."""
        if self.device_types is not None and device.type not in self.device_types:
            raise DeviceError(
                f"the encoder {type(self).__name__} runs on {', '.join(self.device_types)}, not on {device}; "
                f"use --device {self.device_types[0]}"
            )
