"""`mean-max`: a small network on each step, then a gate between mean and maximum over time."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from seqcls import Encoder, Pool


class MeanMax(Encoder):
    """The mean and the maximum over the steps, mixed by a learned gate: g * mean + (1 - g) * max.

    Args:
        hidden_size: The size of the network on each step, and of the result.
    """

    def __init__(self, input_size: int, *, hidden_size: Annotated[int, Field(ge=1)] = 64) -> None:
        super().__init__()
        self.layer = nn.Linear(input_size, hidden_size)
        self.mean, self.max = Pool(hidden_size, "mean"), Pool(hidden_size, "max")
        self.gate = nn.Parameter(torch.zeros(hidden_size))
        self.output_size = hidden_size

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Encode x, float [B, T, input_size], as [B, hidden_size]."""
        states = self.layer(x).relu()  # [B, T, hidden_size]
        gate = self.gate.sigmoid()
        return gate * self.mean(states, lengths) + (1 - gate) * self.max(states, lengths)
