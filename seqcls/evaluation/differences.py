"""Whether one model is better than another, judged on the same examples or over the same seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from seqcls.errors import DataError
from seqcls.evaluation.intervals import Interval, mean_interval, percentile_interval, resample_counts, scipy_stats
from seqcls.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Difference:
    """How much more accurate one model, or encoder, is than another.

    Attributes:
        one: The name of the first.
        other: The name of the second.
        accuracy: The accuracy of the first minus that of the second.
        only_one: The number of examples that only the first gets right; None for a comparison over seeds.
        only_other: The number of examples that only the second gets right; None for a comparison over seeds.
        p_value: That of McNemar's exact test: the probability that two equally good models differ at least as much. None for
            a comparison over seeds.
    """

    one: str
    other: str
    accuracy: Interval
    only_one: int | None = None
    only_other: int | None = None
    p_value: float | None = None

    @property
    def is_certain(self) -> bool:
        """Whether the interval excludes zero, so that one of the two is better."""
        low, high = self.accuracy.low, self.accuracy.high
        return low is not None and high is not None and (low > 0 or high < 0)

    def sentence(self) -> str:
        """Return the finding in words; ``one`` must be the better of the two, as it is in the results of `differences`."""
        points, bounds = f"{100 * self.accuracy.value:.1f} points", self.accuracy.bounds_in_percent()
        interval = "; a single seed gives no interval" if bounds is None else f", 95% interval {bounds}"
        test = "" if self.p_value is None else f" (McNemar p = {self.p_value:.2g})"
        if self.is_certain:
            return f"{self.one} is better than {self.other} by {points}{interval}{test}"
        return f"No certain difference between {self.one} and {self.other}: {points}{interval}{test}"

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as `seqcls compare --json` prints them."""
        return {**asdict(self), "sentence": self.sentence()}


def compare(one: str, other: str, predictions: Mapping[str, Predictions]) -> Difference:
    """Return how much better one model is than another on the same examples.

    The bootstrap draws examples, and so pairs of answers: the difference depends only on how many examples the first model
    alone gets right, how many the second alone gets right, and how many are left.

    Raises:
        DataError: The models were asked about different examples.
        MissingExtraError: scipy is not installed.
    """
    check_same_examples(predictions[one], predictions[other])
    is_correct, is_other_correct = predictions[one].is_correct, predictions[other].is_correct
    only_one, only_other = int((is_correct & ~is_other_correct).sum()), int((~is_correct & is_other_correct).sum())
    total = len(is_correct)
    draws = resample_counts([only_one, only_other, total - only_one - only_other])
    accuracy = percentile_interval((only_one - only_other) / total, (draws[:, 0] - draws[:, 1]) / total)
    return Difference(one, other, accuracy, only_one, only_other, _mcnemar(only_one, only_other))


def differences(predictions: Mapping[str, Predictions]) -> list[Difference]:
    """Return how the most accurate model differs from each of the others; raises like `compare`."""
    best = max(predictions, key=lambda name: predictions[name].score.accuracy)
    return [compare(best, name, predictions) for name in predictions if name != best]


def seed_differences(accuracies: Mapping[str, Sequence[float]]) -> list[Difference]:
    """Return how the encoder with the best mean accuracy differs from each of the others, compared seed by seed.

    Args:
        accuracies: Of each encoder, one per seed; all have the same seeds in the same order.
    """
    best = max(accuracies, key=lambda name: float(np.mean(accuracies[name])))
    pairs = {name: np.subtract(accuracies[best], values) for name, values in accuracies.items() if name != best}
    return [Difference(best, name, mean_interval(values.tolist())) for name, values in pairs.items()]


def check_same_examples(one: Predictions, other: Predictions) -> None:
    """Raise DataError unless both models were asked about equally many examples with the same labels."""
    is_same = one.label_names == other.label_names and np.array_equal(one.labels, other.labels)
    if not is_same and _label_names(one) != _label_names(other):
        raise DataError(
            f"the models were not asked about the same examples ({len(one.labels)} and {len(other.labels)}, or other "
            "labels); give --dataset and --split, so that they are the same for all models"
        )


def _label_names(predictions: Predictions) -> list[tuple[str, ...]]:
    names, labels = predictions.label_names, predictions.labels
    rows = ((label,) for label in labels) if labels.ndim == 1 else map(np.flatnonzero, labels)
    return [tuple(sorted(names[label] for label in row)) for row in rows]


def _mcnemar(only_one: int, only_other: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (McNemar 1947, with the binomial distribution)."""
    total = only_one + only_other
    return float(scipy_stats().binomtest(only_one, total).pvalue) if total else 1.0
