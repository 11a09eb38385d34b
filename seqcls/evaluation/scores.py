"""Loss, accuracy and F1 over examples, summed on the device so that no training step waits for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import ConfigDict, Field
from torch import Tensor

from seqcls.config.values import Monitor
from seqcls.evaluation.chunks import chunks

# The bounds are checked where a Score or an Evaluation is read from a file.
Count = Annotated[int, Field(ge=0, lt=1 << 53)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Score:
    """The loss and accuracy of a model on labelled examples.

    Attributes:
        loss: The mean cross-entropy in nats. Where an example may have several labels, the mean over examples and labels of
            the binary cross-entropy.
        accuracy: The share of examples that are classified correctly. Where an example may have several labels, all of them
            must be right.
        correct: The number of examples that are classified correctly.
        count: The number of examples.
        f1: The micro-averaged F1 over all pairs of an example and a label; None where an example has exactly one label.
        macro_f1: The mean of the labels' F1, as in scikit-learn: where an example has exactly one label, of the labels that
            some example has or is given; otherwise of all, 0 for such as no example has or is given. None for training
            batches, of which only sums are kept.
    """

    loss: float
    accuracy: float
    correct: Count
    count: Count
    f1: float | None = None
    macro_f1: float | None = None

    def figure(self, monitor: Monitor) -> float:
        """Return the figure by which ``monitor`` compares models; see `sign_of`."""
        value = self.macro_f1 if monitor == "f1" else getattr(self, monitor)
        assert value is not None, "the score of training batches has no macro F1"
        return float(value)

    def __repr__(self) -> str:
        f1 = "" if self.f1 is None else f", f1={self.f1:.4f}"
        return f"Score(loss={self.loss:.4f}, accuracy={self.accuracy:.4f}, correct={self.correct}, count={self.count}{f1})"

    def as_dict(self) -> dict[str, float | int]:
        """Return the figures by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def sign_of(monitor: Monitor) -> int:
    """Return 1 if models with a higher figure are better, and -1 if those with a lower one are."""
    return -1 if monitor == "loss" else 1


@dataclass(frozen=True)
class Evaluation:
    """The figures of one evaluation during training.

    Attributes:
        step: Updates of the weights made before it.
        epoch: Epochs completed before it.
        train: Figures of the training batches since the previous evaluation, with dropout on.
        validation: Figures of the validation split.
        lr: The learning rate of the last update.
        seconds: Time since the run began, including earlier parts of a resumed run.
        examples_per_second: Training speed since the previous evaluation, without evaluation and saving.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # a file with other keys is refused

    step: Count
    epoch: Count
    train: Score
    validation: Score
    lr: float
    seconds: Amount
    examples_per_second: Amount

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return asdict(self)


def example_losses(
    logits: Tensor, labels: Tensor, class_weights: Tensor | None = None, *, label_smoothing: float = 0.0
) -> Tensor:
    """Return the loss of each example, [B].

    It is the cross-entropy of the softmax p with the smoothed targets q' of Szegedy et al. 2016, section 7,

        loss = -sum_k c_k q'(k) log p(k),    q'(k) = (1 - e) [k = y] + e / C,

    where y is the label, c the class weights and e the smoothing; without either, -log p(y). Where an example may have
    several labels, it is the mean over the labels of the binary cross-entropy, and the targets 0 and 1 become e / 2 and
    1 - e / 2: with e = 1, all would be 1 / 2.

    Args:
        logits: [B, C].
        labels: int64 [B], or uint8 [B, C] where an example may have several labels.
        class_weights: [C], one per class. With several labels per example, the weight of an example that has the label,
            relative to one that does not.
        label_smoothing: e, at least 0 and below 1.
    """
    if labels.ndim == 1:
        return F.cross_entropy(logits, labels, class_weights, reduction="none", label_smoothing=label_smoothing)
    targets = labels.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
    losses = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=class_weights, reduction="none")
    return losses.mean(dim=1)


def sum_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of the losses of the examples, []; see `example_losses`."""
    return example_losses(logits, labels).sum()


def label_probabilities(logits: Tensor, *, is_multi_label: bool) -> Tensor:
    """Return the softmax of each row of logits [B, C], or the sigmoid of each logit where there may be several labels."""
    return logits.sigmoid() if is_multi_label else logits.softmax(dim=-1)


def score_logits(logits: Tensor, labels: Tensor, thresholds: Tensor | None = None, *, temperature: float = 1.0) -> Score:
    """Return the score of logits, computed in float64.

    Args:
        logits: [N, C].
        labels: int64 [N], or uint8 [N, C].
        thresholds: [C], for labels [N, C]; 0.5 if None.
        temperature: The logits are divided by it.
    """
    running = RunningScore(logits.device, thresholds)
    counts = torch.zeros(2, logits.shape[1], dtype=torch.int64)
    for rows in chunks(*logits.shape):
        part = (logits[rows] if logits.device.type == "mps" else logits[rows].double()) / temperature
        running.update(part, labels[rows])
        counts += _count_hits(part.cpu(), labels[rows].cpu(), thresholds)
    hits, named = counts.double()
    shown = named > 0 if labels.ndim == 1 else torch.ones_like(named, dtype=torch.bool)  # as in scikit-learn
    figures = (2 * hits / named.clamp(min=1))[shown]
    return replace(running.compute(), macro_f1=float(figures.sum() / max(1, len(figures))))


def _count_hits(logits: Tensor, labels: Tensor, thresholds: Tensor | None) -> Tensor:
    """Return how often each label was rightly given, and how often it was given plus how often it was true, int64 [2, C]."""
    if labels.ndim == 2:
        probabilities, true = label_probabilities(logits, is_multi_label=True), labels.bool()
        given = probabilities >= (0.5 if thresholds is None else thresholds.cpu())
        return torch.stack([(given & true).sum(dim=0), given.sum(dim=0) + true.sum(dim=0)])
    best = logits.argmax(dim=-1)
    hits, given, true = (part.bincount(minlength=logits.shape[1]) for part in (labels[best == labels], best, labels))
    return torch.stack([hits, given + true])


def choose_thresholds(logits: Tensor, labels: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Return the threshold that gives each label its best F1; 0.5 unless another one is better.

    Args:
        logits: [N, C] of validation examples.
        labels: uint8 [N, C].
        temperature: The logits are divided by it.

    Returns:
        float64 [C].
    """
    thresholds = torch.empty(logits.shape[1], dtype=torch.float64)
    for columns in chunks(*reversed(logits.shape)):
        scaled = logits[:, columns].T.contiguous().double() / temperature  # [c, N]
        pairs = zip(label_probabilities(scaled, is_multi_label=True), labels[:, columns].T.contiguous(), strict=True)
        thresholds[columns] = torch.stack([_best_threshold(*pair) for pair in pairs])
    return thresholds


def _best_threshold(probabilities: Tensor, labels: Tensor) -> Tensor:
    half = torch.tensor(0.5, dtype=torch.float64)
    if not int(labels.sum()):
        return half
    order = probabilities.argsort(descending=True)
    ranked, hits = probabilities[order], labels[order].cumsum(0)
    # F1 if the first k are predicted positive: 2 hits / (k + positives). No threshold separates equal probabilities.
    f1 = 2 * hits / (torch.arange(1, len(ranked) + 1) + labels.sum())
    f1[:-1][ranked[:-1] == ranked[1:]] = 0
    best = int(f1.argmax())
    predicted = probabilities >= half
    f1_at_half = 2 * (predicted & labels.bool()).sum() / (predicted.sum() + labels.sum())
    if f1_at_half >= f1[best]:
        return half
    next_lower = ranked[best + 1] if best + 1 < len(ranked) else torch.zeros((), dtype=torch.float64)
    return (ranked[best] + next_lower) / 2


class RunningScore:
    """The sums of losses and correct predictions over batches; `compute` is the only call that waits for the device."""

    def __init__(self, device: torch.device, thresholds: Tensor | None = None) -> None:
        # float64 where the device has it, as a float32 sum over millions of examples would lose digits.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self._thresholds = thresholds
        self._loss = torch.zeros((), dtype=dtype, device=device)
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        # Pairs of an example and a label: the correctly predicted ones, and the predicted plus the true ones.
        self._pairs = torch.zeros(2, dtype=torch.int64, device=device)
        self._count = 0
        self._is_multi_label = False

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], device: torch.device) -> RunningScore:
        """Return the sums that `as_dict` returned."""
        running = cls(device)
        running._loss += values["loss"]
        running._correct += values["correct"]
        running._pairs += torch.tensor(values["pairs"], device=device)
        running._count, running._is_multi_label = values["count"], values["is_multi_label"]
        return running

    def as_dict(self) -> dict[str, Any]:
        """Return the sums as plain values, which JSON stores exactly."""
        return {
            "loss": float(self._loss),
            "correct": int(self._correct),
            "pairs": self._pairs.tolist(),
            "count": self._count,
            "is_multi_label": self._is_multi_label,
        }

    def update(self, logits: Tensor, labels: Tensor, loss_sum: Tensor | None = None) -> None:
        """Add a batch: logits [B, C], labels int64 [B] or uint8 [B, C], and the sum of their losses if it is known."""
        if loss_sum is None:
            loss_sum = sum_losses(logits if logits.dtype == torch.float64 else logits.float(), labels)
        self._loss += loss_sum.detach()
        self._is_multi_label = labels.ndim == 2
        if self._is_multi_label:
            thresholds = 0.5 if self._thresholds is None else self._thresholds.to(logits)
            predicted, true = label_probabilities(logits.detach(), is_multi_label=True) >= thresholds, labels.bool()
            self._correct += (predicted == true).all(dim=1).sum()
            self._pairs += torch.stack([(predicted & true).sum(), predicted.sum() + true.sum()])
        else:
            self._correct += (logits.detach().argmax(dim=-1) == labels).sum()
        self._count += len(labels)

    def add(self, other: RunningScore) -> None:
        """Add the sums of another one."""
        self._loss += other._loss
        self._correct += other._correct
        self._pairs += other._pairs
        self._count += other._count
        self._is_multi_label |= other._is_multi_label

    def compute(self) -> Score:
        """Return the score so far; without examples, a loss and an accuracy of 0."""
        count, correct = max(self._count, 1), int(self._correct)
        hits, predicted_and_true = self._pairs.tolist()
        f1 = (2 * hits / predicted_and_true if predicted_and_true else 1.0) if self._is_multi_label else None
        return Score(float(self._loss) / count, correct / count, correct, self._count, f1)
