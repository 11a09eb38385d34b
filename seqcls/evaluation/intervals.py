"""Confidence intervals: Wilson's for shares of examples, Student's over seeds, and those of a bootstrap for differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqcls.errors import MissingExtraError
from seqcls.evaluation.predictions import Predictions

_RESAMPLES = 10_000
_SEED = 0
_LEVEL = 0.95
_QUANTILE = NormalDist().inv_cdf((1 + _LEVEL) / 2)


@dataclass(frozen=True)
class Interval:
    """A figure with its 95% confidence interval; the bounds are None where the interval is not known."""

    value: float
    low: float | None = None
    high: float | None = None

    def bounds_in_percent(self) -> str | None:
        """Return the bounds as "87.9 to 88.4"; None where they are not known."""
        return None if self.low is None or self.high is None else f"{100 * self.low:.1f} to {100 * self.high:.1f}"

    def in_percent(self) -> str:
        """Return "88.1% (87.9 to 88.4)", or "88.1%" where the bounds are not known."""
        bounds = self.bounds_in_percent()
        return f"{100 * self.value:.1f}%" + ("" if bounds is None else f" ({bounds})")


@dataclass(frozen=True)
class LabelIntervals:
    """The figures of one label, each with its interval."""

    precision: Interval
    recall: Interval
    f1: Interval


def resample_counts(counts: Sequence[int], generator: np.random.Generator | None = None) -> NDArray[np.int64]:
    """Return how often each of K kinds of examples is drawn in 10,000 bootstrap resamples, int64 [10000, K].

    A figure that only depends on the numbers of examples of K kinds needs no drawing of single examples: the numbers in a
    resample of N examples are multinomial.

    Args:
        counts: The numbers of examples of each kind, which add up to N.
        generator: The source of randomness; by default a new one, always with the same seed.
    """
    total = sum(counts)
    generator = generator or np.random.default_rng(_SEED)
    return np.asarray(generator.multinomial(total, np.asarray(counts) / total, _RESAMPLES))


def percentile_interval(value: float, resampled: NDArray[np.float64]) -> Interval:
    """Return a figure with the percentile interval of its bootstrap values (Efron & Tibshirani 1993, ch. 13)."""
    low, high = np.quantile(resampled, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(float(value), float(low), float(high))


def accuracy_interval(predictions: Predictions) -> Interval:
    """Return a model's accuracy with Wilson's interval."""
    return wilson_interval(int(predictions.is_correct.sum()), len(predictions.is_correct))


def label_intervals(predictions: Predictions, labels: Sequence[int] | None = None) -> dict[str, LabelIntervals]:
    """Return the figures of some labels with their intervals, by the names of the labels.

    Precision and recall are shares of examples, with Wilson's interval. So is J, the share of right answers among the
    examples that have the label or are given it. F1 is 2 J / (1 + J), which grows with J: its bounds are those of J.

    Args:
        predictions: The predictions.
        labels: The indices of the labels; by default all of them.
    """
    names = predictions.label_names
    counts = np.stack(predictions.label_counts, axis=1)  # [C, 3]
    chosen = range(len(names)) if labels is None else labels
    return {names[label]: _label_intervals(*counts[label].tolist()) for label in chosen}


def _label_intervals(right: int, predicted: int, support: int) -> LabelIntervals:
    """Return the intervals of a label from its counts, as in `LabelCounts`."""
    shared = wilson_interval(right, predicted + support - right)
    low, high = (None if bound is None else 2 * bound / (1 + bound) for bound in (shared.low, shared.high))
    return LabelIntervals(
        precision=wilson_interval(right, predicted),
        recall=wilson_interval(right, support),
        f1=Interval(2 * shared.value / (1 + shared.value), low, high),
    )


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of a figure over seeds with the interval of Student's t; a single value has no interval.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if len(array) == 1:
        return Interval(mean)
    quantile = scipy_stats().t.ppf((1 + _LEVEL) / 2, len(array) - 1)
    half_width = float(quantile * array.std(ddof=1) / math.sqrt(len(array)))
    return Interval(mean, mean - half_width, mean + half_width)


def wilson_interval(hits: int, count: int) -> Interval:
    """Return a share with Wilson's interval (Wilson 1927), which holds for few examples and for shares of 0 and 1.

    Of no examples, the share is 0, as in `LabelScore`, and the bounds are not known.
    """
    if not count:
        return Interval(0.0)
    share, square = hits / count, _QUANTILE**2
    center, factor = (share + square / (2 * count)), 1 / (1 + square / count)
    half = _QUANTILE * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    low, high = factor * (center - half), factor * (center + half)
    return Interval(share, max(0.0, min(low, share)), min(1.0, max(high, share)))  # whatever rounding does at 0 and 1


def scipy_stats() -> Any:
    """Return `scipy.stats`; raise MissingExtraError if scipy is not installed."""
    try:
        from scipy import stats
    except ModuleNotFoundError:
        raise MissingExtraError("scipy", "report") from None
    return stats
