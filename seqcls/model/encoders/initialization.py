"""Initial weights of recurrent layers."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

Initialization = Literal["orthogonal", "uniform"]


@torch.no_grad()
def initialize_weights(input_weight: Tensor, recurrent_weight: Tensor) -> None:
    """Draw Glorot input weights and, for each gate, orthogonal recurrent weights, in place.

    Glorot & Bengio (2010), eq. 16; Saxe et al. (2014).

    Args:
        input_weight: float [gates * H, D].
        recurrent_weight: float [gates * H, H].
    """
    hidden_size = recurrent_weight.shape[1]
    bound = math.sqrt(6 / (input_weight.shape[1] + hidden_size))
    nn.init.uniform_(input_weight, -bound, bound)
    for gate in recurrent_weight.split(hidden_size):
        nn.init.orthogonal_(gate)


@torch.no_grad()
def initialize_layer(layer: nn.RNNBase) -> None:
    """Draw the weights of a layer as `initialize_weights` does, with zero biases, except that forget gates start open.

    A forget bias of 1 (Gers et al. 2000; Jozefowicz et al. 2015) lets an LSTM carry its state from the first step on.
    """
    weight_ih, weight_hh, bias_ih, bias_hh = layer.parameters()
    initialize_weights(weight_ih, weight_hh)
    nn.init.zeros_(bias_ih)
    nn.init.zeros_(bias_hh)
    if isinstance(layer, nn.LSTM):
        bias_ih[layer.hidden_size : 2 * layer.hidden_size] = 1.0  # the order of the gates is i, f, g, o
