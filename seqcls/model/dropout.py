"""Dropout whose masks cost little on the CPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

_STEPS = 1 << 16  # a probability is rounded to so many parts


class Dropout(nn.Dropout):
    """``torch.nn.Dropout`` (Srivastava et al. 2014), whose masks on the CPU come from a generator of many bits at once.

    PyTorch draws one number a value there, in one thread: that was a tenth of the tutorial's training. Each call seeds the
    generator with a number that it draws from PyTorch's, so that the masks follow from PyTorch's state as before.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return x, in training with values dropped with probability ``p`` and the others scaled by 1 / (1 - p)."""
        dropped = round(self.p * _STEPS)
        if not self.training or x.device.type != "cpu" or not 0 < dropped < _STEPS:
            return super().forward(x)
        seed = int(torch.randint(1 << 62, ()))
        bits = np.random.SFC64(seed).random_raw(-(-x.numel() // 4)).view(np.uint16)  # 16 bits a value of 64
        is_kept = torch.from_numpy(bits[: x.numel()] >= dropped).view(x.shape)
        return x * is_kept.to(x.dtype).mul_(_STEPS / (_STEPS - dropped))  # twice as fast as torch.where
