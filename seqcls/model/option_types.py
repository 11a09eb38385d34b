"""Types of options that several plugins share; `seqcls.config.options` reads the ranges from them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
Probability = Annotated[float, Field(ge=0, lt=1)]
"""The probability of dropping a value; below 1, so that something is left."""
