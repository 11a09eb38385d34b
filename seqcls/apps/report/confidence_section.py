"""What the page tells about probabilities: the curves from which a threshold is chosen, and the calibration."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from seqcls.apps.report import plots
from seqcls.apps.report.figures import Curve, precision_recall, roc, thinned
from seqcls.apps.report.parts import Plot, Table, percent
from seqcls.evaluation.assessment import Assessment
from seqcls.evaluation.calibration import Bin, reliability
from seqcls.evaluation.predictions import Predictions

_FALSE_POSITIVE_RATES = (0.01, 0.05, 0.1, 0.2)
_RECALLS = (0.5, 0.8, 0.9, 0.95, 0.99)


class ConfidenceSection:
    """What the page tells about probabilities."""

    def __init__(self, predictions: Predictions, assessment: Assessment) -> None:
        self._predictions = predictions
        self._assessment = assessment

    @cached_property
    def curves(self) -> list[Plot]:
        """The ROC and precision-recall curves."""
        return [self._roc(), self._precision_recall()] if self._drawn else []

    @cached_property
    def _drawn(self) -> list[str]:
        """The labels with curves: the second of two, or, of many, those with the smallest areas under the ROC curve."""
        areas = {name: score.roc_auc for name, score in self._assessment.labels.items() if score.roc_auc is not None}
        if len(self._predictions.label_names) == 2 and not self._predictions.is_multi_label:
            return list(areas)[1:]
        ranked = sorted(areas, key=lambda name: areas[name] or 0.0)[: plots.NUM_SERIES]
        return [name for name in areas if name in ranked]

    def _roc(self) -> Plot:
        curves = {name: roc(self._predictions, name) for name in self._drawn}
        areas = [f"{name}: area {self._assessment.labels[name].roc_auc:.4f}" for name in curves]
        rows = [
            [f"{100 * rate:g}%", *(percent(_true_positive_rate(curve, rate)) for curve in curves.values())]
            for rate in _FALSE_POSITIVE_RATES
        ]
        title = "ROC curve: true positive rate by false positive rate"
        svg = plots.draw_roc("roc", title, [thinned(curve) for curve in curves.values()])
        note = (
            "The share of a label's examples that are found, against the share of the other examples that are mistaken for "
            f"it.{self._selection}"
        )
        return Plot("ROC", svg, note, Table(["false positive rate", *curves], rows), areas)

    def _precision_recall(self) -> Plot:
        curves = {name: precision_recall(self._predictions, name) for name in self._drawn}
        areas = [f"{name}: average precision {self._assessment.labels[name].average_precision:.4f}" for name in curves]
        rows = [
            [f"{100 * recall:g}%", *(percent(_best_precision(curve, recall)) for curve in curves.values())]
            for recall in _RECALLS
        ]
        svg = plots.draw_curves(
            "precision-recall",
            "Precision-recall curve",
            [thinned(curve) for curve in curves.values()],
            x_label="recall",
            y_label="precision",
            is_share=True,
        )
        note = (
            "The share of the examples given a label that do have it, against the share of the label's examples that are "
            f"found.{self._selection}"
        )
        return Plot("Precision and recall", svg, note, Table(["recall", *curves], rows), areas)

    @property
    def _selection(self) -> str:
        is_selection = len(self._predictions.label_names) > len(self._drawn) > 1
        return " The labels with the smallest areas are drawn." if is_selection else ""

    @cached_property
    def calibration(self) -> Plot:
        """The reliability diagram."""
        predictions = self._predictions
        logits, labels = predictions.tensors()
        bins = reliability(logits, labels, temperature=predictions.temperature)
        if predictions.temperature == 1:
            series = {"not calibrated: the temperature is 1": bins}
        else:
            series = {
                f"calibrated, temperature {predictions.temperature:.2f}": bins,
                "uncalibrated": reliability(logits, labels),
            }
        title = "Reliability diagram: accuracy by confidence"
        svg = plots.draw_reliability("calibration", title, list(series.values()))
        table = Table(
            ["confidence", "examples", "mean confidence", "accuracy"],
            [
                [_bounds(bucket), f"{bucket.count:,}", percent(bucket.confidence), percent(bucket.accuracy)]
                for bucket in bins
            ],
        )
        pairs = " Each pair of an example and a label counts as one prediction." if predictions.is_multi_label else ""
        note = (
            "On the dotted line, confidence is accuracy: of the predictions with a confidence of 80%, 80% are right. The "
            f"expected calibration error is {percent(self._assessment.calibration_error)}, and "
            f"{percent(self._assessment.uncalibrated_error)} without the temperature.{pairs}"
        )
        return Plot("Calibration", svg, note, table, list(series))


def _bounds(bucket: Bin) -> str:
    return f"{100 * bucket.low:.0f}% to {100 * bucket.high:.0f}%"


def _true_positive_rate(curve: Curve, false_positive_rate: float) -> float:
    """Return the true positive rate at a false positive rate, interpolated between the points of the curve."""
    return float(np.interp(false_positive_rate, *curve))


def _best_precision(curve: Curve, min_recall: float) -> float:
    """Return the best precision with at least this recall."""
    recalls, precisions = curve
    return float(precisions[recalls >= min_recall].max())
