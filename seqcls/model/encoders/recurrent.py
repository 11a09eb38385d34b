"""Recurrent encoders: a stack of layers over padded batches, in one or both directions, and pooling over time.

The recurrence itself is torch.nn's, except for LSTMs on the CPU, which `seqcls.model.native` computes several times as fast.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqcls.model.dropout import Dropout
from seqcls.model.encoders.base import Encoder, check_lengths
from seqcls.model.encoders.initialization import Initialization, initialize_layer
from seqcls.model.encoders.masking import Pool, Pooling, SequenceReversal
from seqcls.model.native import lstm as compiled_lstm
from seqcls.model.native.packing import Packing
from seqcls.model.native.weights import usable_weights


class RecurrentEncoder(Encoder):
    """A recurrent stack whose states are pooled over time; the base of `LSTM`, `GRU`, `TorchRNN`, `MinGRU` and the biLSTM.

    A subclass states its options in its own ``__init__`` and passes on what they make.

    Args:
        recurrence: The layers.
        pooling: How the steps become one vector.
        projection: A linear layer, followed by ReLU, for each state before pooling; by default none.
    """

    def __init__(self, recurrence: RecurrentStack, pooling: Pooling, *, projection: nn.Linear | None = None) -> None:
        super().__init__()
        self.recurrence = recurrence
        self.projection = projection
        if projection is None:
            self.pool = Pool(recurrence.output_size, pooling, bidirectional=recurrence.bidirectional)
        else:  # each projected step has seen both directions
            self.pool = Pool(projection.out_features, pooling)
        self.output_size = self.pool.output_size

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Encode x [B, T, input_size] as [B, output_size]; see `Encoder.forward`."""
        return self._encode(x, lengths)

    @property
    def can_gather(self) -> bool:
        """Whether `forward_gathered` may stand for a call: LSTM layers profit, and no hook waits for the call."""
        has_hooks = bool(self._forward_hooks or self._forward_pre_hooks)
        return not has_hooks and all(isinstance(layer, nn.LSTM) for layer in self.recurrence.directions())

    def forward_gathered(self, rows: Tensor, index: Tensor, lengths: Tensor) -> Tensor:
        """Encode ``rows[index]`` without gathering it first: compiled layers multiply each row by the weights only once.

        This is an agreement between `Network` and the compiled layers, not a part of the contract of encoders.

        Args:
            rows: float [U, input_size].
            index: int64 [B, T], the row of each step.
            lengths: int64 [B], each in 1..T.

        Returns:
            float [B, output_size].
        """
        check_lengths(lengths, index.shape[1])
        return self._encode(rows, lengths, index)

    def _encode(self, x: Tensor, lengths: Tensor, index: Tensor | None = None) -> Tensor:
        states, packing = self.recurrence(x, lengths, index)
        if self.projection is not None:
            states = self.projection(states).relu()
        if packing is not None:
            return _pool_packed(self.pool, states, lengths, packing)
        encoded: Tensor = self.pool(states, lengths)
        return encoded


class RecurrentStack(nn.Module):
    """``num_layers`` recurrent layers, one above the other; a layer with two directions passes on both, concatenated.

    The backward direction reads each sequence from its own last step (Graves & Schmidhuber 2005), so padding is never read
    before a real step.

    Args:
        make_layer: Builds a layer of one direction for inputs of the given size: ``layer(x)[0]`` are its states.
        input_size: Size of the vectors.
        hidden_size: Size of a layer's states, in each direction.
        num_layers: Number of layers.
        bidirectional: Whether each layer has a backward direction.
        dropout: Dropout probability between layers (Zaremba et al. 2014), as in ``torch.nn.LSTM``.
        variational: Whether that dropout hits the same values at every step of a sequence (Gal & Ghahramani 2016, sec. 4).
        weight_dropout: For LSTM layers, the dropout probability of the recurrent weights, drawn once per batch (DropConnect;
            Merity et al. 2018, sec. 2).
        initialization: Orthogonal recurrent weights and open forget gates, or PyTorch's uniform weights.
    """

    def __init__(
        self,
        make_layer: Callable[[int], nn.Module],
        input_size: int,
        hidden_size: int,
        *,
        num_layers: int,
        bidirectional: bool,
        dropout: float,
        variational: bool = False,
        weight_dropout: float = 0.0,
        initialization: Initialization = "uniform",
    ) -> None:
        super().__init__()
        self.bidirectional = bidirectional
        self.layers = nn.ModuleList()
        for _ in range(num_layers):
            directions = nn.ModuleList([make_layer(input_size) for _ in range(2 if bidirectional else 1)])
            self.layers.append(directions)
            input_size = len(directions) * hidden_size
        self.output_size = input_size
        self.dropout = _VariationalDropout(dropout) if variational else Dropout(dropout)
        self.weight_dropout = weight_dropout
        if initialization == "orthogonal":
            for layer in self.directions():
                if isinstance(layer, nn.RNNBase):
                    initialize_layer(layer)

    def directions(self) -> list[nn.Module]:
        """Return the layers of one direction each, from the first layer to the last."""
        return [layer for directions in self.layers for layer in directions]  # type: ignore[attr-defined]

    def forward(self, x: Tensor, lengths: Tensor, index: Tensor | None = None) -> tuple[Tensor, Packing | None]:
        """Return the states of the last layer.

        Args:
            x: float [B, T, input_size]; with ``index``, rows [U, input_size].
            lengths: int64 [B], each in 1..T.
            index: int64 [B, T], the row of x that each step reads.

        Returns:
            From compiled layers, the states of the N real steps, float [N, output_size], and their order; from torch.nn's,
            float [B, T, output_size], arbitrary in the padding, and None.
        """
        weights = usable_weights(x, self.layers)  # type: ignore[arg-type]
        if weights is None:
            return self._forward_padded(x if index is None else x[index], lengths), None
        packing = Packing(lengths, num_steps=(x if index is None else index).shape[1])
        return self._forward_packed(x, packing, index, weights), packing

    def _forward_padded(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Map x [B, T, input_size] to states [B, T, output_size]."""
        reverse = SequenceReversal(lengths, x.shape[1], x.device)
        for number, directions in enumerate(self.layers):
            assert isinstance(directions, nn.ModuleList)
            if number:
                x = self.dropout(x)
            states = [self._run(directions[0], x)]
            if self.bidirectional:
                states.append(reverse(self._run(directions[1], reverse(x))))
            x = torch.cat(states, dim=-1) if self.bidirectional else states[0]
        return x

    def _forward_packed(
        self, x: Tensor, packing: Packing, index: Tensor | None, weights: list[list[list[Tensor]]]
    ) -> Tensor:
        """Map x to the states of the real steps, [N, output_size], in the order of ``packing``."""
        if index is None:
            x = packing.pack(x)  # [N, input_size]
        else:
            index = packing.pack(index)  # [N]
        for number, directions in enumerate(weights):
            if number and isinstance(self.dropout, _VariationalDropout):  # its masks belong to sequences
                x = packing.pack(self.dropout(packing.unpack(x)))
            elif number:
                x = self.dropout(x)
            x = compiled_lstm.lstm_layer(x, packing, [self._dropped(layer) for layer in directions], index)
            index = None
        return x

    def _run(self, layer: nn.Module, x: Tensor) -> Tensor:
        """Return the states [B, T, hidden_size] of one layer in one direction."""
        if self.training and self.weight_dropout and isinstance(layer, nn.LSTM):
            zeros = x.new_zeros(1, len(x), layer.hidden_size)
            # torch.lstm is what nn.LSTM calls; the module itself takes no weights but its own. The arguments in order:
            # has_biases, num_layers, dropout (between layers), train, bidirectional, batch_first.
            return torch.lstm(x, (zeros, zeros), self._dropped(list(layer.parameters())), True, 1, 0.0, True, False, True)[0]
        states: Tensor = layer(x)[0]
        return states

    def _dropped(self, weights: list[Tensor]) -> list[Tensor]:
        """Return the weights of an LSTM layer, [4H, D], [4H, H], [4H] and [4H], in training with dropout of the second."""
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        return [weight_ih, F.dropout(weight_hh, self.weight_dropout, self.training), bias_ih, bias_hh]


class _VariationalDropout(nn.Dropout):
    """Dropout of x [B, T, H] by one mask per sequence, [B, 1, H]."""

    def forward(self, x: Tensor) -> Tensor:
        mask = F.dropout(x.new_ones(x.shape[0], 1, x.shape[2]), self.p, self.training)
        return x * mask


def _pool_packed(pool: Pool, steps: Tensor, lengths: Tensor, packing: Packing) -> Tensor:
    """Pool packed steps [N, D] as `Pool` does padded ones; the last state and the mean need no padding."""
    if pool.pooling == "last":
        first = torch.zeros_like(lengths)
        return pool.select_ends(last=steps[packing.rows(lengths - 1)], first=steps[packing.rows(first)])
    if pool.pooling == "mean":
        return packing.sum(steps) / lengths.unsqueeze(-1).to(steps.dtype)
    pooled: Tensor = pool(packing.unpack(steps), lengths)
    return pooled
