"""What a model said of labelled examples: figures beyond loss and accuracy, and a file of it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqcls.errors import DataError, MissingExtraError, UsageError
from seqcls.evaluation.calibration import calibration_error
from seqcls.evaluation.decisions import confidence, predicted_labels
from seqcls.evaluation.scores import Score, label_probabilities, score_logits
from seqcls.system.files import replacing

FORMATS = ("csv", "jsonl", "parquet")
"""The endings of files that `Predictions.write` writes."""

_DELIMITER = "|"  # between the labels of a text, in CSV
_ROWS = 10_000  # of Parquet that are made at once


@dataclass(frozen=True)
class LabelScore:
    """Figures of one label against all others.

    Attributes:
        precision: Of the examples that the model gave the label, the share that have it; 0 if there are none.
        recall: Of the examples that have it, the share to which the model gave it; 0 if there are none.
        f1: The harmonic mean of the two; 0 if both are.
        support: The number of examples that have it.
        roc_auc: The area under the ROC curve, the chance that an example with it has a higher probability than one without;
            None if there are no two such.
        average_precision: The area under the steps of the precision-recall curve; None likewise.
    """

    precision: float
    recall: float
    f1: float
    support: int
    roc_auc: float | None
    average_precision: float | None


@dataclass(frozen=True)
class Assessment:
    """Figures of a model on a split.

    Attributes:
        score: Loss and accuracy.
        macro_f1: The mean F1 of the labels.
        roc_auc: The mean area under the labels' ROC curves; None if one has none.
        calibration_error: The expected calibration error; see `seqcls.evaluation.calibration.calibration_error`.
        uncalibrated_error: The same of the logits as they are, without the model's temperature.
        labels: The figures of each label.
        confusion: Where an example has one label, how many with the label of the row got that of the column; else None.
        coverage: The share of examples that the model was sure enough of to answer; 1 without a least confidence.
        selective_accuracy: The share of those that it got right; None if it answered none.
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

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as `seqcls evaluate --json` prints them, the score's among them."""
        values = {name: value for name, value in vars(self).items() if name != "score"}
        return {**self.score.as_dict(), **values, "labels": {name: asdict(score) for name, score in self.labels.items()}}


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model said of labelled examples.

    Attributes:
        label_names: The labels, in the order of the columns.
        logits: float64 [N, C], as the model gives them.
        labels: int64 [N], or uint8 [N, C] where an example may have several.
        temperature: What the logits are divided by.
        thresholds: The probability from which on an example has a label; None where it has just one.
        texts: The texts; None if they were not asked for, or if the examples are sequences of numbers.
        seconds: What the model took for all examples, once they were encoded; None if nobody looked at the clock.
    """

    label_names: tuple[str, ...]
    logits: NDArray[np.float64]
    labels: NDArray[np.int64] | NDArray[np.uint8]
    temperature: float = 1.0
    thresholds: tuple[float, ...] | None = None
    texts: Sequence[str] | None = None
    seconds: float | None = None

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """The softmax over the calibrated logits, or the sigmoid of each, float64 [N, C]."""
        calibrated = torch.from_numpy(self.logits) / self.temperature
        return np.asarray(label_probabilities(calibrated, is_multi_label=self.thresholds is not None).numpy())

    @cached_property
    def said(self) -> NDArray[np.bool_]:
        """The labels that the model gave, bool [N, C]."""
        return predicted_labels(self.probabilities, self.thresholds)

    @property
    def true(self) -> NDArray[np.bool_]:
        """The labels that the examples have, bool [N, C]."""
        is_several = self.labels.ndim == 2
        return self.labels.astype(bool) if is_several else self.labels[:, None] == np.arange(len(self.label_names))

    @cached_property
    def is_right(self) -> NDArray[np.bool_]:
        """Whether the label, or every label, is right, bool [N]."""
        return np.asarray((self.said == self.true).all(axis=1))

    @cached_property
    def score(self) -> Score:
        """Loss and accuracy."""
        thresholds = None if self.thresholds is None else torch.tensor(self.thresholds, dtype=torch.float64)
        return score_logits(torch.from_numpy(self.logits) / self.temperature, self._label_tensor(), thresholds)

    def assess(self, *, min_confidence: float = 0.0) -> Assessment:
        """Return figures of all examples, and of those that are answered with the least confidence given."""
        labels = {
            name: _label_score(*columns)
            for name, *columns in zip(self.label_names, self.probabilities.T, self.said.T, self.true.T, strict=True)
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
            confusion=None if self.labels.ndim == 2 else (self.true.T.astype(np.int64) @ self.said).tolist(),
            coverage=float(is_sure.mean()),
            selective_accuracy=float(self.is_right[is_sure].mean()) if is_sure.any() else None,
        )

    def write(self, path: Path) -> None:
        """Write a row an example: its text, its label, the one that the model gave, its confidence and all probabilities.

        The ending of the file says the format: .csv, .jsonl, or .parquet, which needs the extra `data`. An old file is
        replaced only by a complete new one.

        Raises:
            UsageError: The name has another ending.
            MissingExtraError: pyarrow is needed and not installed.
            DataError: The file cannot be written.
        """
        write = check_format(path)
        try:
            with replacing(path) as file:
                write(self, file)
        except OSError as error:
            raise DataError(f"cannot write {path}: {error.strerror or error}") from error

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield what `write` writes of each example."""
        sure = confidence(self.probabilities, self.thresholds)
        for index, (true, said) in enumerate(zip(self.true, self.said, strict=True)):
            yield {
                **({} if self.texts is None else {"text": self.texts[index]}),
                "label": self._named(true),
                "prediction": self._named(said),
                "confidence": float(sure[index]),
                "probabilities": dict(zip(self.label_names, self.probabilities[index].tolist(), strict=True)),
            }

    def _named(self, has: NDArray[np.bool_]) -> str | list[str]:
        names = [self.label_names[number] for number in np.flatnonzero(has)]
        return names if self.labels.ndim == 2 else names[0]

    def _label_tensor(self) -> torch.Tensor:
        return torch.from_numpy(np.array(self.labels))


def _label_score(probabilities: NDArray[np.float64], said: NDArray[np.bool_], true: NDArray[np.bool_]) -> LabelScore:
    hits, given, support = int((said & true).sum()), int(said.sum()), int(true.sum())
    has_both = 0 < support < len(true)
    return LabelScore(
        precision=hits / given if given else 0.0,
        recall=hits / support if support else 0.0,
        f1=2 * hits / (given + support) if hits else 0.0,
        support=support,
        roc_auc=_roc_auc(probabilities, true) if has_both else None,
        average_precision=_average_precision(probabilities, true) if has_both else None,
    )


def _roc_auc(probabilities: NDArray[np.float64], true: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve by the Mann-Whitney statistic, equal probabilities counting a half."""
    _, place, counts = np.unique(probabilities, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[place]  # of equal ones, the mean
    positive = int(true.sum())
    return float((ranks[true].sum() - positive * (positive + 1) / 2) / (positive * (len(true) - positive)))


def _average_precision(probabilities: NDArray[np.float64], true: NDArray[np.bool_]) -> float:
    """Return the sum over thresholds of the precision there, times the recall that is gained."""
    order = np.argsort(-probabilities, kind="stable")
    ranked, hits = probabilities[order], true[order].cumsum()
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of equal ones, where all are in
    gained = np.diff(hits[last], prepend=0)
    return float((hits[last] / (last + 1) * gained).sum() / true.sum())


def check_format(path: Path) -> Callable[[Predictions, Any], None]:
    """Return what writes files of a name's ending; raises like `Predictions.write`."""
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise UsageError(
            f"{path} has no ending that tells the format; end it in {', '.join(f'.{name}' for name in FORMATS)}"
        )
    if kind == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ModuleNotFoundError:
            raise MissingExtraError("pyarrow", "data") from None
    return {"csv": _write_csv, "jsonl": _write_jsonl, "parquet": _write_parquet}[kind]


def _write_csv(predictions: Predictions, file: Any) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="")
    writer = csv.writer(text)
    for number, row in enumerate(map(_flat, predictions.rows())):
        if not number:
            writer.writerow(row)
        writer.writerow(_DELIMITER.join(value) if isinstance(value, list) else value for value in row.values())
    text.detach()


def _write_jsonl(predictions: Predictions, file: Any) -> None:
    for row in predictions.rows():
        line = json.dumps(row, ensure_ascii=False)
        try:
            file.write(f"{line}\n".encode())
        except UnicodeEncodeError:  # half a pair of surrogates is no text, but valid JSON when it is escaped
            file.write(f"{json.dumps(row)}\n".encode())


def _write_parquet(predictions: Predictions, file: Any) -> None:
    import pyarrow
    from pyarrow import parquet

    several = predictions.labels.ndim == 2
    label = pyarrow.list_(pyarrow.string()) if several else pyarrow.string()
    names = [] if predictions.texts is None else [("text", pyarrow.string())]
    names += [("label", label), ("prediction", label), ("confidence", pyarrow.float64())]
    names += [(f"probability_{name}", pyarrow.float64()) for name in predictions.label_names]
    schema = pyarrow.schema(names)
    rows: list[dict[str, Any]] = []
    with parquet.ParquetWriter(file, schema) as writer:
        for row in predictions.rows():
            if "text" in row:
                row["text"] = row["text"].encode("utf-8", errors="replace").decode()
            rows.append(_flat(row))
            if len(rows) == _ROWS:
                writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
                rows = []
        writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with a column a probability."""
    found = dict(row)
    found |= {f"probability_{name}": value for name, value in found.pop("probabilities").items()}
    return found
