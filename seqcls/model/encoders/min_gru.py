"""`min-gru`: a gated recurrence whose gates see the input alone, computed by a scan (Feng et al. 2024)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seqcls.model.encoders.masking import Pooling
from seqcls.model.encoders.recurrent import RecurrentEncoder, RecurrentStack
from seqcls.model.option_types import PositiveInt, Probability


class MinGRU(RecurrentEncoder):
    """Minimal gated recurrent units (Feng et al. 2024, "Were RNNs All We Needed?", sec. 3.1).

    The recurrence is linear in the state, so that all steps can be computed at once::

        z_t = sigmoid(W_z x_t + b_z)
        c_t = W_h x_t + b_h
        h_t = (1 - z_t) * h_{t-1} + z_t * c_t,          h_0 = 0

    ``output_size`` is ``hidden_size``, twice that if bidirectional, and twice that again with ``pooling="mean+max"``.

    Args:
        hidden_size: Size of the state, in each direction.
        num_layers: Number of layers: gates see earlier steps only through the layer below.
        bidirectional: Read each sequence from its end as well.
        dropout: Dropout probability between layers.
        pooling: How the states become one vector.

    Example:
        >>> x, lengths = torch.randn(2, 5, 32), torch.tensor([5, 3])
        >>> MinGRU(32, hidden_size=64, pooling="max")(x, lengths).shape
        torch.Size([2, 64])
    """

    def __init__(
        self,
        input_size: int,
        *,
        hidden_size: PositiveInt = 128,
        num_layers: PositiveInt = 2,
        bidirectional: bool = False,
        dropout: Probability = 0.0,
        pooling: Pooling = "last",
    ) -> None:
        recurrence = RecurrentStack(
            lambda size: MinGRULayer(size, hidden_size),
            input_size,
            hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
        )
        super().__init__(recurrence, pooling)


class MinGRULayer(nn.Module):
    """One layer in one direction."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.gate = nn.Linear(input_size, hidden_size)
        self.candidate = nn.Linear(input_size, hidden_size)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Map x [B, T, input_size] to states [B, T, hidden_size]; torch.nn's layers have the last state in place of None."""
        gate = self.gate(x).sigmoid()
        return linear_scan(1 - gate, gate * self.candidate(x)), None


def linear_scan(decay: Tensor, inputs: Tensor) -> Tensor:
    """Compute h_t = decay_t h_{t-1} + inputs_t for all t, with h_0 = 0.

    A CPU goes step by step. Other devices take log2(T) parallel rounds (Hillis & Steele 1986; Blelloch 1990, sec. 1.4.1):
    after round k, each step holds the decayed sum of the last 2^k inputs and the product of the last 2^k decays.

    Args:
        decay: float [B, T, H].
        inputs: float [B, T, H].

    Returns:
        The states, float [B, T, H].
    """
    states: Tensor = _LinearScan.apply(decay, inputs)  # type: ignore[no-untyped-call]
    return states


class _LinearScan(torch.autograd.Function):
    """The gradient of a scan is a scan from the other end: g_t = d_h_t + decay_{t+1} g_{t+1} (Martin & Cundy 2018)."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, inputs: Tensor) -> Tensor:
        states = _scan(decay, inputs)
        ctx.save_for_backward(decay, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        decay, states = ctx.saved_tensors
        later_decay = torch.cat([decay[:, 1:], torch.zeros_like(decay[:, :1])], dim=1)
        g = _scan(later_decay.flip(1), grads[0].flip(1)).flip(1)
        earlier = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], dim=1)
        return g * earlier, g


def _scan(decay: Tensor, inputs: Tensor) -> Tensor:
    return _scan_by_steps(decay, inputs) if inputs.device.type == "cpu" else _scan_by_doubling(decay, inputs)


def _scan_by_steps(decay: Tensor, inputs: Tensor) -> Tensor:
    # Time first: a step is contiguous in memory.
    decay, states = decay.transpose(0, 1).contiguous(), inputs.transpose(0, 1).clone(memory_format=torch.contiguous_format)
    for t in range(1, len(states)):
        torch.addcmul(states[t], decay[t], states[t - 1], out=states[t])
    return states.transpose(0, 1)


def _scan_by_doubling(decay: Tensor, inputs: Tensor) -> Tensor:
    states, width = inputs, 1
    while width < states.shape[1]:
        states = torch.cat([states[:, :width], states[:, width:] + decay[:, width:] * states[:, :-width]], dim=1)
        decay = torch.cat([decay[:, :width], decay[:, width:] * decay[:, :-width]], dim=1)
        width *= 2
    return states
