"""Types of options that several encoders share: `seqcls.config.options` reads their ranges from them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

PositiveInt = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
"""Of dropping a value: below 1, since otherwise nothing would be left."""
