"""`cnn`: convolutions over words, the maximum of each over time (Kim 2014)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from seqcls.errors import ConfigError
from seqcls.model.encoders.base import Encoder
from seqcls.model.encoders.masking import Pool, length_mask


class CNN(Encoder):
    """Convolutions of several widths, ReLU, maximum over time (Kim 2014, eq. 2-3).

    The sequence is extended by zeros on both sides (Kalchbrenner et al. 2014: a wide convolution), so that a sequence
    shorter than a filter has a value too.

    Args:
        widths: Numbers of steps that the filters see, separated by commas.
        num_filters: Filters a width.
    """

    def __init__(self, input_size: int, *, widths: str = "3,4,5", num_filters: Annotated[int, Field(ge=1)] = 100) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(input_size, num_filters, width, padding=width - 1) for width in _parse_widths(widths)
        )
        self.pool = Pool(num_filters, "max")
        self.output_size = num_filters * len(self.convolutions)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Encode x [B, T, input_size] as [B, output_size]; see `Encoder.forward`."""
        mask = length_mask(lengths, x.shape[1], x.device).unsqueeze(-1)
        channels = x.masked_fill(~mask, 0.0).transpose(1, 2)  # [B, input_size, T]
        return torch.cat([self._features(convolution, channels, lengths) for convolution in self.convolutions], dim=-1)

    def _features(self, convolution: nn.Module, channels: Tensor, lengths: Tensor) -> Tensor:
        windows = convolution(channels).relu().transpose(1, 2)  # [B, T + width - 1, num_filters]
        features: Tensor = self.pool(windows, lengths + windows.shape[1] - channels.shape[2])
        return features


def _parse_widths(widths: str) -> list[int]:
    try:
        parsed = [int(width) for width in widths.split(",")]
    except ValueError:
        parsed = []
    if not parsed or min(parsed) < 1:
        raise ConfigError(f"encoder cnn: widths is {widths!r}; give numbers of steps from 1, such as 3,4,5")
    return parsed
