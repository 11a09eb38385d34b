"""Random generators of Python, NumPy and PyTorch: seeds."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's generators, on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def rank_seed(seed: int, rank: int, step: int = 0) -> int:
    """Return the seed of one of several processes, whose dropout must differ; that of the first is ``seed`` itself."""
    return seed if rank == 0 else int(np.random.SeedSequence([seed, rank, step]).generate_state(1, np.uint64)[0]) >> 1
