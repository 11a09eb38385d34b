"""What a report says of the model's answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from markupsafe import Markup

from seqcls.apps.report import plots
from seqcls.apps.report.collect import Answers, Mistake
from seqcls.apps.report.figures import (
    Curve,
    Group,
    accuracy_by,
    confusions,
    precision_recall,
    roc,
    thinned,
)
from seqcls.apps.report.parts import Plot, Table, percent
from seqcls.evaluation.assessment import Assessment
from seqcls.evaluation.calibration import Bin, reliability
from seqcls.evaluation.intervals import Interval, LabelIntervals, accuracy_interval, label_intervals

_MOST_CELLS = 12  # labels whose confusion matrix is a table; of more it is a plot
_MOST_DRAWN = 200  # of still more it is not drawn
_CONFUSIONS = 20
_RATES, _RECALLS = (0.01, 0.05, 0.1, 0.2), (0.5, 0.8, 0.9, 0.95, 0.99)


class Judgement:
    """What the page says of the model's answers."""

    def __init__(self, answers: Answers, *, is_text: bool) -> None:
        self.answers = answers
        self.predictions = answers.predictions
        self._is_text = is_text

    @cached_property
    def assessment(self) -> Assessment:
        """The figures that `seqcls evaluate` prints."""
        return self.predictions.assess()

    @cached_property
    def accuracy(self) -> Interval:
        """The accuracy with its interval."""
        return accuracy_interval(self.predictions)

    @cached_property
    def intervals(self) -> list[tuple[str, LabelIntervals, int, float | None]]:
        """Each label with its figures, its number of examples, and the area under its ROC curve; the least F1 first."""
        scores, found = self.assessment.labels, label_intervals(self.predictions)
        rows = [(name, found[name], scores[name].support, scores[name].roc_auc) for name in found]
        return sorted(rows, key=lambda row: row[1].f1.value)

    @cached_property
    def cells(self) -> list[tuple[str, list[tuple[int, float]]]] | None:
        """The confusion matrix as a table, where the labels are few: each row's label, and counts and shares of the row."""
        matrix = self.assessment.confusion
        if matrix is None or len(matrix) > _MOST_CELLS:
            return None
        return [
            (name, [(count, count / max(1, sum(row))) for count in row])
            for name, row in zip(self.predictions.label_names, matrix, strict=True)
        ]

    @cached_property
    def matrix(self) -> Markup | None:
        """The confusion matrix as a plot, where the labels are more."""
        confusion = self.assessment.confusion
        if confusion is None or not _MOST_CELLS < len(confusion) <= _MOST_DRAWN:
            return None
        counts = np.array(confusion)
        shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
        title = "Confusion matrix: the shade is the share of a label's examples; the commonest confusions follow as a table"
        return plots.draw_confusion("confusion", title, shares, self.predictions.label_names)

    @cached_property
    def confusions(self) -> Table | None:
        """The commonest mistakes; None where an example may have several labels."""
        if self.assessment.confusion is None:
            return None
        rows = confusions(self.assessment, _CONFUSIONS)
        supports = self.assessment.labels
        return Table(
            ["label", "said", "examples", "of the label"],
            [[true, said, f"{count:,}", f"{100 * count / supports[true].support:.1f}%"] for true, said, count in rows],
        )

    @cached_property
    def counts(self) -> Table | None:
        """Where an example may have several labels, how often each was rightly and wrongly said; else None."""
        if self.assessment.confusion is not None:
            return None
        true, said = self.predictions.true, self.predictions.predicted
        columns = [(true & said), (~true & said), (true & ~said), (~true & ~said)]
        rows = [
            [name, *(f"{int(column[:, number].sum()):,}" for column in columns)]
            for number, name in enumerate(self.predictions.label_names)
        ]
        return Table(["label", "has it, said", "not, but said", "has it, not said", "neither"], rows)

    @cached_property
    def drawn(self) -> list[str]:
        """The labels whose curves are drawn: of two the second, of many those with the least area under the ROC curve."""
        areas = {name: score.roc_auc for name, score in self.assessment.labels.items() if score.roc_auc is not None}
        if len(self.predictions.label_names) == 2 and self.predictions.thresholds is None:
            return list(areas)[1:]
        ranked = sorted(areas, key=lambda name: areas[name] or 0.0)[: plots.NUM_SERIES]
        return [name for name in areas if name in ranked]

    @cached_property
    def tradeoffs(self) -> list[Plot]:
        """The ROC and the precision-recall curves."""
        return [self._roc(), self._precision_recall()] if self.drawn else []

    def _roc(self) -> Plot:
        curves = {name: roc(self.predictions, name) for name in self.drawn}
        areas = [f"{name}: area {self.assessment.labels[name].roc_auc:.4f}" for name in curves]
        rows = [[f"{100 * rate:g}%", *(f"{100 * _at(curve, rate):.1f}%" for curve in curves.values())] for rate in _RATES]
        title = "ROC curve: true positive rate by false positive rate"
        svg = plots.draw_roc("roc", title, [thinned(curve) for curve in curves.values()])
        note = f"{self._which}The share of a label's examples that are found, by the share of others that are taken for it."
        return Plot("ROC", svg, note, Table(["false positive rate", *curves], rows), areas)

    def _precision_recall(self) -> Plot:
        curves = {name: precision_recall(self.predictions, name) for name in self.drawn}
        areas = [f"{name}: average precision {self.assessment.labels[name].average_precision:.4f}" for name in curves]
        rows = [
            [f"{100 * recall:g}%", *(f"{100 * _best_beyond(curve, recall):.1f}%" for curve in curves.values())]
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
            f"{self._which}How many of those that are given the label have it, by how many of those that have it are found."
        )
        return Plot("Precision and recall", svg, note, Table(["recall", *curves], rows), areas)

    @property
    def _which(self) -> str:
        several = len(self.predictions.label_names) > len(self.drawn) > 1
        return "The labels with the least area are drawn. " if several else ""

    @cached_property
    def calibration(self) -> Plot:
        """How far confidence can be believed."""
        predictions = self.predictions
        logits, labels = torch.from_numpy(predictions.logits), torch.from_numpy(np.array(predictions.labels))
        series = {
            f"with the temperature of {predictions.temperature:.2f}": reliability(logits / predictions.temperature, labels)
        }
        if predictions.temperature != 1:
            series["without it"] = reliability(logits, labels)
        else:
            series = {"as the model is, its temperature being 1": next(iter(series.values()))}
        svg = plots.draw_reliability(
            "calibration", "Reliability diagram: share that is right by confidence", list(series.values())
        )
        bins = next(iter(series.values()))
        table = Table(
            ["confidence", "examples", "mean confidence", "right"],
            [[_span(found), f"{found.count:,}", percent(found.confidence), percent(found.accuracy)] for found in bins],
        )
        pairs = "" if predictions.thresholds is None else " Each pair of an example and a label counts."
        note = (
            "On the dotted line confidence is what it says: of answers with 80%, 8 in 10 are right. The expected "
            f"calibration error is {percent(self.assessment.calibration_error)}, without the temperature "
            f"{percent(self.assessment.uncalibrated_error)}.{pairs}"
        )
        return Plot("Calibration", svg, note, table, list(series))

    @cached_property
    def groups(self) -> list[Plot]:
        """Accuracy by the length of sequences, and by the share of unknown words."""
        unit = "tokens" if self._is_text else "steps"
        lengths = accuracy_by(self.answers.lengths, self.predictions)
        names = [_range(f"{group.low:,.0f}", f"{group.high:,.0f}") for group in lengths]
        note = (
            "Lengths are those of whole texts; the model reads no more of them than its settings say."
            if self._is_text
            else ""
        )
        found = [self._grouped("length", f"Accuracy by length, in {unit}", lengths, names, unit, note)]
        if self.answers.unknown_rates is not None:
            rates = accuracy_by(self.answers.unknown_rates, self.predictions)
            names = [_range(*(f"{100 * value:.1f}" for value in (group.low, group.high))) + " %" for group in rates]
            note = "Words that the vocabulary lacks all look the same to the model."
            found.append(self._grouped("unknown", "Accuracy by share of unknown tokens", rates, names, "unknown", note))
        return found

    def _grouped(self, name: str, title: str, groups: Sequence[Group], names: Sequence[str], head: str, note: str) -> Plot:
        svg = plots.draw_groups(f"by-{name}", title, groups, names, overall=self.accuracy.value)
        rows = [[label, f"{group.count:,}", group.accuracy.in_percent()] for label, group in zip(names, groups, strict=True)]
        dotted = "The dotted line is the accuracy on all."
        return Plot(title, svg, f"{note} {dotted}".strip(), Table([head, "examples", "accuracy"], rows))

    def mistakes(self) -> Iterator[tuple[Mistake, Markup]]:
        """Yield the worst mistakes, each with its text, in which the words are marked."""
        for mistake in self.answers.mistakes:
            yield mistake, Markup(mistake.explanation.to_html())  # noqa: S704  (it escapes the text)  # nosec B704


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _span(found: Bin) -> str:
    return f"{100 * found.low:.0f} to {100 * found.high:.0f}%"


def _at(curve: Curve, rate: float) -> float:
    """Return the true positive rate at a false positive rate, between the points of the curve."""
    return float(np.interp(rate, *curve))


def _best_beyond(curve: Curve, recall: float) -> float:
    """Return the best precision with at least so much recall."""
    recalls, precisions = curve
    return float(precisions[recalls >= recall].max())
