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
from seqcls.model.option_types import PositiveInt, Probability


class Transformer(Encoder):
    """Self-attention with layer normalization before each part of a block (Vaswani et al. 2017; Xiong et al. 2020).

    The steps, projected to ``hidden_size``, pass through blocks, and the normalized result is pooled::

        x = x + Attention(LayerNorm(x))        softmax(Q K^T / sqrt(d)) V for each head, over the real steps
        x = x + W_2 gelu(W_1 LayerNorm(x))

    Positions are sines and cosines (Vaswani et al. 2017, sec. 3.5), so that sequences of any length can be encoded.
    ``output_size`` is ``hidden_size``, and twice that with ``pooling="mean+max"``.

    Args:
        hidden_size: Size of each step's vector, an even number.
        num_layers: Number of blocks.
        num_heads: Number of attention heads; ``hidden_size`` must be a multiple of it.
        feedforward_size: Size of the hidden layer of each block's feed-forward network.
        dropout: Dropout probability in the blocks.
        pooling: How the steps become one vector.

    Raises:
        ConfigError: ``hidden_size`` is not a multiple of ``num_heads``.

    Example:
        >>> x, lengths = torch.randn(2, 5, 32), torch.tensor([5, 3])
        >>> Transformer(32, hidden_size=64)(x, lengths).shape
        torch.Size([2, 64])
    """

    def __init__(
        self,
        input_size: int,
        *,
        hidden_size: Annotated[int, Field(ge=2, multiple_of=2)] = 128,
        num_layers: PositiveInt = 2,
        num_heads: PositiveInt = 4,
        feedforward_size: PositiveInt = 256,
        dropout: Probability = 0.1,
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
        mask = length_mask(lengths, x.shape[1], x.device)  # [B, T]
        # The padding must be finite: attention gives it the weight 0, and 0 * inf is NaN.
        steps = self.projection(x.masked_fill(~mask.unsqueeze(-1), 0.0))  # [B, T, hidden_size]
        steps = steps + _positions(x.shape[1], steps.shape[2], x.device).to(steps.dtype)
        states = self.blocks(steps, src_key_padding_mask=~mask)  # [B, T, hidden_size]
        encoded: Tensor = self.pool(states, lengths)
        return encoded


def _positions(num_steps: int, size: int, device: torch.device) -> Tensor:
    """Return sin(t / 10000^(2i/size)) and the cosines, alternating, float32 [num_steps, size]."""
    frequencies = torch.exp(torch.arange(0, size, 2, device=device) * (-math.log(10_000) / size))
    angles = torch.arange(num_steps, device=device).unsqueeze(1) * frequencies  # [T, size / 2]
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
