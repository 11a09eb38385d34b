"""Running loss and accuracy over examples, kept on the device so that no step waits for it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Score:
    """Figures of one pass over a split: mean cross-entropy (nats) and the share of right labels, over examples."""

    loss: float
    accuracy: float
    correct: int
    count: int

    def as_dict(self) -> dict[str, float | int]:
        """Return the figures by name."""
        return asdict(self)


class RunningScore:
    """Sums losses and hits of batches; `compute` is the only call that waits for the device."""

    def __init__(self, device: torch.device) -> None:
        # float64 where the device has it: a float32 sum over millions of examples would lose digits.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self._loss = torch.zeros((), dtype=dtype, device=device)
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        self._count = 0

    def update(self, logits: Tensor, labels: Tensor, loss_sum: Tensor | None = None) -> None:
        """Add a batch: logits [B, C], labels int64 [B], and their summed cross-entropy if it is known already."""
        if loss_sum is None:
            loss_sum = F.cross_entropy(logits.float(), labels, reduction="sum")
        self._loss += loss_sum.detach()
        self._correct += (logits.detach().argmax(dim=-1) == labels).sum()
        self._count += len(labels)

    def compute(self) -> Score:
        """Return the figures so far; with no example seen, a loss and accuracy of 0."""
        count, correct = max(self._count, 1), int(self._correct)
        return Score(float(self._loss) / count, correct / count, correct, self._count)
