"""`lstm`: long short-term memory (Hochreiter & Schmidhuber 1997; forget gates: Gers et al. 2000)."""

from __future__ import annotations

from torch import nn

from seqcls.model.encoders.initialization import Initialization
from seqcls.model.encoders.masking import Pooling
from seqcls.model.encoders.recurrent import RecurrentEncoder, RecurrentStack
from seqcls.model.option_types import PositiveInt, Probability


class LSTM(RecurrentEncoder):
    """Long short-term memory, in one or both directions, with any pooling (Hochreiter & Schmidhuber 1997; Gers et al. 2000).

    Beside its state h, a layer has a cell state c, which a step changes only as far as the gates i, f and o let it::

        i, f, o = sigmoid(W x_t + U h_{t-1} + b)        one W, U and b for each gate
        g       = tanh(W_g x_t + U_g h_{t-1} + b_g)
        c_t     = f * c_{t-1} + i * g
        h_t     = o * tanh(c_t)

    ``output_size`` is ``hidden_size``, twice that if bidirectional, and twice that again with ``pooling="mean+max"``.

    Args:
        hidden_size: Size of the state, in each direction.
        num_layers: Number of layers, one above the other.
        bidirectional: Read each sequence from its end as well.
        dropout: Dropout probability between layers.
        variational: Let dropout between layers hit the same values at every step (Gal & Ghahramani 2016).
        weight_dropout: Dropout probability of the recurrent weights, drawn once per batch (Merity et al. 2018).
        pooling: How the states become one vector.
        initialization: Orthogonal recurrent weights and open forget gates, or PyTorch's uniform weights.

    Example:
        >>> x, lengths = torch.randn(2, 5, 32), torch.tensor([5, 3])
        >>> LSTM(32, hidden_size=64, bidirectional=True)(x, lengths).shape
        torch.Size([2, 128])
    """

    def __init__(
        self,
        input_size: int,
        *,
        hidden_size: PositiveInt = 128,
        num_layers: PositiveInt = 1,
        bidirectional: bool = False,
        dropout: Probability = 0.0,
        variational: bool = False,
        weight_dropout: Probability = 0.0,
        pooling: Pooling = "last",
        initialization: Initialization = "orthogonal",
    ) -> None:
        recurrence = RecurrentStack(
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
        super().__init__(recurrence, pooling)
