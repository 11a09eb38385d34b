"""`torch-rnn`: the simple recurrent network of Elman (1990), on torch.nn.RNN."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from seqcls.model.encoders.base import Encoder
from seqcls.model.encoders.masking import Pool, Pooling
from seqcls.model.encoders.recurrent import Initialization, RecurrentStack


class TorchRNN(Encoder):
    """Simple recurrent network: h_t = tanh(W x_t + U h_{t-1} + b) (Elman 1990).

    Args:
        hidden_size: Size of the state, in each direction.
        num_layers: Number of layers, one above the other.
        bidirectional: Read each sequence from its end as well.
        nonlinearity: The function that closes a step.
        dropout: Dropout probability between layers.
        pooling: How the states become one vector.
        initialization: Orthogonal recurrent weights, or PyTorch's uniform ones.
    """

    def __init__(
        self,
        input_size: int,
        *,
        hidden_size: Annotated[int, Field(ge=1)] = 128,
        num_layers: Annotated[int, Field(ge=1)] = 1,
        bidirectional: bool = False,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        pooling: Pooling = "last",
        initialization: Initialization = "orthogonal",
    ) -> None:
        super().__init__()
        self.recurrence = RecurrentStack(
            lambda size: nn.RNN(size, hidden_size, nonlinearity=nonlinearity, batch_first=True),
            input_size,
            hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            initialization=initialization,
        )
        self.pool = Pool(self.recurrence.output_size, pooling, bidirectional=bidirectional)
        self.output_size = self.pool.output_size

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Encode x [B, T, input_size] as [B, output_size]; see `Encoder.forward`."""
        encoded: Tensor = self.pool(self.recurrence(x, lengths), lengths)
        return encoded
