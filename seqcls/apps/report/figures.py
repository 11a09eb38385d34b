"""The figures that only a report shows: groups of examples, curves, and the worst mistakes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqcls.evaluation.chunks import chunks
from seqcls.evaluation.intervals import Interval, wilson_interval
from seqcls.evaluation.predictions import Predictions

_GROUPS = 6  # of examples, by length or by share of unknown words
_POINTS = 200  # of a curve; nobody sees more


@dataclass(frozen=True)
class Group:
    """The examples for which a quantity, such as the length, is in [low, high], and the accuracy on them."""

    low: float
    high: float
    count: int
    accuracy: Interval


def accuracy_by(values: NDArray[np.number], predictions: Predictions) -> list[Group]:
    """Return the accuracy on groups of examples with similar values [N]; the groups are of about equal size.

    Equal values are always in the same group. The intervals are Wilson's, since groups may be small or without mistakes.
    """
    upper_bounds = np.unique(np.quantile(values, np.arange(1, _GROUPS + 1) / _GROUPS, method="inverted_cdf"))
    group_of = np.searchsorted(upper_bounds, values)
    groups = []
    for number in range(len(upper_bounds)):
        is_member = group_of == number
        accuracy = wilson_interval(int(predictions.is_correct[is_member].sum()), int(is_member.sum()))
        members = values[is_member]
        groups.append(Group(float(members.min()), float(members.max()), len(members), accuracy))
    return groups


Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def roc(predictions: Predictions, label: str) -> Curve:
    """Return the ROC curve of a label that some examples have and some do not: false and true positive rates."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(*_truth_and_probabilities(predictions, label))
    return false, true


def precision_recall(predictions: Predictions, label: str) -> Curve:
    """Return the precision-recall curve of such a label: recall, ascending, and precision."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(*_truth_and_probabilities(predictions, label), drop_intermediate=True)
    return recall[::-1], precision[::-1]


def _truth_and_probabilities(predictions: Predictions, label: str) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    column = predictions.label_names.index(label)
    return predictions.has_label(column), predictions.probabilities_of(columns=slice(column, column + 1))[:, 0]


def thinned(curve: Curve) -> Curve:
    """Return at most 200 points of a curve, evenly spaced along it, its ends included."""
    x, y = curve
    points = np.unique(np.linspace(0, len(x) - 1, _POINTS).round().astype(int))
    return x[points], y[points]


def wrongness(predictions: Predictions, rows: slice) -> NDArray[np.float64]:
    """Return the probability that the model gave to being wrong about each label it got wrong, float64 [n, C].

    For n examples, this is 1 - p of a label that the example has, and p of one that it has not; 0 where the model decided
    correctly.
    """
    true, probabilities = predictions.true_of(rows), predictions.probabilities_of(rows)
    improbable = np.where(true, 1 - probabilities, probabilities)
    return np.where(predictions.predicted_of(rows) == true, 0.0, improbable)


def worst(predictions: Predictions, count: int) -> NDArray[np.int64]:
    """Return the indices of the mistakes of which the model was surest, the worst first."""
    surest = np.empty(len(predictions.logits))
    for rows in chunks(*predictions.logits.shape):
        surest[rows] = wrongness(predictions, rows).max(axis=1)
    order = np.argsort(-surest, kind="stable")[:count]
    return order[~predictions.is_correct[order]]
