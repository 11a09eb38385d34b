"""`lstm`: long short-term memory (Hochreiter & Schmidhuber 1997; forget gates: Gers et al. 2000)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from seqcls.model.encoders.base import Encoder
from seqcls.model.encoders.masking import Pool, Pooling
from seqcls.model.encoders.recurrent import Initialization, RecurrentStack


class LSTM(Encoder):
    """Long short-term memory, one or both directions, any pooling (Hochreiter & Schmidhuber 1997).

    Args:
        hidden_size: Size of the state, in each direction.
        num_layers: Number of layers, one above the other.
        bidirectional: Read each sequence from its end as well.
        dropout: Dropout probability between layers.
        variational: Let dropout between layers hit the same values at every step (Gal & Ghahramani 2016).
        weight_dropout: Dropout probability of the recurrent weights, drawn once a batch (Merity et al. 2018).
        pooling: How the states become one vector.
        initialization: Orthogonal recurrent weights and open forget gates, or PyTorch's uniform weights.
    """

    takes_index = True

    def __init__(
        self,
        input_size: int,
        *,
        hidden_size: Annotated[int, Field(ge=1)] = 128,
        num_layers: Annotated[int, Field(ge=1)] = 1,
        bidirectional: bool = False,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        variational: bool = False,
        weight_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        pooling: Pooling = "last",
        initialization: Initialization = "orthogonal",
    ) -> None:
        super().__init__()
        self.recurrence = RecurrentStack(
            lambda size: nn.LSTM(size, hidden_size, batch_first=True),
            input_size,
            hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            variational=variational,
            weight_dropout=weight_dropout,
            initialization=initialization,
        )
        self.pool = Pool(self.recurrence.output_size, pooling, bidirectional=bidirectional)
        self.output_size = self.pool.output_size

    def forward(self, x: Tensor, lengths: Tensor, index: Tensor | None = None) -> Tensor:
        """Encode x [B, T, input_size] as [B, output_size]; see `Encoder.forward`."""
        encoded: Tensor = self.recurrence(x, lengths, index, pool=self.pool)
        return encoded
