"""`gru`: gated recurrent units (Cho et al. 2014)."""

from __future__ import annotations

from torch import nn

from seqcls.model.encoders.initialization import Initialization
from seqcls.model.encoders.masking import Pooling
from seqcls.model.encoders.recurrent import RecurrentEncoder, RecurrentStack
from seqcls.model.option_types import PositiveInt, Probability


class GRU(RecurrentEncoder):
    """Gated recurrent units, in one or both directions, with any pooling (Cho et al. 2014).

    The new state lies between the old one and a candidate n::

        r, z = sigmoid(W x_t + b + U h_{t-1} + c)       one W, b, U and c for each gate
        n    = tanh(W_n x_t + b_n + r * (U_n h_{t-1} + c_n))
        h_t  = (1 - z) * n + z * h_{t-1}

    This is the variant of ``torch.nn.GRU``: the reset gate r acts after the product with the recurrent weights.
    ``output_size`` is ``hidden_size``, twice that if bidirectional, and twice that again with ``pooling="mean+max"``.

    Args:
        hidden_size: Size of the state, in each direction.
        num_layers: Number of layers, one above the other.
        bidirectional: Read each sequence from its end as well.
        dropout: Dropout probability between layers.
        pooling: How the states become one vector.
        initialization: Orthogonal recurrent weights, or PyTorch's uniform ones.

    Example:
        >>> x, lengths = torch.randn(2, 5, 32), torch.tensor([5, 3])
        >>> GRU(32, hidden_size=64)(x, lengths).shape
        torch.Size([2, 64])
    """

    def __init__(
        self,
        input_size: int,
        *,
        hidden_size: PositiveInt = 128,
        num_layers: PositiveInt = 1,
        bidirectional: bool = False,
        dropout: Probability = 0.0,
        pooling: Pooling = "last",
        initialization: Initialization = "orthogonal",
    ) -> None:
        recurrence = RecurrentStack(
            lambda size: nn.GRU(size, hidden_size, batch_first=True),
            input_size,
            hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            initialization=initialization,
        )
        super().__init__(recurrence, pooling)
