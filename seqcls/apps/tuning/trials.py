"""What is known of trials: the records of those that have ended, the file that keeps them, and what they come to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seqcls.config.values import OptionValue
from seqcls.errors import CheckpointError, ConfigError, OutputExistsError
from seqcls.storage.model_directory import to_json, writing
from seqcls.storage.run_directory import RunDirectory
from seqcls.storage.schemas import Figures
from seqcls.system.files import make_directory, remove, replace_file
from seqcls.system.untrusted import JSON_LIMIT, parse_json, read_file

_Count = Annotated[int, Field(ge=0)]


class Trial(BaseModel):
    """A trial that has ended; a line of trials.jsonl.

    Attributes:
        number: Its place among the trials, from 0.
        state: "complete"; "pruned" if it was too large, too slow, or behind the others; "failed" if an error ended it.
        encoder: The name of its encoder.
        values: The values that were tried, by the name of the setting.
        value: The monitored figure of its best evaluation on validation; None unless it is complete.
        validation: The figures of that evaluation, before calibration.
        evaluations: The monitored figure after so many percent of the steps.
        parameters: The number of trained weights.
        size: Bytes of the model directory, to within a few thousand.
        seconds: How long it took.
        reason: Why it was pruned, or failed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: _Count
    state: Literal["complete", "pruned", "failed"]
    encoder: str
    values: dict[str, OptionValue]
    value: float | None = None
    validation: Figures | None = None
    evaluations: dict[_Count, float] = {}
    parameters: _Count | None = None
    size: _Count | None = None
    seconds: Annotated[float, Field(ge=0)] = 0.0
    reason: str = ""


@dataclass(frozen=True)
class TuningResult:
    """What a tuning has come to so far.

    Attributes:
        output: The folder that it is kept in.
        monitor: The figure that trials are judged by, "loss" or "accuracy".
        trials: Those that have ended, in order; the first ones are the settings that it started from.
        seconds: Time spent, earlier parts included.
        stop_reason: Why it ended.
        signal: The signal that ended it, if one did.
        importances: How much of the variance of the monitored figure, over the trials of the best encoder, each setting
            accounts for; None where there are too few, or scikit-learn is missing.
    """

    output: Path
    monitor: Literal["loss", "accuracy"]
    trials: tuple[Trial, ...]
    seconds: float
    stop_reason: str
    signal: int | None = None
    importances: Mapping[str, float] | None = None

    @property
    def best(self) -> Trial | None:
        """The best trial; of equals, the first; None if none is complete."""
        return best_of(self.trials, self.monitor)

    @property
    def recipe(self) -> Path | None:
        """The settings of the best trial, as a file that `seqcls fit --config` takes."""
        return None if self.best is None else self.output / "recipe.toml"

    @property
    def model(self) -> Path | None:
        """The model directory of the best trial."""
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


def best_of(trials: Sequence[Trial], monitor: str) -> Trial | None:
    """Return the best of the complete trials; of equals, the first."""
    sign = -1 if monitor == "accuracy" else 1
    ranked = [(sign * trial.value, trial.number, trial) for trial in trials if trial.value is not None]
    return min(ranked)[2] if ranked else None


def trial_folder(output: Path, number: int) -> Path:
    """Return the run directory of a trial."""
    return output / f"trial-{number:04d}"


@dataclass(frozen=True)
class TuningDirectory:
    """The folder of a tuning.

    tuning.json           what is searched, from where, and the time spent
    trials.jsonl          a line a trial that has ended
    recipe.toml           the settings of the best one
    trial-0007/           its run directory, and that of a trial that was interrupted
    lock                  locked by the process that writes here
    """

    path: Path

    def start(self, description: Mapping[str, Any], *, overwrite: bool) -> float:
        """Make the folder ready for a tuning and return the seconds spent on it before; call it under its lock.

        Raises:
            ConfigError: It holds a tuning of other settings, of which there is something to keep.
            CheckpointError: It is damaged, or cannot be written.
        """
        if overwrite:
            self._clear()
        if not self._state.is_file():
            self.write_state(description, 0.0)
            return 0.0
        known = parse_json(read_file(self._state, JSON_LIMIT), self._state)
        seconds = known.pop("seconds", None)
        if not isinstance(seconds, int | float):
            raise CheckpointError(f"{self._state} does not say what time was spent; give another --output, or --force")
        difference = _first_difference(known, json.loads(to_json(description)))
        if difference is not None and not self._records.is_file() and not [*self.path.glob("trial-*/checkpoints.json")]:
            self._clear()
            return self.start(description, overwrite=False)
        if difference is not None:
            raise ConfigError(
                f"{self.path} holds a tuning with other settings ({difference}); "
                "give another --output, or --force to start anew"
            )
        return float(seconds)

    @property
    def _state(self) -> Path:
        return self.path / "tuning.json"

    @property
    def _records(self) -> Path:
        return self.path / "trials.jsonl"

    def _others(self) -> list[Path]:
        """Return what is in the folder, the file last that shows what it is."""
        found = [child for child in self.path.iterdir() if child.name != "lock"] if self.path.is_dir() else []
        return sorted(found, key=lambda child: child == self._state)

    def _clear(self) -> None:
        with writing(self.path):
            for child in self._others():
                remove(child)

    def make(self) -> RunDirectory:
        """Make the folder, and return it as one that can be locked.

        Raises:
            OutputExistsError: It holds something else.
            CheckpointError: It cannot be written.
        """
        if self._others() and not self._state.is_file():
            raise OutputExistsError(f"{self.path} exists and holds no tuning; give another --output")
        with writing(self.path):
            make_directory(self.path)
        return RunDirectory(self.path)

    def write_state(self, description: Mapping[str, Any], seconds: float) -> None:
        """Write what is searched and the time spent."""
        with writing(self.path):
            replace_file(self._state, to_json({**description, "seconds": round(seconds, 3)}))

    def trials(self) -> list[Trial]:
        """Read the trials that have ended.

        Raises:
            CheckpointError: The file is damaged.
        """
        lines = self._records.read_bytes().splitlines() if self._records.is_file() else []
        try:
            trials = [Trial.model_validate_json(line) for line in lines]
        except ValidationError as error:
            raise CheckpointError(
                f"{self._records} is damaged: {error.errors()[0]['msg']}; start anew with --force"
            ) from None
        if [trial.number for trial in trials] != list(range(len(trials))):
            raise CheckpointError(f"{self._records} lacks a trial, or has one twice; start anew with --force")
        return trials

    def write(self, trials: Sequence[Trial], recipe: str | None, best: Trial | None) -> None:
        """Write the trials and the recipe of the best one, and remove the runs of all others."""
        with writing(self.path):
            if recipe is not None:
                replace_file(self.path / "recipe.toml", recipe.encode())
            replace_file(self._records, b"".join(trial.model_dump_json().encode() + b"\n" for trial in trials))
            kept = None if best is None else trial_folder(self.path, best.number)
            for folder in self.path.glob("trial-*"):
                if folder != kept:
                    remove(folder)


def _first_difference(old: Any, new: Any, name: str = "") -> str | None:
    """Say what differs first between two JSON values; None if nothing does."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = {key: (old.get(key), new.get(key)) for key in sorted({*old, *new})}
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = {str(place): pair for place, pair in enumerate(zip(old, new, strict=True))}
    else:
        return None if old == new else f"{name} was {json.dumps(old):.60}, and is {json.dumps(new):.60}"
    found = (_first_difference(*pair, f"{name}.{key}" if name else key) for key, pair in pairs.items())
    return next(filter(None, found), None)
