"""Arithmetic on padded batches [B, T, H] that respects each sequence's own length: masks, reversal, pooling."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from seqcls.system.device import to_device

Pooling = Literal["last", "mean", "max", "mean+max", "attention"]


def length_mask(lengths: Tensor, num_steps: int, device: torch.device) -> Tensor:
    """Return which steps of a padded batch are real.

    Args:
        lengths: int64 [B], each in 1..num_steps; usually on the CPU.
        num_steps: T, the number of steps of the batch, padding included.
        device: Where the mask is needed, usually ``x.device``.

    Returns:
        bool [B, T], True at the steps before each sequence's length.

    Example:
        >>> length_mask(torch.tensor([3, 1]), 4, torch.device("cpu"))
        tensor([[ True,  True,  True, False],
                [ True, False, False, False]])
    """
    return torch.arange(num_steps, device=device) < to_device(lengths, device).unsqueeze(1)


class Pool(nn.Module):
    """Reduce each padded sequence of vectors to one vector, over its real steps alone.

    With the steps x_1 ... x_T of one sequence, T its own length:

    - ``last``: x_T
    - ``mean``: the mean of the x_t
    - ``max``: the maximum of each value over the x_t
    - ``mean+max``: both, side by side
    - ``attention``: a mean with learned weights, softmax_t(v · tanh(A x_t + c)) (Yang et al. 2016, eq. 5-7)

    Args:
        size: Size of the vectors.
        pooling: One of the names above.
        bidirectional: Whether the second half of each vector was computed from the end of its sequence. With ``last``, that
            half is taken from the first step, the last one that was computed.

    Attributes:
        output_size: Size of the result: ``size``, and twice that with ``mean+max``.

    Example:
        >>> x = torch.tensor([[[1.0], [3.0], [0.0]], [[5.0], [0.0], [0.0]]])  # [2, 3, 1]
        >>> Pool(1, "mean")(x, lengths=torch.tensor([2, 1]))
        tensor([[2.],
                [5.]])
    """

    def __init__(self, size: int, pooling: Pooling, *, bidirectional: bool = False) -> None:
        super().__init__()
        self.pooling = pooling
        self.bidirectional = bidirectional
        self.output_size = 2 * size if pooling == "mean+max" else size
        if pooling == "attention":
            self.key = nn.Linear(size, size)
            self.query = nn.Linear(size, 1, bias=False)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Pool a padded batch.

        Args:
            x: float [B, T, size]; the padding may hold anything, infinities and NaN included.
            lengths: int64 [B], each in 1..T; usually on the CPU.

        Returns:
            float [B, output_size].
        """
        if self.pooling == "last":
            last = to_device(lengths, x.device) - 1
            return self.select_ends(last=x[torch.arange(len(x), device=x.device), last], first=x[:, 0])
        mask = length_mask(lengths, x.shape[1], x.device).unsqueeze(-1)  # [B, T, 1]
        if self.pooling == "attention":
            scores = self.query(self.key(x).tanh()).masked_fill(~mask, float("-inf"))  # [B, T, 1]
            pooled: Tensor = (x.masked_fill(~mask, 0.0) * scores.softmax(dim=1)).sum(dim=1)
            return pooled
        parts = []
        if "mean" in self.pooling:
            # masked_fill, not a product: the padding may hold infinities, and 0 * inf is NaN.
            total = x.masked_fill(~mask, 0.0).sum(dim=1)
            parts.append(total / to_device(lengths, x.device).unsqueeze(-1).to(x.dtype))
        if "max" in self.pooling:
            parts.append(x.masked_fill(~mask, float("-inf")).amax(dim=1))
        return torch.cat(parts, dim=-1)

    def select_ends(self, *, last: Tensor, first: Tensor) -> Tensor:
        """Return what ``last`` pools, float [B, size], from each sequence's last and first steps, both [B, size]."""
        if not self.bidirectional:
            return last
        half = last.shape[-1] // 2
        return torch.cat([last[:, :half], first[:, half:]], dim=-1)


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
        """Reverse x [B, T, H]; applied twice, it gives x again."""
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
