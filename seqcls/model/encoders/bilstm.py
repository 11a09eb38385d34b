"""`bilstm` and `bilstm-mean-pool`: a bidirectional LSTM whose steps are projected and then pooled over time."""

from __future__ import annotations

from torch import nn

from seqcls.model.encoders.initialization import Initialization
from seqcls.model.encoders.masking import Pooling
from seqcls.model.encoders.recurrent import RecurrentEncoder, RecurrentStack
from seqcls.model.option_types import PositiveInt, Probability


class BiLSTM(RecurrentEncoder):
    """Bidirectional LSTM, a linear layer and ReLU for each step, and pooling over the real steps.

    With the states of both directions (Graves & Schmidhuber 2005) side by side, what is pooled over t = 1 ... T is p_t::

        p_t = max(0, A [ahead_t; back_t] + c)

    ``output_size`` is ``projection_size``, and twice that with ``pooling="mean+max"``.

    Args:
        hidden_size: Size of the state, in each direction.
        num_layers: Number of bidirectional layers.
        dropout: Dropout probability between layers.
        variational: Let dropout between layers hit the same values at every step (Gal & Ghahramani 2016).
        weight_dropout: Dropout probability of the recurrent weights, drawn once per batch (Merity et al. 2018).
        projection_size: Size of each step after the linear layer.
        pooling: How the projected steps become one vector.
        initialization: Orthogonal recurrent weights and open forget gates, or PyTorch's uniform weights.

    Example:
        >>> x, lengths = torch.randn(2, 5, 32), torch.tensor([5, 3])
        >>> BiLSTM(32, hidden_size=64, projection_size=16)(x, lengths).shape
        torch.Size([2, 32])
    """

    def __init__(
        self,
        input_size: int,
        *,
        hidden_size: PositiveInt = 128,
        num_layers: PositiveInt = 1,
        dropout: Probability = 0.2,
        variational: bool = False,
        weight_dropout: Probability = 0.0,
        projection_size: PositiveInt = 128,
        pooling: Pooling = "mean+max",
        initialization: Initialization = "orthogonal",
    ) -> None:
        recurrence = RecurrentStack(
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
        super().__init__(recurrence, pooling, projection=nn.Linear(recurrence.output_size, projection_size))


class BiLSTMMeanPool(BiLSTM):
    """The tutorial's encoder: two bidirectional LSTM layers, a linear layer and ReLU for each step, and the mean over steps.

    It is `BiLSTM` with the same options but other defaults, and the tutorial's network without two of its faults: padding is
    neither averaged nor read by the backward direction.

    Example:
        >>> x, lengths = torch.randn(2, 5, 32), torch.tensor([5, 3])
        >>> BiLSTMMeanPool(32, hidden_size=64, projection_size=16)(x, lengths).shape
        torch.Size([2, 16])
    """

    def __init__(
        self,
        input_size: int,
        *,
        hidden_size: PositiveInt = 128,
        num_layers: PositiveInt = 2,
        dropout: Probability = 0.2,
        variational: bool = False,
        weight_dropout: Probability = 0.0,
        projection_size: PositiveInt = 128,
        pooling: Pooling = "mean",
        initialization: Initialization = "orthogonal",
    ) -> None:
        super().__init__(
            input_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            dropout=dropout,
            variational=variational,
            weight_dropout=weight_dropout,
            projection_size=projection_size,
            pooling=pooling,
            initialization=initialization,
        )
