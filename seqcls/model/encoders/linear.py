"""`linear`: no encoder at all; the wide path decides alone."""

from __future__ import annotations

from torch import Tensor

from seqcls.model.encoders.base import Encoder


class Linear(Encoder):
    """Nothing beside the wide path: logistic regression on n-grams of words and characters.

    The network is the wide path alone (see `seqcls.model.wide.WidePath`), with neither embedding nor head; ``output_size``
    is 0. It is fitted in seconds, and is the baseline that every other encoder has to beat.

    Example:
        >>> Linear(8)(torch.randn(2, 5, 8), torch.tensor([5, 3])).shape
        torch.Size([2, 0])
    """

    def __init__(self, input_size: int) -> None:  # noqa: ARG002
        super().__init__()
        self.output_size = 0

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002
        """Return nothing for each sequence, [B, 0]."""
        return x[:, 0, :0]
