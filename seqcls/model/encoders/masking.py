"""Arithmetic on padded batches [B, T, H] that heeds each sequence's own length: masks, reversal, pooling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from seqcls.system.device import to_device

if TYPE_CHECKING:
    from seqcls.model.native.lstm import Packing

Pooling = Literal["last", "mean", "max", "mean+max", "attention"]


def length_mask(lengths: Tensor, num_steps: int, device: torch.device) -> Tensor:
    """Return bool [B, T], True at the real steps of each sequence."""
    return torch.arange(num_steps, device=device) < to_device(lengths, device).unsqueeze(1)


class SequenceReversal:
    """Reverse every sequence of a batch within its own length, leaving the padding where it is.

    A packed sequence would do the same, but takes PyTorch off its fast paths (oneDNN on the CPU, cuDNN's persistent
    kernels), whereas this is one indexed copy.
    """

    def __init__(self, lengths: Tensor, num_steps: int, device: torch.device) -> None:
        steps = torch.arange(num_steps, device=device)
        last = to_device(lengths, device).unsqueeze(1) - 1
        index = torch.where(steps <= last, last - steps, steps)  # [B, T]
        first_row = torch.arange(len(lengths), device=device).unsqueeze(1) * num_steps
        self._rows = (index + first_row).flatten()  # [B * T]

    def __call__(self, x: Tensor) -> Tensor:
        """Reverse x [B, T, H]; applied twice it gives x again."""
        reversed_x: Tensor = _PermuteRows.apply(x, self._rows)  # type: ignore[no-untyped-call]
        return reversed_x


class _PermuteRows(torch.autograd.Function):
    """Reorder the B * T rows by an index that is its own inverse.

    The general gradient of indexing adds rows up one by one; that of a self-inverse permutation is the permutation.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return x.flatten(0, 1).index_select(0, rows).view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        grad: Tensor = _PermuteRows.apply(grads[0], rows)  # type: ignore[no-untyped-call]
        return grad, None


class Pool(nn.Module):
    """Reduce the real steps of x [B, T, size] to one vector each, [B, output_size].

    Args:
        size: Size of the vectors.
        pooling: ``last``, ``mean``, ``max``, ``mean+max`` (both, side by side), or ``attention``: a mean whose weights are
            learned, softmax_t(v · tanh(A x_t + c)) (Yang et al. 2016, eq. 5-7).
        bidirectional: The second half of a vector was computed from the end of its sequence: its last state is at step 0.
    """

    def __init__(self, size: int, pooling: Pooling, *, bidirectional: bool = False) -> None:
        super().__init__()
        self.pooling = pooling
        self.bidirectional = bidirectional
        self.output_size = 2 * size if pooling == "mean+max" else size
        if pooling == "attention":
            self.key = nn.Linear(size, size)
            self.query = nn.Linear(size, 1, bias=False)

    def forward(self, x: Tensor, lengths: Tensor, packing: Packing | None = None) -> Tensor:
        """Pool x [B, T, size], whose padding may hold anything, over each sequence's own length.

        With ``packing`` x is [N, size], the real steps alone, in its order.
        """
        if packing is not None:
            if self.pooling == "last":
                return self._ends(x[packing.rows(lengths - 1)], x[packing.rows(torch.zeros_like(lengths))])
            if self.pooling == "mean":
                return packing.sum(x) / lengths.unsqueeze(-1).to(x.dtype)
            x = packing.unpack(x)
        if self.pooling == "last":
            last = to_device(lengths, x.device) - 1
            return self._ends(x[torch.arange(len(x), device=x.device), last], x[:, 0])
        mask = length_mask(lengths, x.shape[1], x.device).unsqueeze(-1)  # [B, T, 1]
        if self.pooling == "attention":
            scores = self.query(self.key(x).tanh()).masked_fill(~mask, float("-inf"))  # [B, T, 1]
            pooled: Tensor = (x.masked_fill(~mask, 0.0) * scores.softmax(dim=1)).sum(dim=1)
            return pooled
        parts = {"mean": [_mean], "max": [_max], "mean+max": [_mean, _max]}[self.pooling]
        return torch.cat([part(x, mask, lengths) for part in parts], dim=-1)

    def _ends(self, last: Tensor, first: Tensor) -> Tensor:
        """Return the last states [B, size] of each direction; what reads backwards has its own at the first step."""
        if not self.bidirectional:
            return last
        ahead = last.shape[-1] // 2
        return torch.cat([last[:, :ahead], first[:, ahead:]], dim=-1)


def _mean(x: Tensor, mask: Tensor, lengths: Tensor) -> Tensor:
    # masked_fill, not a product: the padding may hold infinities, and 0 * inf is NaN.
    total = x.masked_fill(~mask, 0.0).sum(dim=1)
    return total / to_device(lengths, x.device).unsqueeze(-1).to(x.dtype)


def _max(x: Tensor, mask: Tensor, lengths: Tensor) -> Tensor:
    del lengths
    return x.masked_fill(~mask, float("-inf")).amax(dim=1)
