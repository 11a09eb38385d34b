"""Stacks of recurrent layers over padded batches, in one or both directions.

The recurrence itself is torch.nn's, but for LSTMs on the CPU, for which `seqcls.model.native.lstm` is several times as fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqcls.model.dropout import Dropout
from seqcls.model.encoders.masking import Pool, SequenceReversal
from seqcls.model.native import lstm as compiled_lstm

Initialization = Literal["orthogonal", "uniform"]


class RecurrentStack(nn.Module):
    """``num_layers`` recurrent layers; with two directions a layer passes on both, concatenated.

    The backward direction reads each sequence from its own last step (Graves & Schmidhuber 2005), so padding is never read
    before a real step.

    Args:
        make_layer: Builds a layer of one direction for inputs of the given size: ``layer(x)[0]`` are its states.
        input_size: Size of the vectors.
        hidden_size: Size of a layer's states, in each direction.
        num_layers: Number of layers, one above the other.
        bidirectional: Whether each layer has a backward direction.
        dropout: Dropout probability between layers (Zaremba et al. 2014), as in ``torch.nn.LSTM``.
        variational: Let that dropout hit the same values at every step of a sequence (Gal & Ghahramani 2016, sec. 4).
        weight_dropout: For LSTM layers, dropout probability of the recurrent weights, drawn once a batch (DropConnect;
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
        self.layers = nn.ModuleList()
        for _ in range(num_layers):
            directions = nn.ModuleList([make_layer(input_size) for _ in range(2 if bidirectional else 1)])
            self.layers.append(directions)
            input_size = len(directions) * hidden_size
        self.output_size = input_size
        self.dropout = _VariationalDropout(dropout) if variational else Dropout(dropout)
        self.weight_dropout = weight_dropout
        if initialization == "orthogonal":
            for layer in self.modules():
                if isinstance(layer, nn.RNNBase):
                    _initialize_orthogonal(layer)

    def forward(
        self,
        x: Tensor,
        lengths: Tensor,
        index: Tensor | None = None,
        then: Callable[[Tensor], Tensor] = lambda states: states,
        pool: Pool | None = None,
    ) -> Tensor:
        """Map x [B, T, input_size] to the states of the last layer [B, T, output_size], arbitrary in the padding.

        With ``index``, int64 [B, T], x is [U, input_size], and a step reads the row of x that the index says. Of the states
        what ``then`` makes of each is returned, which need not be computed in the padding; or what ``pool`` makes of that.
        """
        weights = compiled_lstm.usable_weights(x, self.layers)  # type: ignore[arg-type]
        if weights is not None:
            packing = compiled_lstm.Packing(lengths, num_steps=(x if index is None else index).shape[1])
            states = then(self._forward_compiled(x, packing, index, weights))
            return packing.unpack(states) if pool is None else pool(states, lengths, packing)
        states = then(self._forward_torch(x if index is None else x[index], lengths))
        return states if pool is None else pool(states, lengths)

    def _forward_torch(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Map x [B, T, input_size] to states [B, T, output_size]."""
        reverse = SequenceReversal(lengths, x.shape[1], x.device)
        for number, directions in enumerate(self.layers):
            assert isinstance(directions, nn.ModuleList)
            if number:
                x = self.dropout(x)
            states = [self._run(directions[0], x)]
            if len(directions) == 2:
                states.append(reverse(self._run(directions[1], reverse(x))))
            x = torch.cat(states, dim=-1) if len(states) == 2 else states[0]
        return x

    def _forward_compiled(
        self, x: Tensor, packing: compiled_lstm.Packing, index: Tensor | None, weights: list[list[list[Tensor]]]
    ) -> Tensor:
        """Map x to the states of the N real steps, [N, output_size], in the order of ``packing``."""
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
    """Dropout of x [B, T, H] by one mask a sequence, [B, 1, H]."""

    def forward(self, x: Tensor) -> Tensor:
        mask = F.dropout(x.new_ones(x.shape[0], 1, x.shape[2]), self.p, self.training)
        return x * mask


@torch.no_grad()
def initialize_weights(input_weight: Tensor, recurrent_weight: Tensor) -> None:
    """Draw Glorot input weights [gates * H, D] and recurrent weights [gates * H, H] that are orthogonal a gate.

    Glorot & Bengio (2010), eq. 16; Saxe et al. (2014).
    """
    size = recurrent_weight.shape[1]
    bound = math.sqrt(6 / (input_weight.shape[1] + size))
    nn.init.uniform_(input_weight, -bound, bound)
    for gate in recurrent_weight.split(size):
        nn.init.orthogonal_(gate)


@torch.no_grad()
def _initialize_orthogonal(layer: nn.RNNBase) -> None:
    """Draw the weights as `initialize_weights` does, with zero biases, except that forget gates start open.

    A forget bias of 1 (Gers et al. 2000; Jozefowicz et al. 2015) lets an LSTM carry its state from the first step on.
    """
    weight_ih, weight_hh, bias_ih, bias_hh = layer.parameters()
    initialize_weights(weight_ih, weight_hh)
    nn.init.zeros_(bias_ih)
    nn.init.zeros_(bias_hh)
    if isinstance(layer, nn.LSTM):
        bias_ih[layer.hidden_size : 2 * layer.hidden_size] = 1.0  # gates stand in the order i, f, g, o
