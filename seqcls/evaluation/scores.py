"""Running loss and accuracy over examples, kept on the device so that no step waits for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Score:
    """Figures of one pass over a split, over its examples.

    Attributes:
        loss: Mean cross-entropy, nats; where a text may have several labels, the mean over labels of binary cross-entropy.
        accuracy: The share of examples whose label, or every label, is right.
        correct: Their number.
        count: The number of examples.
        f1: Where a text may have several labels, F1 over all pairs of text and label (micro-averaged); else None.
    """

    loss: float
    accuracy: float
    correct: int
    count: int
    f1: float | None = None

    def as_dict(self) -> dict[str, float | int]:
        """Return the figures by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def sum_losses(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the sum over examples of their losses.

    Args:
        logits: [B, C].
        labels: int64 [B]: cross-entropy after softmax; or uint8 [B, C]: the mean over labels of binary cross-entropy.
        weights: [C], of a class; or of a label that a text has, against one that it has not.
    """
    if labels.ndim == 1:
        return F.cross_entropy(logits, labels, weight=weights, reduction="sum")
    targets = labels.to(logits.dtype)
    losses = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="none")
    return losses.mean(dim=1).sum()


def label_probabilities(logits: Tensor, *, is_multi_label: bool) -> Tensor:
    """Return the softmax of each row of logits [B, C], or the sigmoid of each logit where there may be several labels."""
    return logits.sigmoid() if is_multi_label else logits.softmax(dim=-1)


def score_logits(logits: Tensor, labels: Tensor, thresholds: Tensor | None = None) -> Score:
    """Return the figures of logits [N, C] against labels int64 [N], or uint8 [N, C] with thresholds [C] (0.5 if None)."""
    running = RunningScore(logits.device, thresholds)
    running.update(logits.double() if logits.device.type != "mps" else logits, labels)
    return running.compute()


def choose_thresholds(logits: Tensor, labels: Tensor) -> Tensor:
    """Return for each label the probability whose use as threshold gives the best F1; 0.5 where none does better.

    Args:
        logits: [N, C] of validation examples.
        labels: uint8 [N, C].

    Returns:
        float64 [C].
    """
    probabilities = label_probabilities(logits.double(), is_multi_label=True)
    return torch.stack([_best_threshold(*column) for column in zip(probabilities.T, labels.T, strict=True)])


def _best_threshold(probabilities: Tensor, labels: Tensor) -> Tensor:
    half = torch.tensor(0.5, dtype=torch.float64)
    order = probabilities.argsort(descending=True)
    ranked, hits = probabilities[order], labels[order].cumsum(0)
    if not int(labels.sum()):
        return half
    # F1 when the first k are called positive: 2 hits / (k + all positives); only where the probability changes after k.
    f1 = 2 * hits / (torch.arange(1, len(ranked) + 1) + labels.sum())
    f1[:-1][ranked[:-1] == ranked[1:]] = 0
    best = int(f1.argmax())
    chosen = probabilities >= half
    at_half = 2 * (chosen & labels.bool()).sum() / (chosen.sum() + labels.sum())
    if at_half >= f1[best]:
        return half
    below = ranked[best + 1] if best + 1 < len(ranked) else torch.zeros((), dtype=torch.float64)
    return (ranked[best] + below) / 2


class RunningScore:
    """Sums losses and hits of batches; `compute` is the only call that waits for the device."""

    def __init__(self, device: torch.device, thresholds: Tensor | None = None) -> None:
        # float64 where the device has it: a float32 sum over millions of examples would lose digits.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self._thresholds = thresholds
        self._loss = torch.zeros((), dtype=dtype, device=device)
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        self._pairs = torch.zeros(2, dtype=torch.int64, device=device)  # right pairs of text and label; said and true ones
        self._count = 0
        self._is_multi_label = False

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], device: torch.device) -> RunningScore:
        """Return what `as_dict` described."""
        running = cls(device)
        running._loss += values["loss"]
        running._correct += values["correct"]
        running._pairs += torch.tensor(values["pairs"], device=device)
        running._count, running._is_multi_label = values["count"], values["is_multi_label"]
        return running

    def as_dict(self) -> dict[str, Any]:
        """Return the sums as plain values, which JSON keeps exactly."""
        return {
            "loss": float(self._loss),
            "correct": int(self._correct),
            "pairs": self._pairs.tolist(),
            "count": self._count,
            "is_multi_label": self._is_multi_label,
        }

    def update(self, logits: Tensor, labels: Tensor, loss_sum: Tensor | None = None) -> None:
        """Add a batch: logits [B, C], labels int64 [B] or uint8 [B, C], and their summed loss if it is known already."""
        if loss_sum is None:
            loss_sum = sum_losses(logits if logits.dtype == torch.float64 else logits.float(), labels)
        self._loss += loss_sum.detach()
        self._is_multi_label = labels.ndim == 2
        if self._is_multi_label:
            thresholds = 0.5 if self._thresholds is None else self._thresholds.to(logits)
            said, true = label_probabilities(logits.detach(), is_multi_label=True) >= thresholds, labels.bool()
            self._correct += (said == true).all(dim=1).sum()
            self._pairs += torch.stack([(said & true).sum(), said.sum() + true.sum()])
        else:
            self._correct += (logits.detach().argmax(dim=-1) == labels).sum()
        self._count += len(labels)

    def add(self, other: RunningScore) -> None:
        """Add what another has summed."""
        self._loss += other._loss
        self._correct += other._correct
        self._pairs += other._pairs
        self._count += other._count
        self._is_multi_label |= other._is_multi_label

    def compute(self) -> Score:
        """Return the figures so far; with no example seen, a loss and accuracy of 0."""
        count, correct = max(self._count, 1), int(self._correct)
        right, named = self._pairs.tolist()
        f1 = (2 * right / named if named else 1.0) if self._is_multi_label else None
        return Score(float(self._loss) / count, correct / count, correct, self._count, f1)
