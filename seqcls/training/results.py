"""What a run came to, and what one would do: plain values for people and scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqcls.config.settings import Config
from seqcls.evaluation.calibration import Calibration
from seqcls.evaluation.scores import Score


@dataclass(frozen=True)
class FitResult:
    """What a run came to.

    Attributes:
        run: The run directory.
        model: The model directory of the best checkpoint; None if a signal ended the run.
        stop_reason: Why the loop ended.
        is_cut_short: Whether the time limit ended it.
        signal: The signal that ended it, if one did.
        seconds: Duration of the whole run, preparation and evaluation included.
        train_examples_per_second: Training speed, evaluation and saving not counted.
        parameters: Number of trained weights.
        validation: Figures of the best checkpoint, calibrated.
        test: The same on the test split, if there is one.
        calibration: The temperature that was fitted on validation; None if that was left out.
    """

    run: Path
    model: Path | None
    stop_reason: str
    is_cut_short: bool
    signal: int | None
    seconds: float
    train_examples_per_second: float
    parameters: int
    validation: Score | None
    test: Score | None
    calibration: Calibration | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the result as `seqcls fit --json` prints it."""
        return {
            "run": str(self.run),
            "model": None if self.model is None else str(self.model),
            "stop_reason": self.stop_reason,
            "seconds": round(self.seconds, 3),
            "train_examples_per_second": round(self.train_examples_per_second, 1),
            "parameters": self.parameters,
            "validation": None if self.validation is None else self.validation.as_dict(),
            "test": None if self.test is None else self.test.as_dict(),
            "calibration": None if self.calibration is None else self.calibration.as_dict(),
        }


@dataclass(frozen=True)
class Plan:
    """What `Trainer.fit` would do: sizes, steps, device."""

    config: Config
    device: str
    label_names: tuple[str, ...]
    examples: Mapping[str, int]
    tokens: Mapping[str, int]
    vocab_size: int
    parameters: int
    steps_per_epoch: int
    total_steps: int

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as `seqcls fit --dry-run --json` prints it."""
        return {**vars(self), "config": self.config.model_dump(mode="json"), "label_names": list(self.label_names)}
