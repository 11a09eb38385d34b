"""The result of a search for settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqcls.apps.tuning.directory import trial_folder
from seqcls.apps.tuning.trials import Trial, best_of
from seqcls.config.values import Monitor


@dataclass(frozen=True)
class TuningResult:
    """The result of `tune`.

    Attributes:
        output: The folder of the search.
        monitor: The figure that trials are judged by: "loss", "accuracy" or "f1".
        trials: The trials that have ended, in order; the first ones are the settings to start from.
        seconds: Time spent, including that before an interruption.
        stop_reason: Why the search ended.
        signal: The signal that ended it, if one did.
        importances: The share of the variance of the monitored figure, over the trials of the best encoder, that each
            setting accounts for; None if there are too few trials, or scikit-learn is missing.
    """

    output: Path
    monitor: Monitor
    trials: tuple[Trial, ...]
    seconds: float
    stop_reason: str
    signal: int | None = None
    importances: Mapping[str, float] | None = None

    @property
    def best(self) -> Trial | None:
        """The best trial, the first of several equal ones; None if none is complete."""
        return best_of(self.trials, self.monitor)

    @property
    def recipe(self) -> Path | None:
        """The file with the settings of the best trial, for `seqcls fit --config`; None if no trial is complete."""
        return None if self.best is None else self.output / "recipe.toml"

    @property
    def model(self) -> Path | None:
        """The model directory of the best trial; None if no trial is complete."""
        return None if self.best is None else trial_folder(self.output, self.best.number) / "model"

    def as_dict(self) -> dict[str, Any]:
        """Return the result as `seqcls tune --json` prints it."""
        return {
            "output": str(self.output),
            "recipe": None if self.recipe is None else str(self.recipe),
            "model": None if self.model is None else str(self.model),
            "monitor": self.monitor,
            "best": None if self.best is None else self.best.number,
            "seconds": round(self.seconds, 3),
            "stop_reason": self.stop_reason,
            "importances": None if self.importances is None else dict(self.importances),
            "trials": [trial.model_dump(mode="json") for trial in self.trials],
        }
