"""The folder that a search is kept in, so that it can be continued."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from seqcls.apps.tuning.trials import Trial
from seqcls.errors import CheckpointError, ConfigError, OutputExistsError
from seqcls.storage.writing import to_json, writing
from seqcls.system.files import make_directory, remove, replace_file
from seqcls.system.untrusted import JSON_LIMIT, parse_json, read_file


@dataclass(frozen=True)
class TuningDirectory:
    """The folder of a search.

    tuning.json           the settings to start from, the values to try, and the time spent
    trials.jsonl          one line per trial that has ended
    recipe.toml           the settings of the best trial
    trial-0007/           the run directory of the best trial, or of one that was interrupted
    lock                  locked by the process that writes here
    """

    path: Path

    def start(self, description: Mapping[str, Any], *, overwrite: bool) -> float:
        """Prepare the folder for a search and return the seconds that were spent on it before; needs the lock.

        Raises:
            ConfigError: The folder holds a search with other settings that has got somewhere.
            CheckpointError: The folder is damaged, or cannot be written.
        """
        if overwrite:
            self._clear()
        if not self._state.is_file():
            self.write_state(description, 0.0)
            return 0.0
        known = parse_json(read_file(self._state, JSON_LIMIT), self._state)
        seconds = known.pop("seconds", None)
        if not isinstance(seconds, int | float):
            raise CheckpointError(
                f"{self._state} does not tell the time spent; choose another --output, or start over with --force"
            )
        difference = _first_difference(known, json.loads(to_json(description)))
        if difference is not None and not self._records.is_file() and not [*self.path.glob("trial-*/checkpoints.json")]:
            self._clear()
            return self.start(description, overwrite=False)
        if difference is not None:
            raise ConfigError(
                f"{self.path} holds a search with other settings ({difference}); "
                "choose another --output, or start over with --force"
            )
        return float(seconds)

    @property
    def _state(self) -> Path:
        return self.path / "tuning.json"

    @property
    def _records(self) -> Path:
        return self.path / "trials.jsonl"

    def _contents(self) -> list[Path]:
        """Return what is in the folder; the file that identifies it comes last."""
        children = [child for child in self.path.iterdir() if child.name != "lock"] if self.path.is_dir() else []
        return sorted(children, key=lambda child: child == self._state)

    def _clear(self) -> None:
        with writing(self.path):
            for child in self._contents():
                remove(child)

    def make(self) -> None:
        """Create the folder.

        Raises:
            OutputExistsError: The folder holds something else.
            CheckpointError: The folder cannot be written.
        """
        if self._contents() and not self._state.is_file():
            raise OutputExistsError(f"{self.path} exists and does not hold a search; choose another --output")
        with writing(self.path):
            make_directory(self.path)

    def write_state(self, description: Mapping[str, Any], seconds: float) -> None:
        """Write the description of the search and the time spent."""
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
                f"{self._records} is damaged: {error.errors()[0]['msg']}; start over with --force"
            ) from None
        if [trial.number for trial in trials] != list(range(len(trials))):
            raise CheckpointError(f"{self._records} lacks a trial, or has one twice; start over with --force")
        return trials

    def write(self, trials: Sequence[Trial], recipe: str | None, best: Trial | None) -> None:
        """Write the trials and the recipe of the best one, and delete the runs of all others."""
        with writing(self.path):
            if recipe is not None:
                replace_file(self.path / "recipe.toml", recipe.encode())
            replace_file(self._records, b"".join(trial.model_dump_json().encode() + b"\n" for trial in trials))
            kept = None if best is None else trial_folder(self.path, best.number)
            for folder in self.path.glob("trial-*"):
                if folder != kept:
                    remove(folder)


def trial_folder(output: Path, number: int) -> Path:
    """Return the run directory of a trial."""
    return output / f"trial-{number:04d}"


def _first_difference(old: Any, new: Any, name: str = "") -> str | None:
    """Describe the first difference between two JSON values; return None if they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = {key: (old.get(key), new.get(key)) for key in sorted({*old, *new})}
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = {str(position): pair for position, pair in enumerate(zip(old, new, strict=True))}
    else:
        return None if old == new else f"{name} was {json.dumps(old):.60}, and is {json.dumps(new):.60}"
    differences = (_first_difference(*pair, f"{name}.{key}" if name else key) for key, pair in pairs.items())
    return next(filter(None, differences), None)
