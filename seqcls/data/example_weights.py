"""Weights of training examples: which numbers may be one, and how those of a split are checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqcls.errors import DataError

REMEDY = "give a finite number of at least 0"


def parse_weight(value: object) -> float:
    """Return a weight as a float, from a number or from a text that holds one; NaN if it is not a weight."""
    if value is None or isinstance(value, bool):
        return math.nan
    try:
        weight = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return weight if 0 <= weight < math.inf else math.nan


def as_weights(values: Iterable[Any], where: Callable[[int], str] = "weights[{}]".format) -> NDArray[np.float64]:
    """Return the weights of N examples, float64 [N].

    Args:
        values: The weights: an array, or any iterable of numbers.
        where: Returns how the message of an error calls the weight with a given index.

    Raises:
        DataError: A weight is not a finite number of at least 0, or there is more than one per example.
    """
    items = values if isinstance(values, np.ndarray) and values.dtype.kind in "iuf" else list(values)
    weights = np.array(items if isinstance(items, np.ndarray) else list(map(parse_weight, items)), dtype=np.float64)
    if weights.ndim != 1:
        raise DataError(f"the weights have the shape {list(weights.shape)}; give one number per example, [N]")
    wrong = np.flatnonzero(~((weights >= 0) & (weights < math.inf)))
    if len(wrong):
        value = items[wrong[0]]
        shown = value.item() if isinstance(value, np.generic) else value
        raise DataError(f"{where(int(wrong[0]))} is {shown!r:.60}; {REMEDY}")
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(weights.sum())
    if not is_finite:
        raise DataError("the weights add up to more than a float can hold; divide all of them by the largest")
    return weights
