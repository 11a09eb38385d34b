"""`cnn`: convolutions over words, the maximum of each over time (Kim 2014)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqcls.errors import ConfigError
from seqcls.model.encoders.base import Encoder
from seqcls.model.encoders.masking import Pool, length_mask
from seqcls.model.option_types import PositiveInt


class CNN(Encoder):
    """Convolutions of several widths, ReLU, and the maximum over time (Kim 2014, eq. 2-3).

    A filter of width k gives one value, over all windows of k steps::

        max_t max(0, w · [x_t; ...; x_{t+k-1}] + b)

    The sequence is extended by k - 1 zeros on both sides (a wide convolution: Kalchbrenner et al. 2014), so that a sequence
    shorter than the filter has a value too. ``output_size`` is ``num_filters`` times the number of widths.

    Args:
        widths: Numbers of steps that the filters see, separated by commas.
        num_filters: Number of filters per width.

    Example:
        >>> x, lengths = torch.randn(2, 5, 32), torch.tensor([5, 3])
        >>> CNN(32, widths="2,3", num_filters=10)(x, lengths).shape
        torch.Size([2, 20])
    """

    def __init__(self, input_size: int, *, widths: str = "3,4,5", num_filters: PositiveInt = 100) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(input_size, num_filters, width, padding=width - 1) for width in _parse_widths(widths)
        )
        self.pool = Pool(num_filters, "max")
        self.output_size = num_filters * len(self.convolutions)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Encode x [B, T, input_size] as [B, output_size]; see `Encoder.forward`."""
        mask = length_mask(lengths, x.shape[1], x.device).unsqueeze(-1)  # [B, T, 1]
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
        raise ConfigError(f"encoder cnn: widths is {widths!r}; give positive numbers of steps, such as 3,4,5")
    return parsed
