"""Temperature scaling, which makes probabilities match how often the model is right (Guo et al. 2017), and its error."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seqcls.evaluation.scores import label_probabilities

NUM_BINS = 15
_SMALLEST_FACTOR, _LARGEST_FACTOR = 1e-2, 1e2  # the factor of the logits is 1 / temperature
_BISECTIONS = 50


@dataclass(frozen=True)
class Calibration:
    """A temperature fitted to the validation split.

    Attributes:
        temperature: Logits are divided by it.
        error_before: The expected calibration error on validation without the temperature.
        error_after: The expected calibration error on validation with it.
    """

    temperature: float
    error_before: float
    error_after: float

    def as_dict(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


def calibrate(logits: Tensor, labels: Tensor) -> Calibration:
    """Fit a temperature to a validation split; see `fit_temperature` for the arguments.

    The temperature with the lowest loss is kept only if it lowers the calibration error, and is 1 otherwise. If a model
    makes few mistakes, and is least sure of those, then the lowest loss may ask for more confidence than is justified.
    """
    temperature = fit_temperature(logits, labels)
    before, after = (calibration_error(scaled, labels) for scaled in (logits, logits / temperature))
    return Calibration(temperature, before, after) if after < before else Calibration(1.0, before, before)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature with the lowest loss (Guo et al. 2017, sec. 4.2).

    The targets allow for one more example of each class than was seen: 1 - (C - 1) / (N + C) instead of 1 (Platt 1999,
    sec. 2.2). Otherwise a split without a single mistake would ask for a temperature of 0.

    Args:
        logits: [N, C] of a validation split; the temperature is 1 if N is 0.
        labels: int64 [N], or uint8 [N, C] where an example may have several labels.
    """
    if not len(logits):
        return 1.0
    values, targets = logits.double(), _smoothed_targets(logits, labels)
    low, high = torch.tensor([_SMALLEST_FACTOR, _LARGEST_FACTOR], dtype=torch.float64).log()
    for _ in range(_BISECTIONS):  # the loss is convex in the factor, so its slope changes sign once
        middle = (low + high) / 2
        scaled = values * middle.exp()
        probabilities = label_probabilities(scaled, is_multi_label=labels.ndim == 2)
        if ((probabilities - targets) * values).sum() < 0:
            low = middle
        else:
            high = middle
    return float((-middle).exp())


def _smoothed_targets(logits: Tensor, labels: Tensor) -> Tensor:
    count, classes = logits.shape
    if labels.ndim == 1:
        return (F.one_hot(labels, classes) * count + 1).double() / (count + classes)
    return (labels.double() * count + 1) / (count + 2)


def calibration_error(logits: Tensor, labels: Tensor) -> float:
    """Return the expected calibration error: how far confidence is from accuracy (Guo et al. 2017, eq. 3).

    Examples are sorted into 15 bins of equal width by the probability of their predicted label. The error is the mean over
    examples of the distance between the mean probability of their bin and its accuracy. Where an example may have several
    labels, each pair of an example and a label counts as one example: its probability is that of the label, and it is right
    if the example has the label.

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
    """The examples whose predicted label has a probability in (low, high].

    Attributes:
        low: The lower bound, exclusive.
        high: The upper bound, inclusive.
        count: The number of examples.
        confidence: The mean probability of their predicted labels.
        accuracy: The share of them that is predicted correctly.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(logits: Tensor, labels: Tensor) -> list[Bin]:
    """Return the bins of `calibration_error` that hold examples; a calibrated model's confidence equals its accuracy."""
    if not len(logits):
        return []
    rows = enumerate(zip(*(sums.tolist() for sums in _binned(logits, labels)), strict=True))
    return [
        Bin(number / NUM_BINS, (number + 1) / NUM_BINS, int(count), confidence / count, hits / count)
        for number, (count, confidence, hits) in rows
        if count
    ]


def _binned(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for each bin, the number of examples, the sum of their probabilities, and the number of hits: float64 [15]."""
    probabilities = label_probabilities(logits.double(), is_multi_label=labels.ndim == 2)
    if labels.ndim == 1:
        confidence, predicted = probabilities.max(dim=-1)
        is_correct = predicted == labels
    else:
        confidence, is_correct = probabilities.flatten(), labels.bool().flatten()
    bins = (confidence * NUM_BINS).ceil().long().clamp(1, NUM_BINS) - 1  # (0, 1/15], (1/15, 2/15] …
    counts, confidences, hits = (
        torch.zeros(NUM_BINS, dtype=torch.float64).index_add_(0, bins, values)
        for values in (torch.ones_like(confidence), confidence, is_correct.double())
    )
    return counts, confidences, hits
