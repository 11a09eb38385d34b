"""Tensors of untrusted files: whether their values can be used."""

from __future__ import annotations

import torch
from torch import Tensor


def has_broken_value(tensor: Tensor, *, may_be_infinite: bool = False) -> bool:
    """Return whether a tensor holds NaN or, unless it may, an infinity."""
    if not tensor.is_floating_point() or not tensor.numel():
        return False
    extremes = torch.stack(tensor.aminmax())  # NaN if there is one; makes no copy, unlike tensor.isfinite()
    return bool(extremes.isnan().any() if may_be_infinite else (~extremes.isfinite()).any())
