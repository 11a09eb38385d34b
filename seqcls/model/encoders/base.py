"""The contract of encoders; `seqcls.testing.check_encoder` tests its laws."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from seqcls.errors import DataError, DeviceError


class Encoder(nn.Module, ABC):
    """Map each sequence of vectors to one vector.

    A subclass states its options as keyword-only arguments of ``__init__(self, input_size: int, *, ...)``, without ``*args``
    or ``**kwargs``: names, types and defaults are read from the signature.

    It keeps these laws: a row of the result depends only on the first ``lengths[b]`` steps of its own sequence; every
    parameter receives a gradient; evaluation mode is deterministic; the state dict round-trips.

    Attributes:
        input_size: The first argument of ``__init__``, kept by the base class.
        options: The keyword arguments of ``__init__``, kept by the base class so that a saved model can be rebuilt.
        output_size: Size of the vector that ``forward`` returns for a sequence; set by the subclass.
        device_types: Device types that the encoder runs on ("cpu", "cuda" …); None for all.

    Example:
        >>> class Mean(Encoder):
        ...     def __init__(self, input_size: int) -> None:
        ...         super().__init__()
        ...         self.pool = Pool(input_size, "mean")
        ...         self.output_size = input_size
        ...
        ...     def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        ...         return self.pool(x, lengths)
    """

    input_size: int
    options: dict[str, Any]
    output_size: int
    device_types: ClassVar[tuple[str, ...] | None] = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Note the arguments, whatever the subclass's ``__init__`` does with them."""
        encoder = super().__new__(cls)
        options = dict(kwargs)
        # Through __dict__: torch's __setattr__ works only after nn.Module.__init__.
        encoder.__dict__["input_size"] = args[0] if args else options.pop("input_size", None)
        encoder.__dict__["options"] = options
        return encoder

    def __call__(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Check the lengths and encode a padded batch; see `forward`.

        Raises:
            DataError: A sequence has no steps, or more than x; the message names it.
        """
        check_lengths(lengths, x.shape[1])
        encoded: Tensor = super().__call__(x, lengths)
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


def check_lengths(lengths: Tensor, num_steps: int) -> None:
    """Raise a DataError that names the first sequence whose length is not in 1..num_steps."""
    wrong = ((lengths < 1) | (lengths > num_steps)).nonzero()
    if len(wrong):
        number = int(wrong[0])
        raise DataError(f"sequence {number} has length {int(lengths[number])}; it must have 1 to {num_steps} steps")
