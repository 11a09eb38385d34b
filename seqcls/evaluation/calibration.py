"""Probabilities that mean what they say: one temperature for all logits, fitted on validation (Guo et al. 2017)."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seqcls.evaluation.scores import label_probabilities

NUM_BINS = 15
# Logits are multiplied by 1 / temperature, which is looked for between these.
_LEAST, _MOST = 1e-2, 1e2
_HALVINGS = 50


@dataclass(frozen=True)
class Calibration:
    """What fitting a temperature came to.

    Attributes:
        temperature: What the logits are divided by.
        error_before: The expected calibration error on validation without it.
        error_after: The same with it.
    """

    temperature: float
    error_before: float
    error_after: float

    def as_dict(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


def calibrate(logits: Tensor, labels: Tensor) -> Calibration:
    """Fit a temperature to a validation split; see `fit_temperature` for the arguments.

    The temperature of least loss is kept only if the calibration error falls with it: of a model whose few mistakes are
    those it is least sure of, the loss may ask for more confidence than is honest. Else it is 1.
    """
    temperature = fit_temperature(logits, labels)
    before, after = (calibration_error(scaled, labels) for scaled in (logits, logits / temperature))
    return Calibration(temperature, before, after) if after < before else Calibration(1.0, before, before)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature with which the logits' loss is least (Guo et al. 2017, sec. 4.2).

    The loss is against targets that allow for one more example of each class than was seen, 1 - (C - 1) / (N + C) in place
    of 1 (Platt 1999, sec. 2.2): else a split without a single mistake would ask for a temperature of 0.

    Args:
        logits: [N, C] of a validation split; 1 is returned if N is 0.
        labels: int64 [N], or uint8 [N, C] where a text may have several labels.
    """
    if not len(logits):
        return 1.0
    values, targets = logits.double(), _soft_targets(logits, labels)
    least, most = torch.tensor([_LEAST, _MOST], dtype=torch.float64).log()
    for _ in range(_HALVINGS):  # the loss is convex in the factor, so that its slope changes sign once
        middle = (least + most) / 2
        scaled = values * middle.exp()
        probabilities = label_probabilities(scaled, is_multi_label=labels.ndim == 2)
        if ((probabilities - targets) * values).sum() < 0:
            least = middle
        else:
            most = middle
    return float((-middle).exp())


def _soft_targets(logits: Tensor, labels: Tensor) -> Tensor:
    count, classes = logits.shape
    if labels.ndim == 1:
        return (F.one_hot(labels, classes) * count + 1).double() / (count + classes)
    return (labels.double() * count + 1) / (count + 2)


def calibration_error(logits: Tensor, labels: Tensor) -> float:
    """Return the expected calibration error, by how much confidence and accuracy differ (Guo et al. 2017, eq. 3).

    Examples are put into 15 bins of equal width by the probability of their label; the error is the mean over examples of
    the distance between their bin's mean probability and its share of right labels. Where a text may have several labels,
    each pair of text and label is one example, with the label's probability and whether the text has it.

    Args:
        logits: [N, C].
        labels: int64 [N] or uint8 [N, C].
    """
    if not len(logits):
        return 0.0
    counts, confidences, hits = _binned(logits, labels)
    return float((confidences - hits).abs().sum() / counts.sum())


@dataclass(frozen=True)
class Bin:
    """The examples whose label has a probability above ``low``, up to ``high``."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(logits: Tensor, labels: Tensor) -> list[Bin]:
    """Return the bins of `calibration_error` that hold examples: where probabilities are honest, confidence is accuracy."""
    if not len(logits):
        return []
    rows = enumerate(zip(*(sums.tolist() for sums in _binned(logits, labels)), strict=True))
    return [
        Bin(number / NUM_BINS, (number + 1) / NUM_BINS, int(count), confidence / count, hits / count)
        for number, (count, confidence, hits) in rows
        if count
    ]


def _binned(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return of each bin the number of examples, the sum of their probabilities, and how many are right: float64 [15]."""
    probabilities = label_probabilities(logits.double(), is_multi_label=labels.ndim == 2)
    if labels.ndim == 1:
        confidence, predicted = probabilities.max(dim=-1)
        is_right = predicted == labels
    else:
        confidence, is_right = probabilities.flatten(), labels.bool().flatten()
    bins = (confidence * NUM_BINS).ceil().long().clamp(1, NUM_BINS) - 1  # (0, 1/15], (1/15, 2/15] …
    counts, confidences, hits = (
        torch.zeros(NUM_BINS, dtype=torch.float64).index_add_(0, bins, values)
        for values in (torch.ones_like(confidence), confidence, is_right.double())
    )
    return counts, confidences, hits
