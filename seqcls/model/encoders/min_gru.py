"""`min-gru`: a gated recurrence whose gates see the input alone, computed by a scan (Feng et al. 2024)."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seqcls.model.encoders.base import Encoder
from seqcls.model.encoders.masking import Pool, Pooling
from seqcls.model.encoders.recurrent import RecurrentStack


class MinGRU(Encoder):
    """Minimal gated recurrent units (Feng et al. 2024, "Were RNNs All We Needed?", sec. 3.1).

    z_t = sigmoid(W_z x_t + b_z), c_t = W_h x_t + b_h, h_t = (1 - z_t) h_{t-1} + z_t c_t, h_0 = 0: linear in the state, so
    that all steps can be computed at once.

    Args:
        hidden_size: Size of the state, in each direction.
        num_layers: Number of layers: gates see earlier steps only through the layer below.
        bidirectional: Read each sequence from its end as well.
        dropout: Dropout probability between layers.
        pooling: How the states become one vector.
    """

    def __init__(
        self,
        input_size: int,
        *,
        hidden_size: Annotated[int, Field(ge=1)] = 128,
        num_layers: Annotated[int, Field(ge=1)] = 2,
        bidirectional: bool = False,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        pooling: Pooling = "last",
    ) -> None:
        super().__init__()
        self.recurrence = RecurrentStack(
            lambda size: MinGRULayer(size, hidden_size),
            input_size,
            hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
        )
        self.pool = Pool(self.recurrence.output_size, pooling, bidirectional=bidirectional)
        self.output_size = self.pool.output_size

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Encode x [B, T, input_size] as [B, output_size]; see `Encoder.forward`."""
        encoded: Tensor = self.pool(self.recurrence(x, lengths), lengths)
        return encoded


class MinGRULayer(nn.Module):
    """One layer in one direction."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.gate = nn.Linear(input_size, hidden_size)
        self.candidate = nn.Linear(input_size, hidden_size)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Map x [B, T, input_size] to the states [B, T, hidden_size]; None stands where torch.nn's layers give the last."""
        gate = self.gate(x).sigmoid()
        return linear_scan(1 - gate, gate * self.candidate(x)), None


def linear_scan(decay: Tensor, inputs: Tensor) -> Tensor:
    """Compute h_t = decay_t h_{t-1} + inputs_t for all t, with h_0 = 0.

    On a CPU step by step; elsewhere in log2(T) parallel rounds (Hillis & Steele 1986; Blelloch 1990, sec. 1.4.1): after
    round k each step holds the sum of the last 2^k inputs, decayed, and the product of as many decays.

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
    # Time first, so that a step is one piece of memory.
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
