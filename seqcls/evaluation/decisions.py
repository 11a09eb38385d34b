"""What probabilities say: labels, and how sure the model is of them. It imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def label_probabilities(logits: NDArray[Any], *, temperature: float = 1.0, is_multi_label: bool) -> NDArray[Any]:
    """Return the probability of each label, [N, C] in the dtype of the logits [N, C].

    With one label per example, softmax(logits / temperature), so that rows sum to 1; with several, the sigmoid of each.
    """
    scaled = logits / logits.dtype.type(temperature)
    if is_multi_label:
        return np.asarray(0.5 * (np.tanh(0.5 * scaled) + 1))  # 1 / (1 + exp(-x)) would overflow
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def decide(
    probabilities: NDArray[Any],
    label_names: Sequence[str],
    thresholds: Sequence[float] | None,
    *,
    min_confidence: float = 0.0,
) -> list[str | None] | list[tuple[str, ...] | None]:
    """Return the label of each of N texts, or the tuple of its labels, of probabilities [N, C].

    That is the most probable label; where a text may have several, those whose probability reaches the label's threshold.
    It is None for a text of which the model is less sure than ``min_confidence``.
    """
    is_sure = confidence(probabilities, thresholds) >= min_confidence
    names = [
        tuple(label_names[index] for index in np.flatnonzero(row).tolist()) for row in decided(probabilities, thresholds)
    ]
    if thresholds is not None:
        return [labels if sure else None for labels, sure in zip(names, is_sure, strict=True)]
    return [labels[0] if sure else None for labels, sure in zip(names, is_sure, strict=True)]


def decided(probabilities: NDArray[Any], thresholds: Sequence[float] | None) -> NDArray[np.bool_]:
    """Return the labels that probabilities [N, C] give: the most probable, or each that reaches its threshold."""
    if thresholds is None:
        return np.asarray(probabilities.argmax(axis=1)[:, None] == np.arange(probabilities.shape[1]))
    return np.asarray(probabilities >= np.asarray(thresholds))


def confidence(probabilities: NDArray[Any], thresholds: Sequence[float] | None) -> NDArray[np.float64]:
    """Return how probable it is that the model is right, float64 [N], of probabilities [N, C].

    That is the probability of the label; where an example may have several, the least over the labels of the probability
    that it has, or has not, the label, whichever is said.
    """
    if thresholds is None:
        return np.asarray(probabilities.max(axis=1), dtype=np.float64)
    said = decided(probabilities, thresholds)
    return np.asarray(np.where(said, probabilities, 1 - probabilities).min(axis=1), dtype=np.float64)
