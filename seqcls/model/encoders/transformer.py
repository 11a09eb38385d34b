"""`transformer`: a small pre-norm transformer (Vaswani et al. 2017; Xiong et al. 2020)."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from seqcls.errors import ConfigError
from seqcls.model.encoders.base import Encoder
from seqcls.model.encoders.masking import Pool, Pooling, length_mask


class Transformer(Encoder):
    """Self-attention with layer normalization before each block (Vaswani et al. 2017; Xiong et al. 2020).

    Positions are sines and cosines (Vaswani et al. 2017, sec. 3.5), so that any length can be encoded.

    Args:
        hidden_size: Size of a step's vector.
        num_layers: Number of blocks.
        num_heads: Number of attention heads, which share ``hidden_size`` evenly.
        feedforward_size: Size of the hidden layer of a block's feed-forward network.
        dropout: Dropout probability in the blocks.
        pooling: How the steps become one vector.
    """

    def __init__(
        self,
        input_size: int,
        *,
        hidden_size: Annotated[int, Field(ge=2, multiple_of=2)] = 128,
        num_layers: Annotated[int, Field(ge=1)] = 2,
        num_heads: Annotated[int, Field(ge=1)] = 4,
        feedforward_size: Annotated[int, Field(ge=1)] = 256,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        if hidden_size % num_heads:
            raise ConfigError(
                f"encoder transformer: hidden_size {hidden_size} is not divisible by num_heads {num_heads}; "
                f"{hidden_size - hidden_size % num_heads or num_heads} would be"
            )
        self.projection = nn.Linear(input_size, hidden_size)
        block = nn.TransformerEncoderLayer(
            hidden_size, num_heads, feedforward_size, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, num_layers, norm=nn.LayerNorm(hidden_size), enable_nested_tensor=False)
        self.pool = Pool(hidden_size, pooling)
        self.output_size = self.pool.output_size

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Encode x [B, T, input_size] as [B, output_size]; see `Encoder.forward`."""
        mask = length_mask(lengths, x.shape[1], x.device)
        # What stands in the padding must be finite: attention gives it the weight 0, and 0 * inf is NaN.
        steps = self.projection(x.masked_fill(~mask.unsqueeze(-1), 0.0))
        steps = steps + _positions(x.shape[1], steps.shape[2], x.device).to(steps.dtype)
        states = self.blocks(steps, src_key_padding_mask=~mask)  # [B, T, hidden_size]
        encoded: Tensor = self.pool(states, lengths)
        return encoded


def _positions(num_steps: int, size: int, device: torch.device) -> Tensor:
    """Return sin(t / 10000^(2i/size)) and the cosines, float32 [num_steps, size]."""
    frequencies = torch.exp(torch.arange(0, size, 2, device=device) * (-math.log(10_000) / size))
    angles = torch.arange(num_steps, device=device).unsqueeze(1) * frequencies  # [T, size / 2]
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
