"""Warnings about names of earlier versions, which point at the caller's line rather than at ours."""

from __future__ import annotations

import sys
import warnings

_OURS = ("seqcls", "pydantic")


class RenamedWarning(DeprecationWarning):
    """Something is used by the name it had in an earlier version of seqcls."""


def warn_renamed(message: str) -> None:
    """Warn about an old name, at the nearest line of code outside seqcls."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, RenamedWarning, stacklevel=level)
