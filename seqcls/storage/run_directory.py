"""The directory of one training run.

config.toml                       the settings
metrics.jsonl                     the log of evaluations, one per line
baseline.json                     figures of the linear baseline, if it was trained
choice.json                       the models that were compared, if one was chosen
validated/                        model directory of the chosen model as it was before it was trained on all examples
checkpoints.json, checkpoints/    see checkpoints.py
model/                            model directory of the best checkpoint, once the run has ended
lock                              see lock.py
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqcls.config.settings import Config
from seqcls.errors import CheckpointError, OutputExistsError
from seqcls.evaluation.baseline import Baseline
from seqcls.storage.checkpoints import Checkpoints
from seqcls.storage.lock import LOCK_NAME, locked
from seqcls.storage.schemas import EvaluationRow
from seqcls.storage.writing import to_json, writing
from seqcls.system.files import is_temporary, make_directory, remove, replace_file
from seqcls.system.untrusted import check_form, parse_json, read_json

_SETTINGS = "config.toml"


@dataclass(frozen=True)
class RunDirectory:
    """The directory of one training run."""

    path: Path

    @classmethod
    @contextlib.contextmanager
    def create(cls, path: Path, config: Config, *, overwrite: bool = False) -> Iterator[RunDirectory]:
        """Make the directory, write the settings, and keep other processes from writing there for the block.

        Raises:
            OutputExistsError: As for `check_new`.
            CheckpointError: The directory cannot be written, or another process trains there.
        """
        run = cls(path)
        run.check_new(overwrite=overwrite)
        with writing(path):
            make_directory(path)
        with locked(path):
            run.check_new(overwrite=overwrite)  # again: another process may have been quicker
            with writing(path):
                # The settings go last: if this is interrupted, they still show that it is a run directory.
                for child in sorted(path.iterdir(), key=lambda child: child.name == _SETTINGS):
                    if child.name != LOCK_NAME:
                        remove(child)
                make_directory(run.checkpoints.folder)
            run.write_settings(config)
            yield run

    def write_settings(self, config: Config) -> None:
        """Write the settings, unless the file holds them already."""
        path, text = self.path / _SETTINGS, config.to_toml().encode()
        with writing(self.path):
            if not path.is_file() or path.read_bytes() != text:
                replace_file(path, text)

    def check_new(self, *, overwrite: bool) -> None:
        """Check that `create` can make the directory; writes nothing.

        Raises:
            OutputExistsError: It exists and holds something; with ``overwrite``, it is not a run directory.
            CheckpointError: It cannot be written.
        """
        existing = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.exists())
        if self._holds_something():
            if not overwrite:
                raise OutputExistsError(f"{self.path} exists; give another --output, or --force to replace the run in it")
            if not (self.path / _SETTINGS).is_file():
                raise OutputExistsError(
                    f"{self.path} is not a run directory, so --force does not replace it; give another --output"
                )
        if not os.access(existing, os.W_OK):
            raise CheckpointError(f"cannot write {self.path}: {existing} is read-only; choose another --output")

    def _holds_something(self) -> bool:
        """Return whether there is more than a run leaves that ended before its first checkpoint."""
        if not self.path.is_dir():
            return self.path.exists()
        checkpoints = self.checkpoints.folder
        names = {child.name for child in (*self.path.iterdir(), *checkpoints.glob("*")) if not is_temporary(child)}
        return bool(names) and not (LOCK_NAME in names and names <= {LOCK_NAME, _SETTINGS, checkpoints.name})

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Open an existing run directory.

        Raises:
            CheckpointError: It is not a run directory.
        """
        checkpoints = Checkpoints(path)
        if not checkpoints.pointer_file.is_file() and not checkpoints.folder.is_dir():
            raise CheckpointError(f"{path} is not a run directory: it has no {checkpoints.pointer_file.name}")
        return cls(path)

    @property
    def checkpoints(self) -> Checkpoints:
        """The checkpoints."""
        return Checkpoints(self.path)

    @property
    def has_checkpoint(self) -> bool:
        """Whether the run has come to its first checkpoint."""
        return self.checkpoints.pointer_file.is_file()

    @property
    def model(self) -> Path:
        """The model directory of the best checkpoint, which exists once the run has ended."""
        return self.path / "model"

    @property
    def metrics_file(self) -> Path:
        """The log of evaluations."""
        return self.path / "metrics.jsonl"

    @property
    def choice_file(self) -> Path:
        """The models that were compared, if the run was to choose one; see `seqcls.training.choice.Choice`."""
        return self.path / "choice.json"

    def write_baseline(self, baseline: Baseline) -> None:
        """Write the figures of the linear baseline, replacing earlier ones."""
        with writing(self.path):
            replace_file(self.path / "baseline.json", to_json(baseline.as_dict()))

    def baseline(self) -> Baseline | None:
        """Read the figures of the linear baseline; None if it was not trained.

        Raises:
            CheckpointError: The file is damaged.
        """
        path = self.path / "baseline.json"
        if not path.is_file():
            return None
        return check_form(read_json(path), Baseline, path)

    def evaluations(self) -> list[EvaluationRow]:
        """Read the log of evaluations.

        Raises:
            CheckpointError: A line is damaged.
        """
        numbered = [(Path(f"{self.metrics_file}:{n}"), line) for n, line in enumerate(self._metrics_lines(), start=1)]
        return [check_form(parse_json(line, place), EvaluationRow, place) for place, line in numbered]

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Add a line to the log of evaluations."""
        self._write_metrics([*self._metrics_lines(), json.dumps(row, sort_keys=True).encode()])

    def keep_metrics(self, count: int) -> None:
        """Drop the lines of the log after the first ``count``: the run has gone back to the checkpoint with so many."""
        lines = self._metrics_lines()
        if len(lines) > count:
            self._write_metrics(lines[:count])

    def _metrics_lines(self) -> list[bytes]:
        return self.metrics_file.read_bytes().splitlines() if self.metrics_file.is_file() else []

    def _write_metrics(self, lines: list[bytes]) -> None:
        with writing(self.path):
            replace_file(self.metrics_file, b"".join(line + b"\n" for line in lines))
