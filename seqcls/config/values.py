"""Types of setting values, and how values are read from flags and TOML files."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

Auto = Literal["auto"]
"""Stands for a value that is chosen to fit the data; see `seqcls.config.auto`."""
OptionValue = bool | int | float | str | None
Probability = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
PositiveNumber = Annotated[float, Field(gt=0)]
Monitor = Literal["loss", "accuracy", "f1"]
"""A figure of the validation split by which models are compared; f1 is the macro-averaged F1."""


def seconds_of(duration: object) -> object:
    """Turn "90s", "30m" or "1h30m" into seconds; return anything but text unchanged.

    Raises:
        ValueError: The text has another form.
    """
    if not isinstance(duration, str):
        return duration
    match = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", duration.strip().lower())
    if not duration.strip() or match is None:
        raise ValueError("write a duration as 90s, 30m or 1h30m")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def names_of(names: object) -> object:
    """Turn "one,two" into a list and None into an empty one; return anything else unchanged."""
    return [] if names is None else numbers_of(names)


def numbers_of(numbers: object) -> object:
    """Turn "0.9,0.98" into a list of texts, which pydantic reads as numbers; return anything else unchanged."""
    return [number.strip() for number in numbers.split(",")] if isinstance(numbers, str) else numbers
