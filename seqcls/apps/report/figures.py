"""The numbers of a report: intervals, curves, groups of examples, and which mistakes are the worst."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqcls.apps.report.comparison import Interval
from seqcls.evaluation.predictions import Assessment, Predictions

_RESAMPLES = 10_000
_SEED = 0
_LEVEL = 0.95
_GROUPS = 6  # of examples, by length or by unknown words
_POINTS = 200  # of a curve, which are as many as anybody sees


@dataclass(frozen=True)
class LabelIntervals:
    """Figures of a label with the intervals of a bootstrap over examples."""

    precision: Interval
    recall: Interval
    f1: Interval


def label_intervals(predictions: Predictions) -> dict[str, LabelIntervals]:
    """Return the figures of each label with the percentile intervals of a bootstrap (Efron & Tibshirani 1993, ch. 13).

    Of a resample of the examples only four numbers reach a label's figures: those that have it and are given it, that are
    given it alone, that have it alone, and the rest. They are drawn at once, from a multinomial distribution.
    """
    generator = np.random.default_rng(_SEED)
    columns = zip(predictions.label_names, predictions.true.T, predictions.said.T, strict=True)
    return {name: _intervals(true, said, generator) for name, true, said in columns}


def _intervals(true: NDArray[np.bool_], said: NDArray[np.bool_], generator: np.random.Generator) -> LabelIntervals:
    counts = np.array([(true & said).sum(), (~true & said).sum(), (true & ~said).sum(), (~true & ~said).sum()])
    draws = generator.multinomial(len(true), counts / len(true), _RESAMPLES)
    both, only_said, only_true, _ = np.vstack([counts, draws]).T.astype(np.float64)
    return LabelIntervals(
        precision=_interval(_share(both, both + only_said)),
        recall=_interval(_share(both, both + only_true)),
        f1=_interval(_share(2 * both, 2 * both + only_said + only_true)),
    )


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return part / whole, and 0 of nothing, as `LabelScore` has it."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _interval(values: NDArray[np.float64]) -> Interval:
    """Return the first value with the interval of the others."""
    low, high = np.quantile(values[1:], [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(float(values[0]), float(low), float(high))


@dataclass(frozen=True)
class Group:
    """Examples that have something, such as a length, from ``low`` to ``high``."""

    low: float
    high: float
    count: int
    accuracy: Interval


def accuracy_by(values: NDArray[np.number], predictions: Predictions) -> list[Group]:
    """Return the accuracy on examples of like values [N], in groups of about one size, each value in one of them.

    The intervals are Wilson's, since groups may be small and all right.
    """
    from scipy.stats import binomtest

    tops = np.unique(np.quantile(values, np.arange(1, _GROUPS + 1) / _GROUPS, method="inverted_cdf"))
    group_of = np.searchsorted(tops, values)
    groups = []
    for number in range(len(tops)):
        is_in = group_of == number
        hits, count = int(predictions.is_right[is_in].sum()), int(is_in.sum())
        found = binomtest(hits, count).proportion_ci(_LEVEL, method="wilson")
        accuracy = Interval(hits / count, float(found.low), float(found.high))
        groups.append(Group(float(values[is_in].min()), float(values[is_in].max()), count, accuracy))
    return groups


def confusions(assessment: Assessment, count: int) -> list[tuple[str, str, int]]:
    """Return the commonest mistakes: the label, the one that was given in its place, and how often; the commonest first."""
    names = list(assessment.labels)
    matrix = np.array(assessment.confusion)
    np.fill_diagonal(matrix, 0)
    order = np.argsort(-matrix, axis=None, kind="stable")[:count]
    return [
        (names[row], names[column], int(matrix[row, column]))
        for row, column in zip(*np.unravel_index(order, matrix.shape), strict=True)
        if matrix[row, column]
    ]


Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def roc(predictions: Predictions, label: str) -> Curve:
    """Return the ROC curve of a label that some examples have and some have not: false and true positive rates."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(*_of_label(predictions, label))
    return false, true


def precision_recall(predictions: Predictions, label: str) -> Curve:
    """Return the precision-recall curve of such a label: recalls, ascending, and precisions."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(*_of_label(predictions, label), drop_intermediate=True)
    return recall[::-1], precision[::-1]


def _of_label(predictions: Predictions, label: str) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    column = predictions.label_names.index(label)
    return predictions.true[:, column], predictions.probabilities[:, column]


def thinned(curve: Curve) -> Curve:
    """Return a curve in few points, its ends among them."""
    x, y = curve
    places = np.unique(np.linspace(0, len(x) - 1, _POINTS).round().astype(int))
    return x[places], y[places]


def wrongness(predictions: Predictions) -> NDArray[np.float64]:
    """Return how improbable what is true of each label was to the model, float64 [N, C]; 0 where it decided rightly."""
    improbable = np.where(predictions.true, 1 - predictions.probabilities, predictions.probabilities)
    return np.where(predictions.said == predictions.true, 0.0, improbable)


def worst(predictions: Predictions, count: int) -> NDArray[np.int64]:
    """Return the places of the mistakes of which the model was surest, the worst first."""
    found = wrongness(predictions).max(axis=1)
    order = np.argsort(-found, kind="stable")[:count]
    return order[~predictions.is_right[order]]
