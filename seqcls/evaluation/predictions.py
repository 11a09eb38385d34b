"""A model's predictions for labelled examples, from which its figures are computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqcls.evaluation.assessment import Assessment, LabelScore, count_cells, score_label
from seqcls.evaluation.calibration import calibration_error
from seqcls.evaluation.chunks import chunks
from seqcls.evaluation.decisions import confidence, predicted_labels
from seqcls.evaluation.prediction_files import Row, check_format, flat, write_rows
from seqcls.evaluation.scores import Score, score_logits
from seqcls.system.deprecation import warn_renamed

_ALL = slice(None)


class LabelCounts(NamedTuple):
    """How often each of C labels was predicted and true, each int64 [C]."""

    hits: NDArray[np.int64]
    """The number of examples that have the label and were given it."""
    predicted: NDArray[np.int64]
    """The number of examples that were given the label."""
    support: NDArray[np.int64]
    """The number of examples that have the label."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's predictions for N labelled examples.

    With many labels, tables of examples by labels are large. The figures are computed from parts of them, and only the
    attributes ``probabilities``, ``predicted`` and ``true`` make whole ones.

    Attributes:
        label_names: The C labels, in the order of the columns.
        logits: float32 or float64 [N, C], not divided by the temperature. What is computed from them is float64.
        labels: int64 [N], or uint8 [N, C] where an example may have several labels.
        temperature: The logits are divided by it.
        thresholds: The probability from which an example gets a label, one per label; None where it has exactly one label.
        texts: The texts; None if they were not asked for, or if the examples are sequences of numbers.
        seconds: The time that the model took for all examples, without encoding them; None if it was not measured.
    """

    label_names: tuple[str, ...]
    logits: NDArray[np.float32] | NDArray[np.float64]
    labels: NDArray[np.int64] | NDArray[np.uint8]
    temperature: float = 1.0
    thresholds: tuple[float, ...] | None = None
    texts: Sequence[str] | None = None
    seconds: float | None = None

    def __repr__(self) -> str:
        labels = ", ".join(map(repr, self.label_names[:3])) + (", …" if len(self.label_names) > 3 else "")
        return f"Predictions({len(self.labels):,} examples, {len(self.label_names)} labels ({labels}), {self.score!r})"

    @property
    def is_multi_label(self) -> bool:
        """Whether an example may have several labels, or none."""
        return self.labels.ndim == 2

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """The calibrated probability of each label, float64 [N, C]: softmax, or the sigmoid where there are thresholds."""
        return self.probabilities_of()

    def probabilities_of(self, rows: slice = _ALL, columns: slice = _ALL) -> NDArray[np.float64]:
        """Return the part of `probabilities` that belongs to some examples and some labels."""
        scaled = self._scaled(rows, columns)
        if self.thresholds is not None:
            return np.asarray(scaled.sigmoid_().numpy())
        largest, totals, _ = self._softmax
        return np.asarray(scaled.sub_(largest[rows, None]).exp_().div_(totals[rows, None]).numpy())

    def _scaled(self, rows: slice, columns: slice = _ALL) -> Tensor:
        """Return a new tensor of logits divided by the temperature, float64."""
        return torch.from_numpy(self.logits)[rows, columns].to(torch.float64, copy=True).div_(self.temperature)

    @cached_property
    def _softmax(self) -> tuple[Tensor, Tensor, NDArray[np.int64]]:
        """The largest logit of each example, float64 [N], the sum of exp(logit - largest), and the most probable label."""
        count = len(self.logits)
        largest, totals = torch.empty(2, count, dtype=torch.float64)
        labels = torch.empty(count, dtype=torch.int64)
        for rows in chunks(*self.logits.shape):
            scaled = self._scaled(rows)
            torch.max(scaled, dim=1, out=(largest[rows], labels[rows]))
            totals[rows] = scaled.sub_(largest[rows, None]).exp_().sum(dim=1)
        return largest, totals, labels.numpy()

    @property
    def predicted(self) -> NDArray[np.bool_]:
        """Whether the model gave each label, bool [N, C]."""
        return self.predicted_of(_ALL)

    def predicted_of(self, rows: slice) -> NDArray[np.bool_]:
        """Return the rows of `predicted` that belong to some examples."""
        if self.thresholds is None:
            return self._one_hot(self.predicted_labels[rows])
        return predicted_labels(self.probabilities_of(rows), self.thresholds)

    @property
    def predicted_labels(self) -> NDArray[np.int64]:
        """The most probable label of each example, int64 [N], where an example has exactly one label."""
        return self._softmax[2]

    @property
    def true(self) -> NDArray[np.bool_]:
        """Whether the example has each label, bool [N, C]."""
        return self.true_of(_ALL)

    def true_of(self, rows: slice) -> NDArray[np.bool_]:
        """Return the rows of `true` that belong to some examples."""
        return self.labels[rows].astype(bool) if self.is_multi_label else self._one_hot(self.labels[rows])

    def _one_hot(self, labels: NDArray[Any]) -> NDArray[np.bool_]:
        return np.asarray(labels[:, None] == np.arange(len(self.label_names)))

    def has_label(self, label: int) -> NDArray[np.bool_]:
        """Return whether each example has a label, bool [N]: a column of `true`."""
        return np.asarray(self.labels[:, label] == 1 if self.is_multi_label else self.labels == label)

    @cached_property
    def is_correct(self) -> NDArray[np.bool_]:
        """Whether the label, or every label, is right, bool [N]."""
        if not self.is_multi_label:
            return np.asarray(self.predicted_labels == self.labels)
        is_correct = np.empty(len(self.labels), dtype=bool)
        for rows in chunks(*self.labels.shape):
            is_correct[rows] = (self.predicted_of(rows) == self.true_of(rows)).all(axis=1)
        return is_correct

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """The probability that the decision about each example is right, float64 [N]; see `decisions.confidence`."""
        if self.thresholds is None:
            return np.asarray(1 / self._softmax[1].numpy())  # exp(largest - largest) / total
        sure = np.empty(len(self.logits))
        for rows in chunks(*self.logits.shape):
            sure[rows] = confidence(self.probabilities_of(rows), self.thresholds)
        return sure

    @cached_property
    def label_counts(self) -> LabelCounts:
        """How often each label was predicted and true."""
        size = len(self.label_names)
        if not self.is_multi_label:
            columns = (self.labels[self.is_correct], self.predicted_labels, self.labels)
            return LabelCounts(*(np.bincount(column, minlength=size) for column in columns))
        counts = np.zeros((3, size), dtype=np.int64)
        for rows in chunks(*self.labels.shape):
            predicted, true = self.predicted_of(rows), self.true_of(rows)
            counts += [table.sum(axis=0) for table in (predicted & true, predicted, true)]
        return LabelCounts(*counts)

    @property
    def said(self) -> NDArray[np.bool_]:
        """Deprecated: `predicted`."""
        warn_renamed("Predictions.said is now predicted")
        return self.predicted

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """Deprecated: `is_correct`."""
        warn_renamed("Predictions.is_right is now is_correct")
        return self.is_correct

    @cached_property
    def score(self) -> Score:
        """Loss and accuracy."""
        thresholds = None if self.thresholds is None else torch.tensor(self.thresholds, dtype=torch.float64)
        return score_logits(*self.tensors(), thresholds, temperature=self.temperature)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return logits and labels as tensors."""
        return torch.from_numpy(self.logits), torch.from_numpy(np.array(self.labels))

    def assess(self, *, min_confidence: float = 0.0) -> Assessment:
        """Return all figures, those of the single labels included.

        Args:
            min_confidence: The model answers examples with at least this confidence; only ``coverage`` and
                ``selective_accuracy`` depend on it. See `seqcls.evaluation.decisions.confidence`.
        """
        labels = dict(zip(self.label_names, self._label_scores(), strict=True))
        areas = [label.roc_auc for label in labels.values() if label.roc_auc is not None]
        is_sure = self.confidence >= min_confidence
        return Assessment(
            score=self.score,
            macro_f1=self.score.figure("f1"),
            roc_auc=float(np.mean(areas)) if len(areas) == len(labels) else None,
            calibration_error=calibration_error(*self.tensors(), temperature=self.temperature),
            uncalibrated_error=calibration_error(*self.tensors()),
            labels=labels,
            cells=None if self.is_multi_label else count_cells(self.labels, self.predicted_labels, len(labels)),
            coverage=float(is_sure.mean()),
            selective_accuracy=float(self.is_correct[is_sure].mean()) if is_sure.any() else None,
        )

    def _label_scores(self) -> Iterator[LabelScore]:
        """Yield the figures of each label; probabilities are sorted for some labels at a time."""
        counts = zip(*(column.tolist() for column in self.label_counts), strict=True)
        # The examples of each label, label by label; where there is exactly one label, without a table.
        order = None if self.is_multi_label else np.argsort(self.labels, kind="stable")
        starts = np.cumsum(self.label_counts.support) - self.label_counts.support
        for columns in chunks(len(self.label_names), len(self.labels)):
            table = np.ascontiguousarray(self.probabilities_of(_ALL, columns).T)
            for label, probabilities in enumerate(table, start=columns.start):
                hits, predicted, support = next(counts)
                start = starts[label]
                members = np.flatnonzero(self.has_label(label)) if order is None else order[start : start + support]
                yield score_label(probabilities, members, hits=hits, predicted=predicted)

    def write(self, path: Path) -> None:
        """Write one row per example: its text, its label, the prediction, the confidence and all probabilities.

        The extension of the file tells the format: .csv, .jsonl, or .parquet, which needs the extra `data`. An existing file
        is replaced only by a complete new one.

        Raises:
            UsageError: The file has another extension.
            MissingExtraError: The format is Parquet, and pyarrow is not installed.
            DataError: The file cannot be written.
        """
        text = [] if self.texts is None else ["text"]
        probabilities = [f"probability_{name}" for name in self.label_names]
        rows = self.rows() if check_format(path) == "jsonl" else map(flat, self.rows())
        write_rows(rows, path, [*text, "label", "prediction", "confidence", *probabilities])

    def rows(self) -> Iterator[Row]:
        """Yield the rows that `write` writes."""
        for rows in chunks(*self.logits.shape):
            for index, probabilities in enumerate(self.probabilities_of(rows).tolist(), start=rows.start):
                true, predicted = self.names_of(index)
                yield {
                    **({} if self.texts is None else {"text": self.texts[index]}),
                    "label": list(true) if self.is_multi_label else true[0],
                    "prediction": list(predicted) if self.is_multi_label else predicted[0],
                    "confidence": float(self.confidence[index]),
                    "probabilities": dict(zip(self.label_names, probabilities, strict=True)),
                }

    def names_of(self, index: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the names of an example's labels, and of those that it was given."""
        if not self.is_multi_label:
            return (self.label_names[self.labels[index]],), (self.label_names[self.predicted_labels[index]],)
        row = slice(index, index + 1)
        true, predicted = (np.flatnonzero(table).tolist() for table in (self.true_of(row), self.predicted_of(row)))
        return tuple(self.label_names[label] for label in true), tuple(self.label_names[label] for label in predicted)
