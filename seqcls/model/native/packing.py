"""The order in which compiled layers work on the real steps of padded sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


class Packing:
    """Real steps without padding, ordered by time and, within a step of time, by length, longest sequence first.

    Args:
        lengths: int64 [B] on the CPU, each in 1..num_steps.
        num_steps: T, the number of steps of the padded batch.

    Attributes:
        starts: int64 [T + 1], for T the longest length: of the N real steps, those at time t are the rows from ``starts[t]``
            to ``starts[t + 1]``.
    """

    def __init__(self, lengths: Tensor, num_steps: int) -> None:
        sizes = lengths.numpy()
        order = np.argsort(-sizes, kind="stable")
        counts = np.searchsorted(-sizes[order], -np.arange(sizes.max()))  # for each t, how many sequences are longer
        starts = np.concatenate([[0], counts.cumsum()])
        time = np.repeat(np.arange(len(counts)), counts)  # [N]
        sequence = order[np.arange(starts[-1]) - starts[time]]  # [N]
        self.starts = torch.from_numpy(starts)
        self._sequence = torch.from_numpy(sequence)  # int64 [N]
        self._padded_rows = torch.from_numpy(sequence * num_steps + time)  # int64 [N], in the padded batch flattened
        self._rank = torch.from_numpy(np.argsort(order))  # int64 [B], of each sequence within a step of time
        self._shape = (len(sizes), num_steps)

    def pack(self, x: Tensor) -> Tensor:
        """Return the real steps of x [B, T, D] or [B, T] as [N, D] or [N]."""
        packed: Tensor = _Pack.apply(x, self._padded_rows)  # type: ignore[no-untyped-call]
        return packed

    def unpack(self, x: Tensor) -> Tensor:
        """Return x [N, D] as [B, T, D], 0 in the padding."""
        batch_size, num_steps = self._shape
        padded = x.new_zeros(batch_size * num_steps, x.shape[1]).index_copy_(0, self._padded_rows, x)
        return padded.view(batch_size, num_steps, -1)

    def rows(self, steps: Tensor) -> Tensor:
        """Return the rows, int64 [B], in which one step of each sequence stands, for ``steps`` int64 [B]."""
        return self.starts[steps] + self._rank

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum of x [N, D] over the steps of each sequence, [B, D]."""
        return x.new_zeros(self._shape[0], x.shape[1]).index_add_(0, self._sequence, x)


class _Pack(torch.autograd.Function):
    """Gather rows, each at most once: the general gradient of indexing would add them up one by one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = x.shape
        return x.flatten(0, 1).index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        batch_size, num_steps, size = ctx.shape
        padded = gradient.new_zeros(batch_size * num_steps, size).index_copy_(0, rows, gradient)
        return padded.view(ctx.shape), None
