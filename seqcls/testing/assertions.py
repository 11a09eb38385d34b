"""What the laws are stated with: assertions that also run under ``python -O``, and repeatable random numbers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from seqcls.config.options import describe
from seqcls.errors import PluginError

TOLERANCE = 1e-5
"""Largest difference that counts as rounding, relative to the largest value (absolute for values below 1)."""


def require(condition: bool, message: str) -> None:
    """Raise AssertionError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise AssertionError(message)


def require_close(actual: Tensor, expected: Tensor, what: str) -> None:
    """Require that two tensors of one shape differ by rounding at most; ``what`` is the subject of the message."""
    if not actual.numel():  # there are no values to differ
        return
    difference = float((actual - expected).detach().abs().max())
    allowed = TOLERANCE * max(1.0, float(expected.detach().abs().max()))
    require(difference <= allowed, f"{what} change by up to {difference:.3g} (rounding allows {allowed:.3g})")


def require_described_options(cls: type) -> None:
    """Require that the signature and the docstring of a plugin describe its options."""
    try:
        describe(cls)
    except PluginError as error:
        raise AssertionError(f"{cls.__name__} breaks the law 'options come from the signature': {error}") from error


def require_complete_options(cls: type, options: Mapping[str, object]) -> None:
    """Require that ``options`` has every option of ``cls`` that has no default."""
    missing = [option.name for option in describe(cls) if option.required and option.name not in options]
    require(not missing, f"{cls.__name__} has required options; give {', '.join(missing)} in options=")


def seeded_generator(seed: int) -> torch.Generator:
    """Return a random generator of its own, on the CPU."""
    return torch.Generator().manual_seed(seed)
