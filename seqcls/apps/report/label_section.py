"""What the page tells about the labels: their figures, and which of them are confused."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from markupsafe import Markup

from seqcls.apps.report import plots
from seqcls.apps.report.parts import MAX_ROWS, Table, percent
from seqcls.evaluation.assessment import MAX_MATRIX, Assessment
from seqcls.evaluation.intervals import LabelIntervals, label_intervals
from seqcls.evaluation.predictions import Predictions

_MAX_CELLS = 12  # labels; a larger confusion matrix is a plot instead of a table
_CONFUSIONS = 20


class LabelSection:
    """What the page tells about the labels."""

    def __init__(self, predictions: Predictions, assessment: Assessment) -> None:
        self._predictions = predictions
        self._assessment = assessment

    @cached_property
    def intervals(self) -> list[tuple[str, LabelIntervals, int, float | None]]:
        """Each label with its figures, its number of examples, and its area under the ROC curve; the lowest F1 first."""
        scores, names = self._assessment.labels, self._predictions.label_names
        intervals = label_intervals(self._predictions, sorted(self._shown))
        shown = [names[label] for label in self._shown]
        return [(name, intervals[name], scores[name].support, scores[name].roc_auc) for name in shown]

    @cached_property
    def _shown(self) -> list[int]:
        """The labels that tables show, those with the lowest F1 first; of equal ones, the commonest."""
        scores = list(self._assessment.labels.values())
        return sorted(range(len(scores)), key=lambda label: (scores[label].f1, -scores[label].support))[:MAX_ROWS]

    @property
    def selection(self) -> str:
        """A sentence about the labels that tables do not show; empty if they show all."""
        f1 = [score.f1 for score in self._assessment.labels.values()]
        if len(f1) == len(self._shown):
            return ""
        return (
            f"The {MAX_ROWS} of {len(f1):,} labels with the lowest F1 are shown, and seqcls evaluate prints the others. The "
            f"median F1 is {percent(float(np.median(f1)))}; {f1.count(0.0):,} labels have an F1 of 0."
        )

    @cached_property
    def cells(self) -> list[tuple[str, list[tuple[int, float]]]] | None:
        """The confusion matrix of few labels: the label of each row with the counts and their shares of the row."""
        matrix = self._assessment.confusion if len(self._predictions.label_names) <= _MAX_CELLS else None
        if matrix is None:
            return None
        return [
            (name, [(count, count / max(1, sum(row))) for count in row])
            for name, row in zip(self._predictions.label_names, matrix, strict=True)
        ]

    @cached_property
    def matrix(self) -> Markup | None:
        """The confusion matrix of more labels as a plot."""
        is_drawn = _MAX_CELLS < len(self._predictions.label_names) <= MAX_MATRIX
        confusion = self._assessment.confusion if is_drawn else None
        if confusion is None:
            return None
        counts = np.array(confusion)
        shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
        title = "Confusion matrix, shaded by the share of each row; the most frequent confusions follow as a table"
        return plots.draw_confusion("confusion", title, shares, self._predictions.label_names)

    @cached_property
    def confusions(self) -> Table | None:
        """The most frequent confusions; None where an example may have several labels."""
        if self._assessment.cells is None:
            return None
        labels = self._assessment.labels
        return Table(
            ["label", "predicted as", "examples", "share of the label"],
            [
                [true, predicted, f"{count:,}", percent(count / labels[true].support)]
                for true, predicted, count in self._assessment.confusions(_CONFUSIONS)
            ],
        )

    @cached_property
    def counts(self) -> Table | None:
        """Where an example may have several labels, the confusion matrix of each label as a row; None otherwise."""
        if self._assessment.cells is not None:
            return None
        hits, predicted, support = self._predictions.label_counts
        neither = len(self._predictions.labels) - predicted - support + hits
        columns = (hits, predicted - hits, support - hits, neither)
        rows = [
            [self._predictions.label_names[label], *(f"{int(column[label]):,}" for column in columns)]
            for label in sorted(self._shown)
        ]
        return Table(["label", "true positives", "false positives", "false negatives", "true negatives"], rows)
