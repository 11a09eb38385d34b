"""What the page tells about the labels: their figures, and which of them are confused."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from markupsafe import Markup

from seqcls.apps.report import plots
from seqcls.apps.report.figures import confusions
from seqcls.apps.report.parts import Table, percent
from seqcls.evaluation.assessment import Assessment
from seqcls.evaluation.intervals import LabelIntervals, label_intervals
from seqcls.evaluation.predictions import Predictions

_MAX_CELLS = 12  # labels; a larger confusion matrix is a plot instead of a table
_MAX_DRAWN = 200  # labels; a still larger one is not drawn
_CONFUSIONS = 20


class LabelSection:
    """What the page tells about the labels."""

    def __init__(self, predictions: Predictions, assessment: Assessment) -> None:
        self._predictions = predictions
        self._assessment = assessment

    @cached_property
    def intervals(self) -> list[tuple[str, LabelIntervals, int, float | None]]:
        """Each label with its figures, its number of examples, and its area under the ROC curve; the lowest F1 first."""
        scores, intervals = self._assessment.labels, label_intervals(self._predictions)
        rows = [(name, intervals[name], scores[name].support, scores[name].roc_auc) for name in intervals]
        return sorted(rows, key=lambda row: row[1].f1.value)

    @cached_property
    def cells(self) -> list[tuple[str, list[tuple[int, float]]]] | None:
        """The confusion matrix of few labels: the label of each row with the counts and their shares of the row."""
        matrix = self._assessment.confusion
        if matrix is None or len(matrix) > _MAX_CELLS:
            return None
        return [
            (name, [(count, count / max(1, sum(row))) for count in row])
            for name, row in zip(self._predictions.label_names, matrix, strict=True)
        ]

    @cached_property
    def matrix(self) -> Markup | None:
        """The confusion matrix of more labels as a plot."""
        confusion = self._assessment.confusion
        if confusion is None or not _MAX_CELLS < len(confusion) <= _MAX_DRAWN:
            return None
        counts = np.array(confusion)
        shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
        title = "Confusion matrix, shaded by the share of each row; the most frequent confusions follow as a table"
        return plots.draw_confusion("confusion", title, shares, self._predictions.label_names)

    @cached_property
    def confusions(self) -> Table | None:
        """The most frequent confusions; None where an example may have several labels."""
        if self._assessment.confusion is None:
            return None
        labels = self._assessment.labels
        return Table(
            ["label", "predicted as", "examples", "share of the label"],
            [
                [true, predicted, f"{count:,}", percent(count / labels[true].support)]
                for true, predicted, count in confusions(self._assessment, _CONFUSIONS)
            ],
        )

    @cached_property
    def counts(self) -> Table | None:
        """Where an example may have several labels, the confusion matrix of each label as a row; None otherwise."""
        if self._assessment.confusion is not None:
            return None
        true, predicted = self._predictions.true, self._predictions.predicted
        columns = [(true & predicted), (~true & predicted), (true & ~predicted), (~true & ~predicted)]
        rows = [
            [name, *(f"{int(column[:, number].sum()):,}" for column in columns)]
            for number, name in enumerate(self._predictions.label_names)
        ]
        return Table(["label", "true positives", "false positives", "false negatives", "true negatives"], rows)
