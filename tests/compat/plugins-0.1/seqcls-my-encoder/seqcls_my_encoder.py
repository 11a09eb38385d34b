"""The encoder `my-encoder`."""

from __future__ import annotations

from torch import Tensor, nn

from seqcls import Encoder
from seqcls.encoders.masking import Pool


class MyEncoder(Encoder):
    """A layer on each step, then the mean over the steps. Put your network here.

    Args:
        hidden_size: Size of the result.
    """

    def __init__(self, input_size: int, *, hidden_size: int = 64) -> None:
        super().__init__()
        self.layer = nn.Linear(input_size, hidden_size)
        self.pool = Pool(hidden_size, "mean")
        self.output_size = hidden_size

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Encode x, float [B, T, input_size], as [B, output_size].

        What stands in x at and beyond ``lengths``, int64 [B] on the CPU, is arbitrary; the result must not depend on it.
        """
        states = self.layer(x).relu()  # [B, T, hidden_size]
        return self.pool(states, lengths)
