"""`bilstm-mean-pool`: the tutorial's bidirectional LSTM, whose steps are projected and then pooled over time."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from seqcls.model.encoders.base import Encoder
from seqcls.model.encoders.masking import Pool, Pooling
from seqcls.model.encoders.recurrent import Initialization, RecurrentStack


class BiLSTMMeanPool(Encoder):
    """Bidirectional LSTM, a linear layer and ReLU on every step, mean over the real steps.

    Bidirectional recurrence is Graves & Schmidhuber (2005); the rest is the tutorial's network, but for two of its faults:
    padding is neither averaged nor read by the backward direction.

    Args:
        hidden_size: Size of the state, in each direction.
        num_layers: Number of bidirectional layers.
        dropout: Dropout probability between layers.
        variational: Let dropout between layers hit the same values at every step (Gal & Ghahramani 2016).
        weight_dropout: Dropout probability of the recurrent weights, drawn once a batch (Merity et al. 2018).
        projection_size: Size of each step after the linear layer.
        pooling: How the projected steps become one vector.
        initialization: Orthogonal recurrent weights and open forget gates, or PyTorch's uniform weights.
    """

    takes_index = True

    def __init__(
        self,
        input_size: int,
        *,
        hidden_size: Annotated[int, Field(ge=1)] = 128,
        num_layers: Annotated[int, Field(ge=1)] = 2,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
        variational: bool = False,
        weight_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        projection_size: Annotated[int, Field(ge=1)] = 128,
        pooling: Pooling = "mean",
        initialization: Initialization = "orthogonal",
    ) -> None:
        super().__init__()
        self.recurrence = RecurrentStack(
            lambda size: nn.LSTM(size, hidden_size, batch_first=True),
            input_size,
            hidden_size,
            num_layers=num_layers,
            bidirectional=True,
            dropout=dropout,
            variational=variational,
            weight_dropout=weight_dropout,
            initialization=initialization,
        )
        self.projection = nn.Linear(self.recurrence.output_size, projection_size)
        self.pool = Pool(projection_size, pooling)
        self.output_size = self.pool.output_size

    def forward(self, x: Tensor, lengths: Tensor, index: Tensor | None = None) -> Tensor:
        """Encode x [B, T, input_size] as [B, output_size]; see `Encoder.forward`."""
        encoded: Tensor = self.recurrence(
            x, lengths, index, then=lambda states: self.projection(states).relu(), pool=self.pool
        )
        return encoded
