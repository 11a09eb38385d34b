"""Arithmetic on padded batches [B, T, H] that heeds each sequence's own length: masks, reversal, pooling."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

Pooling = Literal["last", "mean", "max", "mean+max"]


def length_mask(lengths: Tensor, num_steps: int, device: torch.device) -> Tensor:
    """Return bool [B, T], True at the real steps of each sequence."""
    mask = torch.arange(num_steps) < lengths.unsqueeze(1)
    return mask.to(device, non_blocking=True)


class SequenceReversal:
    """Reverse every sequence of a batch within its own length, leaving the padding where it is.

    A packed sequence would do the same, but takes PyTorch off its fast paths (oneDNN on the CPU, cuDNN's persistent
    kernels), whereas this is one indexed copy.
    """

    def __init__(self, lengths: Tensor, num_steps: int, device: torch.device) -> None:
        steps = torch.arange(num_steps)
        last = lengths.unsqueeze(1) - 1
        index = torch.where(steps <= last, last - steps, steps)  # [B, T]
        first_row = torch.arange(len(lengths)).unsqueeze(1) * num_steps
        self._rows = (index + first_row).flatten().to(device, non_blocking=True)  # [B * T]

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


def pool(x: Tensor, lengths: Tensor, pooling: Pooling) -> Tensor:
    """Reduce the real steps of x [B, T, H] to [B, H], or to [B, 2H] for "mean+max".

    Raises:
        ValueError: ``pooling`` is not one of last, mean, max, mean+max.
    """
    if pooling == "last":
        return x[torch.arange(len(x), device=x.device), (lengths - 1).to(x.device, non_blocking=True)]
    mask = length_mask(lengths, x.shape[1], x.device).unsqueeze(-1)  # [B, T, 1]
    if pooling == "mean":
        return _mean(x, mask, lengths)
    if pooling == "max":
        return _max(x, mask)
    if pooling == "mean+max":
        return torch.cat([_mean(x, mask, lengths), _max(x, mask)], dim=-1)
    raise ValueError(f"pooling is {pooling!r}; use last, mean, max or mean+max")


def pooled_size(size: int, pooling: Pooling) -> int:
    """Return the size that `pool` gives for vectors of ``size``."""
    return 2 * size if pooling == "mean+max" else size


def _mean(x: Tensor, mask: Tensor, lengths: Tensor) -> Tensor:
    # masked_fill, not a product: the padding may hold infinities, and 0 * inf is NaN.
    total = x.masked_fill(~mask, 0.0).sum(dim=1)
    return total / lengths.to(x.device, non_blocking=True).unsqueeze(-1).to(x.dtype)


def _max(x: Tensor, mask: Tensor) -> Tensor:
    return x.masked_fill(~mask, float("-inf")).amax(dim=1)
