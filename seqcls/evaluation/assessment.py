"""All figures of a model on a split, and those of each of its labels; the figures are those of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqcls.evaluation.scores import Score


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
        confusion: The number of examples with the label of the row that were given the label of the column; None where an
            example may have several labels.
        coverage: The share of examples that the model was sure enough to answer; 1 without a minimum confidence.
        selective_accuracy: The accuracy on the examples that it answered; None if it answered none.
    """

    score: Score
    macro_f1: float
    roc_auc: float | None
    calibration_error: float
    uncalibrated_error: float
    labels: Mapping[str, LabelScore]
    confusion: list[list[int]] | None
    coverage: float
    selective_accuracy: float | None

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
        """Return the figures as `seqcls evaluate --json` prints them, those of the score at the top level."""
        values = {name: value for name, value in vars(self).items() if name != "score"}
        return {**self.score.as_dict(), **values, "labels": {name: asdict(score) for name, score in self.labels.items()}}


def score_label(probabilities: NDArray[np.float64], predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> LabelScore:
    """Return the figures of one label.

    Args:
        probabilities: float64 [N], the probability of the label.
        predicted: bool [N], whether the model gave it.
        true: bool [N], whether the example has it.
    """
    hits, num_predicted, support = int((predicted & true).sum()), int(predicted.sum()), int(true.sum())
    has_both = 0 < support < len(true)
    return LabelScore(
        precision=hits / num_predicted if num_predicted else 0.0,
        recall=hits / support if support else 0.0,
        f1=2 * hits / (num_predicted + support) if hits else 0.0,
        support=support,
        roc_auc=_roc_auc(probabilities, true) if has_both else None,
        average_precision=_average_precision(probabilities, true) if has_both else None,
    )


def _roc_auc(probabilities: NDArray[np.float64], true: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve by the Mann-Whitney statistic; a tie counts as one half."""
    _, groups, counts = np.unique(probabilities, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[groups]  # equal probabilities share the mean of their ranks
    positive = int(true.sum())
    return float((ranks[true].sum() - positive * (positive + 1) / 2) / (positive * (len(true) - positive)))


def _average_precision(probabilities: NDArray[np.float64], true: NDArray[np.bool_]) -> float:
    """Return the sum over thresholds of the precision there times the gain in recall."""
    order = np.argsort(-probabilities, kind="stable")
    ranked, hits = probabilities[order], true[order].cumsum()
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # the last of each run of equal probabilities
    gained = np.diff(hits[last], prepend=0)
    return float((hits[last] / (last + 1) * gained).sum() / true.sum())
