"""Temperature scaling, which makes probabilities match how often the model is right (Guo et al. 2017), and its error."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from seqcls.evaluation.chunks import chunks
from seqcls.evaluation.scores import label_probabilities

NUM_BINS = 15
_SMALLEST_FACTOR, _LARGEST_FACTOR = 1e-2, 1e2  # the factor of the logits is 1 / temperature
_STEPS = 60
_TOLERANCE = 1e-10  # relative, of the factor


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
    before, after = (calibration_error(logits, labels, temperature=number) for number in (1.0, temperature))
    return Calibration(temperature, before, after) if after < before else Calibration(1.0, before, before)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature with the lowest loss (Guo et al. 2017, sec. 4.2), found by Newton's method.

    The targets allow for one more example of each class than was seen: 1 - (C - 1) / (N + C) instead of 1 (Platt 1999,
    sec. 2.2). Otherwise a split without a single mistake would ask for a temperature of 0.

    Args:
        logits: [N, C] of a validation split; the temperature is 1 if N is 0.
        labels: int64 [N], or uint8 [N, C] where an example may have several labels.
    """
    if not len(logits):
        return 1.0
    # The loss is convex in the factor, so its slope changes sign once, and the factor lies between `low` and `high`.
    low, high = math.log(_SMALLEST_FACTOR), math.log(_LARGEST_FACTOR)
    exponent, change = 0.0, high - low
    wanted = _wanted_slope(logits, labels)
    for _ in range(_STEPS):
        factor = math.exp(exponent)
        slope, curvature = _slope(logits, factor, is_multi_label=labels.ndim == 2)
        slope -= wanted
        low, high = (exponent, high) if slope < 0 else (low, exponent)
        step = -slope / (curvature * factor) if curvature > 0 else math.inf
        # Where Newton's steps leave the interval, or hardly shrink, it is halved instead.
        if not (low <= exponent + step <= high and abs(step) <= change / 2):
            step = (low + high) / 2 - exponent
        exponent, change = exponent + step, abs(step)
        if change < _TOLERANCE:
            break
    return math.exp(-exponent)


def _slope(logits: Tensor, factor: float, *, is_multi_label: bool) -> tuple[float, float]:
    """Return the sum of the probabilities of logits times ``factor``, times the logits, and its derivative by the factor."""
    slope = curvature = 0.0
    for rows in chunks(*logits.shape):
        values = logits[rows].double()
        probabilities = label_probabilities(values * factor, is_multi_label=is_multi_label)
        if is_multi_label:
            slope += float((probabilities * values).sum())
            curvature += float((probabilities * (1 - probabilities) * values.square()).sum())
        else:
            means = (probabilities * values).sum(dim=1, keepdim=True)
            slope += float(means.sum())
            curvature += float((probabilities * (values - means).square()).sum())
    return slope, curvature


def _wanted_slope(logits: Tensor, labels: Tensor) -> float:
    """Return the sum of the smoothed targets times the logits, which that of the probabilities has to equal."""
    (count, classes), total = logits.shape, 0.0
    for rows in chunks(count, classes):
        values, own = logits[rows].double(), labels[rows]
        hits = values.gather(1, own.unsqueeze(1)) if own.ndim == 1 else values * own
        total += float(count * hits.sum() + values.sum())
    return total / (count + (classes if labels.ndim == 1 else 2))


def calibration_error(logits: Tensor, labels: Tensor, *, temperature: float = 1.0) -> float:
    """Return the expected calibration error: how far confidence is from accuracy (Guo et al. 2017, eq. 3).

    Examples are sorted into 15 bins of equal width by the probability of their predicted label. The error is the mean over
    examples of the distance between the mean probability of their bin and its accuracy. Where an example may have several
    labels, each pair of an example and a label counts as one example: its probability is that of the label, and it is right
    if the example has the label.

    Args:
        logits: [N, C].
        labels: int64 [N] or uint8 [N, C].
        temperature: The logits are divided by it.
    """
    if not len(logits):
        return 0.0
    counts, confidences, hits = _binned(logits, labels, temperature)
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


def reliability(logits: Tensor, labels: Tensor, *, temperature: float = 1.0) -> list[Bin]:
    """Return the bins of `calibration_error` that hold examples; a calibrated model's confidence equals its accuracy."""
    if not len(logits):
        return []
    rows = enumerate(zip(*(sums.tolist() for sums in _binned(logits, labels, temperature)), strict=True))
    return [
        Bin(number / NUM_BINS, (number + 1) / NUM_BINS, int(count), confidence / count, hits / count)
        for number, (count, confidence, hits) in rows
        if count
    ]


def _binned(logits: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for each bin, the number of examples, the sum of their probabilities, and the number of hits: float64 [15]."""
    sums = torch.zeros(3, NUM_BINS, dtype=torch.float64)
    for rows in chunks(*logits.shape):
        probabilities = label_probabilities(logits[rows].double() / temperature, is_multi_label=labels.ndim == 2)
        if labels.ndim == 1:
            confidence, predicted = probabilities.max(dim=-1)
            is_correct = predicted == labels[rows]
        else:
            confidence, is_correct = probabilities.flatten(), labels[rows].bool().flatten()
        bins = (confidence * NUM_BINS).ceil().long().clamp(1, NUM_BINS) - 1  # (0, 1/15], (1/15, 2/15] …
        sums.index_add_(1, bins, torch.stack([torch.ones_like(confidence), confidence, is_correct.double()]))
    counts, confidences, hits = sums
    return counts, confidences, hits
