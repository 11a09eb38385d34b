"""From logits to probabilities to labels, in NumPy alone, so that it also runs where torch is not installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


def label_probabilities(logits: NDArray[Any], *, temperature: float = 1.0, is_multi_label: bool) -> NDArray[Any]:
    """Return the probability of each label, [N, C] in the dtype of the logits [N, C].

    With one label per example, this is softmax(logits / temperature), whose rows sum to 1; with several, the sigmoid of
    each. `seqcls.evaluation.scores` has the same function for tensors.
    """
    scaled = logits / logits.dtype.type(temperature)
    if is_multi_label:
        return np.asarray(0.5 * (np.tanh(0.5 * scaled) + 1))  # 1 / (1 + exp(-x)) would overflow
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def decide(
    probabilities: NDArray[Any],
    labels: Sequence[T],
    thresholds: Sequence[float] | None,
    *,
    min_confidence: float = 0.0,
) -> list[T | None] | list[tuple[T, ...] | None]:
    """Return each example's label, or the tuple of its labels.

    The label is the most probable one. Where an example may have several labels, it has those whose probability reaches
    their threshold.

    Args:
        probabilities: float [N, C].
        labels: The C labels, or their names.
        thresholds: One probability per label; None where an example has exactly one label.
        min_confidence: An example whose `confidence` is lower gets None.
    """
    is_sure = confidence(probabilities, thresholds) >= min_confidence
    if thresholds is None:
        best = probabilities.argmax(axis=1).tolist()
        return [labels[index] if sure else None for index, sure in zip(best, is_sure, strict=True)]
    predicted = predicted_labels(probabilities, thresholds)
    return [
        tuple(labels[index] for index in np.flatnonzero(row).tolist()) if sure else None
        for row, sure in zip(predicted, is_sure, strict=True)
    ]


def predicted_labels(probabilities: NDArray[Any], thresholds: Sequence[float] | None) -> NDArray[np.bool_]:
    """Return whether each example gets each label, bool [N, C]: the most probable one, or all that reach their threshold."""
    if thresholds is None:
        return np.asarray(probabilities.argmax(axis=1)[:, None] == np.arange(probabilities.shape[1]))
    return np.asarray(probabilities >= np.asarray(thresholds))


def confidence(probabilities: NDArray[Any], thresholds: Sequence[float] | None) -> NDArray[np.float64]:
    """Return the probability that the decision about each example is right, float64 [N].

    This is the probability of the predicted label. Where an example may have several labels, the decision about each label
    is right with probability p if the label is given and 1 - p if it is not; the confidence is the smallest of these.
    """
    if thresholds is None:
        return np.asarray(probabilities.max(axis=1), dtype=np.float64)
    predicted = predicted_labels(probabilities, thresholds)
    return np.asarray(np.where(predicted, probabilities, 1 - probabilities).min(axis=1), dtype=np.float64)
