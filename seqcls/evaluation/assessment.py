"""All figures of a model on a split, and those of each of its labels; the figures are those of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqcls.evaluation.scores import Score

MAX_MATRIX = 200
"""With more labels, the confusion matrix is neither printed nor drawn, but only its largest cells."""

_MAX_CONFUSIONS = 1000  # that are printed


@dataclass(frozen=True)
class LabelScore:
    """The figures of one label against all others.

    Attributes:
        precision: The share of the examples predicted to have the label that do have it; 0 if there are none.
        recall: The share of the examples that have the label that are predicted to have it; 0 if there are none.
        f1: The harmonic mean of precision and recall; 0 if both are 0.
        support: The number of examples that have the label.
        roc_auc: The area under the ROC curve: the probability that an example with the label ranks above one without it.
            None unless there are both.
        average_precision: The area under the steps of the precision-recall curve; None unless there are both.
    """

    precision: float
    recall: float
    f1: float
    support: int
    roc_auc: float | None
    average_precision: float | None


class Cell(NamedTuple):
    """A cell of the confusion matrix that is not zero.

    Attributes:
        true: The index of the label that the examples have.
        predicted: The index of the label that they were given.
        examples: The number of these examples.
    """

    true: int
    predicted: int
    examples: int


@dataclass(frozen=True)
class Assessment:
    """The figures of a model on a split, as `seqcls evaluate` prints them.

    The figures of ``score`` are attributes too: ``assessment.accuracy`` is ``assessment.score.accuracy``.

    Attributes:
        score: Loss and accuracy.
        macro_f1: The mean F1 of the labels.
        roc_auc: The mean area under the labels' ROC curves; None if a label has none.
        calibration_error: The expected calibration error; see `seqcls.evaluation.calibration.calibration_error`.
        uncalibrated_error: The expected calibration error without the model's temperature.
        labels: The figures of each label, by its name.
        cells: The cells of the confusion matrix that are not zero, by row and column; None where an example may have several
            labels.
        coverage: The share of examples that the model was sure enough to answer; 1 without a minimum confidence.
        selective_accuracy: The accuracy on the examples that it answered; None if it answered none.
    """

    score: Score
    macro_f1: float
    roc_auc: float | None
    calibration_error: float
    uncalibrated_error: float
    labels: Mapping[str, LabelScore]
    cells: tuple[Cell, ...] | None
    coverage: float
    selective_accuracy: float | None

    @property
    def confusion(self) -> list[list[int]] | None:
        """The number of examples with the label of the row that were given the label of the column, C rows of C numbers.

        None where an example may have several labels.
        """
        if self.cells is None:
            return None
        matrix = [[0] * len(self.labels) for _ in self.labels]
        for true, predicted, count in self.cells:
            matrix[true][predicted] = count
        return matrix

    def confusions(self, limit: int) -> list[tuple[str, str, int]]:
        """Return the most frequent confusions: the true label, the predicted one, and the number of examples."""
        names = list(self.labels)
        mistakes = [cell for cell in self.cells or () if cell.true != cell.predicted]
        mistakes.sort(key=lambda cell: -cell.examples)
        return [(names[true], names[predicted], count) for true, predicted, count in mistakes[:limit]]

    @property
    def loss(self) -> float:
        """The mean cross-entropy in nats; see `Score`."""
        return self.score.loss

    @property
    def accuracy(self) -> float:
        """The share of examples that are classified correctly."""
        return self.score.accuracy

    @property
    def correct(self) -> int:
        """The number of examples that are classified correctly."""
        return self.score.correct

    @property
    def count(self) -> int:
        """The number of examples."""
        return self.score.count

    @property
    def f1(self) -> float | None:
        """The micro-averaged F1; None where an example has exactly one label."""
        return self.score.f1

    def __repr__(self) -> str:
        f1 = "" if self.f1 is None else f", f1={self.f1:.4f}"
        return (
            f"Assessment(accuracy={self.accuracy:.4f}, loss={self.loss:.4f}{f1}, macro_f1={self.macro_f1:.4f}, "
            f"calibration_error={self.calibration_error:.4f}, labels={len(self.labels)}, count={self.count})"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as `seqcls evaluate --json` prints them, those of the score at the top level.

        The confusion matrix is left out if there are more than `MAX_MATRIX` labels.
        """
        values = {name: value for name, value in vars(self).items() if name not in ("score", "cells")}
        is_small = self.cells is not None and len(self.labels) <= MAX_MATRIX
        confusions = [
            {"label": true, "prediction": predicted, "count": count}
            for true, predicted, count in self.confusions(_MAX_CONFUSIONS)
        ]
        return {
            **self.score.as_dict(),
            **values,
            "labels": {name: asdict(score) for name, score in self.labels.items()},
            "confusion": self.confusion if is_small else None,
            "confusions": None if self.cells is None else confusions,
        }


def count_cells(true: NDArray[np.integer], predicted: NDArray[np.integer], num_labels: int) -> tuple[Cell, ...]:
    """Count how often examples of each label were given each label; both arguments are indices of labels, int [N]."""
    places, counts = np.unique(true.astype(np.int64) * num_labels + predicted, return_counts=True)
    rows, columns = np.divmod(places, num_labels)
    return tuple(map(Cell, rows.tolist(), columns.tolist(), counts.tolist()))


def score_label(probabilities: NDArray[np.float64], members: NDArray[np.int64], *, hits: int, predicted: int) -> LabelScore:
    """Return the figures of one label.

    Args:
        probabilities: float64 [N], the probability of the label.
        members: int64 [P], the indices of the examples that have it.
        hits: The number of examples that have it and were given it.
        predicted: The number of examples that were given it.
    """
    support = len(members)
    area, precision = _ranking(probabilities, members) if 0 < support < len(probabilities) else (None, None)
    return LabelScore(
        precision=hits / predicted if predicted else 0.0,
        recall=hits / support if support else 0.0,
        f1=2 * hits / (predicted + support) if hits else 0.0,
        support=support,
        roc_auc=area,
        average_precision=precision,
    )


def _ranking(probabilities: NDArray[np.float64], members: NDArray[np.int64]) -> tuple[float, float]:
    """Return the area under the ROC curve and the average precision of a label that some examples have and some do not.

    The area is the Mann-Whitney statistic, in which a tie counts as one half. The average precision is the mean over the
    label's examples of the precision at the threshold that just admits the example, which is the sum over thresholds of the
    precision there times the gain in recall.
    """
    ranked, own = np.sort(probabilities), np.sort(probabilities[members])
    lower, not_higher = np.searchsorted(ranked, own), np.searchsorted(ranked, own, side="right")
    count, positive = len(ranked), len(own)
    ranks = (lower + not_higher + 1).sum() / 2  # equal probabilities share the mean of their ranks
    area = (ranks - positive * (positive + 1) / 2) / (positive * (count - positive))
    hits = positive - np.searchsorted(own, own)  # of the examples that are admitted, those with the label
    return float(area), float((hits / (count - lower)).mean())
