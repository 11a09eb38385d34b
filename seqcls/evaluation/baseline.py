"""The figures of the linear baseline, with which those of a network are compared; `seqcls.training.baseline` fits it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seqcls.evaluation.scores import Score


@dataclass(frozen=True)
class Baseline:
    """The figures of the linear baseline.

    Attributes:
        description: The model, and the size of the sample if it was fitted on one.
        validation: The score on the validation split.
        test: The score on the test split; None if there is none.
        seconds: The duration of fitting and evaluation.
        features: The number of n-grams.
    """

    description: str
    validation: Score
    test: Score | None
    seconds: float
    features: int

    def beats(self, score: Score) -> bool:
        """Return whether the baseline beats another model's validation score: in F1 where texts may have several labels."""
        if self.validation.f1 is not None and score.f1 is not None:
            return self.validation.f1 > score.f1
        return self.validation.accuracy > score.accuracy

    def as_dict(self) -> dict[str, Any]:
        """Return the result as `seqcls fit --json` prints it."""
        return {
            "description": self.description,
            "validation": self.validation.as_dict(),
            "test": None if self.test is None else self.test.as_dict(),
            "seconds": round(self.seconds, 3),
            "features": self.features,
        }
