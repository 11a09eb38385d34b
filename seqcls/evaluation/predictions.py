"""A model's predictions for labelled examples, from which its figures are computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from seqcls.evaluation.assessment import Assessment, score_label
from seqcls.evaluation.calibration import calibration_error
from seqcls.evaluation.decisions import confidence, predicted_labels
from seqcls.evaluation.prediction_files import Columns, Row, write_rows
from seqcls.evaluation.scores import Score, label_probabilities, score_logits
from seqcls.system.deprecation import warn_renamed


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's predictions for N labelled examples.

    Attributes:
        label_names: The C labels, in the order of the columns.
        logits: float64 [N, C], not divided by the temperature.
        labels: int64 [N], or uint8 [N, C] where an example may have several labels.
        temperature: The logits are divided by it.
        thresholds: The probability from which an example gets a label, one per label; None where it has exactly one label.
        texts: The texts; None if they were not asked for, or if the examples are sequences of numbers.
        seconds: The time that the model took for all examples, without encoding them; None if it was not measured.
    """

    label_names: tuple[str, ...]
    logits: NDArray[np.float64]
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
        calibrated = torch.from_numpy(self.logits) / self.temperature
        return np.asarray(label_probabilities(calibrated, is_multi_label=self.thresholds is not None).numpy())

    @cached_property
    def predicted(self) -> NDArray[np.bool_]:
        """Whether the model gave each label, bool [N, C]."""
        return predicted_labels(self.probabilities, self.thresholds)

    @property
    def true(self) -> NDArray[np.bool_]:
        """Whether the example has each label, bool [N, C]."""
        return self.labels.astype(bool) if self.is_multi_label else self.labels[:, None] == np.arange(len(self.label_names))

    @cached_property
    def is_correct(self) -> NDArray[np.bool_]:
        """Whether the label, or every label, is right, bool [N]."""
        return np.asarray((self.predicted == self.true).all(axis=1))

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
        return score_logits(torch.from_numpy(self.logits) / self.temperature, self._label_tensor(), thresholds)

    def assess(self, *, min_confidence: float = 0.0) -> Assessment:
        """Return all figures, those of the single labels included.

        Args:
            min_confidence: The model answers examples with at least this confidence; only ``coverage`` and
                ``selective_accuracy`` depend on it. See `seqcls.evaluation.decisions.confidence`.
        """
        labels = {
            name: score_label(*columns)
            for name, *columns in zip(self.label_names, self.probabilities.T, self.predicted.T, self.true.T, strict=True)
        }
        areas = [label.roc_auc for label in labels.values() if label.roc_auc is not None]
        is_sure = confidence(self.probabilities, self.thresholds) >= min_confidence
        logits, true = torch.from_numpy(self.logits), self._label_tensor()
        return Assessment(
            score=self.score,
            macro_f1=float(np.mean([label.f1 for label in labels.values()])),
            roc_auc=float(np.mean(areas)) if len(areas) == len(labels) else None,
            calibration_error=calibration_error(logits / self.temperature, true),
            uncalibrated_error=calibration_error(logits, true),
            labels=labels,
            confusion=None if self.is_multi_label else (self.true.T.astype(np.int64) @ self.predicted).tolist(),
            coverage=float(is_sure.mean()),
            selective_accuracy=float(self.is_correct[is_sure].mean()) if is_sure.any() else None,
        )

    def write(self, path: Path) -> None:
        """Write one row per example: its text, its label, the prediction, the confidence and all probabilities.

        The extension of the file tells the format: .csv, .jsonl, or .parquet, which needs the extra `data`. An existing file
        is replaced only by a complete new one.

        Raises:
            UsageError: The file has another extension.
            MissingExtraError: The format is Parquet, and pyarrow is not installed.
            DataError: The file cannot be written.
        """
        columns = Columns(self.label_names, has_text=self.texts is not None, is_multi_label=self.is_multi_label)
        write_rows(self.rows(), path, columns)

    def rows(self) -> Iterator[Row]:
        """Yield the rows that `write` writes."""
        confidences = confidence(self.probabilities, self.thresholds)
        for index, (true, predicted) in enumerate(zip(self.true, self.predicted, strict=True)):
            yield {
                **({} if self.texts is None else {"text": self.texts[index]}),
                "label": self._names(true),
                "prediction": self._names(predicted),
                "confidence": float(confidences[index]),
                "probabilities": dict(zip(self.label_names, self.probabilities[index].tolist(), strict=True)),
            }

    def _names(self, has_label: NDArray[np.bool_]) -> str | list[str]:
        names = [self.label_names[number] for number in np.flatnonzero(has_label)]
        return names if self.is_multi_label else names[0]

    def _label_tensor(self) -> torch.Tensor:
        return torch.from_numpy(np.array(self.labels))
