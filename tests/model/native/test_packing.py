"""The order of the real steps that compiled layers work in."""

from __future__ import annotations

import torch
from torch import Tensor

from seqcls.model.native.packing import Packing


def _real(lengths: Tensor, x: Tensor) -> Tensor:
    return (torch.arange(x.shape[1]) < lengths.unsqueeze(1)).unsqueeze(-1)


def test_packing_keeps_real_steps_alone_and_gives_them_back() -> None:
    lengths = torch.tensor([2, 4, 1, 4])
    x = torch.randn(4, 5, 3)
    packing = Packing(lengths, 5)
    packed = packing.pack(x)
    assert packing.starts.tolist() == [0, 4, 7, 9, 11]
    assert torch.equal(packed[:4], x[[1, 3, 0, 2], 0])
    assert torch.equal(packing.unpack(packed), x * _real(lengths, x))
