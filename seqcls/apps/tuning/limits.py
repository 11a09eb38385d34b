"""The limits of a search: time, number of trials, size of the model."""

from __future__ import annotations

import re
from dataclasses import dataclass

from seqcls.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """What a search must not exceed; None means no limit.

    Attributes:
        began: When the time began to count, by `time.monotonic`.
        seconds: Time for all trials, in seconds.
        trials: Number of trials.
        size: Bytes of a model directory.
    """

    began: float
    seconds: float | None
    trials: int | None
    size: int | None


def bytes_of(size: str) -> int:
    """Turn "2MB", "500kB" or "1.5MiB" into bytes.

    Raises:
        ConfigError: The text is of another form.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([kmg]?)(i?)b?", size.strip().lower())
    if match is None or not float(match[1]) or (match[3] and not match[2]):
        raise ConfigError(f"write a size as 500kB, 2MB or 1.5MiB, not {size!r}")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmg".index(prefix or " "))
