"""`torch-rnn`: the simple recurrent network of Elman (1990), on torch.nn.RNN."""

from __future__ import annotations

from typing import Literal

from torch import nn

from seqcls.model.encoders.initialization import Initialization
from seqcls.model.encoders.masking import Pooling
from seqcls.model.encoders.recurrent import RecurrentEncoder, RecurrentStack
from seqcls.model.option_types import PositiveInt, Probability


class TorchRNN(RecurrentEncoder):
    """Simple recurrent network: h_t = tanh(W x_t + U h_{t-1} + b), h_0 = 0 (Elman 1990).

    ``output_size`` is ``hidden_size``, twice that if bidirectional, and twice that again with ``pooling="mean+max"``.

    Args:
        hidden_size: Size of the state, in each direction.
        num_layers: Number of layers, one above the other.
        bidirectional: Read each sequence from its end as well.
        nonlinearity: The function that ends a step.
        dropout: Dropout probability between layers.
        pooling: How the states become one vector.
        initialization: Orthogonal recurrent weights, or PyTorch's uniform ones.

    Example:
        >>> x, lengths = torch.randn(2, 5, 32), torch.tensor([5, 3])
        >>> TorchRNN(32, hidden_size=64, nonlinearity="relu")(x, lengths).shape
        torch.Size([2, 64])
    """

    def __init__(
        self,
        input_size: int,
        *,
        hidden_size: PositiveInt = 128,
        num_layers: PositiveInt = 1,
        bidirectional: bool = False,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        dropout: Probability = 0.0,
        pooling: Pooling = "last",
        initialization: Initialization = "orthogonal",
    ) -> None:
        recurrence = RecurrentStack(
            lambda size: nn.RNN(size, hidden_size, nonlinearity=nonlinearity, batch_first=True),
            input_size,
            hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            initialization=initialization,
        )
        super().__init__(recurrence, pooling)
