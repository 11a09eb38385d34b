"""Stacks of recurrent layers over padded batches, in one or both directions; the recurrence itself is torch.nn's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from seqcls.encoders.masking import Pooling, SequenceReversal, pool

Initialization = Literal["orthogonal", "uniform"]


class RecurrentStack(nn.Module):
    """``num_layers`` recurrent layers; with two directions a layer passes on both, concatenated.

    The backward direction reads each sequence from its own last step (Graves & Schmidhuber 2005), so padding is never read
    before a real step. Dropout acts between layers (Zaremba et al. 2014), as in ``torch.nn.LSTM``.
    """

    def __init__(
        self,
        make_layer: Callable[[int], nn.RNNBase],
        input_size: int,
        hidden_size: int,
        *,
        num_layers: int,
        bidirectional: bool,
        dropout: float,
        initialization: Initialization,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for _ in range(num_layers):
            directions = nn.ModuleList([make_layer(input_size) for _ in range(2 if bidirectional else 1)])
            self.layers.append(directions)
            input_size = len(directions) * hidden_size
        self.output_size = input_size
        self.dropout = nn.Dropout(dropout)
        if initialization == "orthogonal":
            for layer in self.modules():
                if isinstance(layer, nn.RNNBase):
                    _initialize_orthogonal(layer)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Map x [B, T, input_size] to the states of the last layer [B, T, output_size], arbitrary in the padding."""
        reverse = SequenceReversal(lengths, x.shape[1], x.device)
        for number, directions in enumerate(self.layers):
            assert isinstance(directions, nn.ModuleList)
            if number:
                x = self.dropout(x)
            states = [directions[0](x)[0]]
            if len(directions) == 2:
                states.append(reverse(directions[1](reverse(x))[0]))
            x = torch.cat(states, dim=-1) if len(states) == 2 else states[0]
        return x

    def pool(self, states: Tensor, lengths: Tensor, pooling: Pooling) -> Tensor:
        """Pool the states over time; the "last" state of the backward direction is the one at step 0."""
        directions = self.layers[-1]
        assert isinstance(directions, nn.ModuleList)
        if pooling == "last" and len(directions) == 2:
            ahead, back = states.chunk(2, dim=-1)
            return torch.cat([pool(ahead, lengths, "last"), back[:, 0]], dim=-1)
        return pool(states, lengths, pooling)


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
