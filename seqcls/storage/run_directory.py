"""The folder of one training run: settings, log of evaluations, checkpoints, and pointers to those that count.

RUN/config.toml                       resolved settings
metrics.jsonl                     a line an evaluation
baseline.json                     figures of the linear baseline, if it was trained
checkpoints.json                  names of checkpoints, replaced after a checkpoint is complete
checkpoints/step-00000352/        model directory + training.safetensors + training.json
model/                            model directory of the best checkpoint, once the run has ended
lock                              locked by the process that writes here
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqcls.config.settings import Config
from seqcls.errors import CheckpointError, OutputExistsError
from seqcls.storage.hub import download, is_repo_id
from seqcls.storage.model_directory import (
    SavedModel,
    TrainingSnapshot,
    load_model_directory,
    load_training,
    to_json,
    writing,
)
from seqcls.storage.schemas import BaselineFigures, Checkpoints, EvaluationRow
from seqcls.system.files import is_temporary, make_directory, remove, remove_leftovers, replace_file
from seqcls.system.untrusted import JSON_LIMIT, check_form, parse_json, read_file

_LOCK, _SETTINGS = "lock", "config.toml"
_NAME = re.compile(r"step-(?P<step>\d{8,})(-(?P<attempt>\d+))?")

logger = logging.getLogger("seqcls")


@dataclass(frozen=True)
class Pointers:
    """What checkpoints.json holds: names of checkpoints.

    Attributes:
        best: The best by the monitored figure; the first of all, until there is an evaluation.
        last: The one to go on from.
        previous: The ``last`` before, to fall back on.
        previous_best: The ``best`` that goes with ``previous``.
        damaged: Those passed over because they could not be read; never deleted.
    """

    best: str
    last: str
    previous: str | None = None
    previous_best: str | None = None
    damaged: tuple[str, ...] = ()

    @property
    def names(self) -> set[str]:
        """All checkpoints that are kept."""
        return {name for name in (self.best, self.last, self.previous, self.previous_best, *self.damaged) if name}


@dataclass(frozen=True, eq=False)
class Restorable:
    """A checkpoint that was read whole, and what was passed over to find it."""

    path: Path
    model: SavedModel
    training: TrainingSnapshot
    damaged: tuple[str, ...]


@dataclass(frozen=True)
class RunDirectory:
    """The folder of one training run."""

    path: Path

    @classmethod
    @contextlib.contextmanager
    def create(cls, path: Path, config: Config, *, overwrite: bool = False) -> Iterator[RunDirectory]:
        """Make the folder, write the settings, and keep other processes from writing there for the block.

        Raises:
            OutputExistsError: As `check_new`.
            CheckpointError: It cannot be written, or another process is at work in it.
        """
        run = cls(path)
        run.check_new(overwrite=overwrite)
        with writing(path):
            make_directory(path)
        with run.locked():
            run.check_new(overwrite=overwrite)  # another process may have been quicker
            with writing(path):
                # The settings last: they show what the folder is, should this be interrupted.
                for child in sorted(path.iterdir(), key=lambda child: child.name == _SETTINGS):
                    if child.name != _LOCK:
                        remove(child)
                make_directory(run.checkpoints)
            run.write_settings(config)
            yield run

    def write_settings(self, config: Config) -> None:
        """Write the resolved settings, unless they stand there already."""
        path, text = self.path / _SETTINGS, config.to_toml().encode()
        with writing(self.path):
            if not path.is_file() or path.read_bytes() != text:
                replace_file(path, text)

    def check_new(self, *, overwrite: bool) -> None:
        """Check that `create` can make the folder, touching nothing.

        Raises:
            OutputExistsError: It exists and holds anything of worth; with ``overwrite``, it is no run directory.
            CheckpointError: It cannot be written.
        """
        place = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.exists())
        if self._holds_something():
            if not overwrite:
                raise OutputExistsError(f"{self.path} exists; give another --output, or --force to replace the run in it")
            if not (self.path / _SETTINGS).is_file():
                raise OutputExistsError(
                    f"{self.path} is not a run directory, so that --force does not replace it; give another --output"
                )
        if not os.access(place, os.W_OK):
            raise CheckpointError(f"cannot write {self.path}: {place} is read-only; choose another --output")

    def _holds_something(self) -> bool:
        """Return whether there is more than what a run leaves that ended before its first checkpoint."""
        if not self.path.is_dir():
            return self.path.exists()
        names = {child.name for child in (*self.path.iterdir(), *self.checkpoints.glob("*")) if not is_temporary(child)}
        return bool(names) and not (_LOCK in names and names <= {_LOCK, _SETTINGS, self.checkpoints.name})

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Open an existing run directory; CheckpointError if it is none."""
        run = cls(path)
        if not run.pointer_file.is_file() and not run.checkpoints.is_dir():
            raise CheckpointError(f"{path} is not a run directory: it has no {run.pointer_file.name}")
        return run

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def pointer_file(self) -> Path:
        """The file that names the checkpoints that count."""
        return self.path / "checkpoints.json"

    @property
    def model(self) -> Path:
        """The model directory that the run leaves when it has ended."""
        return self.path / "model"

    @property
    def metrics_file(self) -> Path:
        """The log of evaluations."""
        return self.path / "metrics.jsonl"

    def job(self) -> str | None:
        """Return the name of the job under torchrun that wrote here last, as `torchrun_job` names it; None for any other."""
        lines = (self.path / _LOCK).read_text(errors="replace").split("\n") if (self.path / _LOCK).is_file() else []
        return (lines[1] or None) if len(lines) > 1 else None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing here; the lock ends with the process, however that ends.

        Raises:
            CheckpointError: Another process has it.
        """
        with contextlib.ExitStack() as stack:
            with writing(self.path):
                file = stack.enter_context((self.path / _LOCK).open("a+b"))
                _lock(file.fileno(), self.path)
                file.truncate(0)
                file.write(f"{os.getpid()}\n{torchrun_job() or ''}\n".encode())
                file.flush()
            yield

    def pointers(self) -> Pointers | None:
        """Return what checkpoints.json says; None if there is none yet.

        Raises:
            CheckpointError: It is damaged.
        """
        if not self.pointer_file.is_file():
            return None
        values = parse_json(read_file(self.pointer_file, JSON_LIMIT), self.pointer_file)
        return Pointers(**check_form(values, Checkpoints, self.pointer_file).model_dump())

    def pointed(self, which: str) -> Path | None:
        """Return the checkpoint that "best" or "last" names; None if there is none yet."""
        pointers = self.pointers()
        return None if pointers is None else self.checkpoints / getattr(pointers, which)

    def restorable(self) -> Restorable:
        """Read the last checkpoint, or, with a warning that names the damage, the newest one that can be read.

        Raises:
            CheckpointError: None can be read.
        """
        damaged: dict[str, str] = {}
        try:
            pointers = self.pointers()
        except CheckpointError as error:
            logger.warning("%s; taking the newest checkpoint that is whole", error)
            pointers = None
        for name in self._newest_first(None if pointers is None else pointers.last):
            path = self.checkpoints / name
            try:
                found = Restorable(path, load_model_directory(path), load_training(path), tuple(damaged))
            except CheckpointError as error:
                damaged[name] = str(error)
            else:
                for name, reason in damaged.items():
                    logger.warning("the checkpoint %s cannot be read: %s; trying the one before it", name, reason)
                return found
        if damaged:
            raise CheckpointError(f"{self.path}: none of its checkpoints can be read: {'; '.join(damaged.values())}")
        raise CheckpointError(f"{self.path} has no checkpoint to resume from")

    def take_up(self, found: Restorable) -> None:
        """Make a checkpoint the last one, and remove what a killed process left half written.

        Raises:
            CheckpointError: The run has gone on since the checkpoint was read, or its folder cannot be written.
        """
        with writing(self.path):
            for folder in (self.path, self.checkpoints):
                remove_leftovers(folder)
        try:
            old = self.pointers()
        except CheckpointError:
            old = None
        if old is not None and old.last == found.path.name:
            self._prune(old)
        elif old is not None and old.last not in found.damaged:
            raise CheckpointError(f"{self.path} was written to by another process in the meantime; resume it again")
        else:
            damaged = tuple(sorted({*found.damaged, *(() if old is None else old.damaged)}))
            self._point(Pointers(best=self._best_of(found, damaged), last=found.path.name, damaged=damaged))

    def save_checkpoint(self, step: int, *, is_best: bool, save: Callable[[Path], None]) -> Path:
        """Write a checkpoint, move the pointers to it, and only then delete checkpoints that nothing points to."""
        old = self.pointers()
        path = free_name(self.checkpoints / f"step-{step:08d}")
        save(path)
        if old is None:
            new = Pointers(best=path.name, last=path.name)
        else:
            best = path.name if is_best else old.best
            new = Pointers(best=best, last=path.name, previous=old.last, previous_best=old.best, damaged=old.damaged)
        self._point(new)
        self._prune(new)
        return path

    def _prune(self, pointers: Pointers) -> None:
        """Delete the checkpoints that nothing points to; one that cannot be is tried again after the next save."""
        for child in self.checkpoints.iterdir():
            if child.name not in pointers.names:
                try:
                    remove(child)
                except OSError as error:
                    logger.warning("cannot delete the old checkpoint %s: %s", child, error.strerror)

    def write_baseline(self, figures: Mapping[str, Any]) -> None:
        """Write the figures of the linear baseline, over those of an earlier one."""
        with writing(self.path):
            replace_file(self.path / "baseline.json", to_json(figures))

    def baseline(self) -> BaselineFigures | None:
        """Return the figures of the linear baseline; None if none was trained.

        Raises:
            CheckpointError: The file is damaged.
        """
        path = self.path / "baseline.json"
        if not path.is_file():
            return None
        return check_form(parse_json(read_file(path, JSON_LIMIT), path), BaselineFigures, path)

    def evaluations(self) -> list[EvaluationRow]:
        """Return the log of evaluations.

        Raises:
            CheckpointError: A line of it is damaged.
        """
        found = []
        for number, line in enumerate(self._metrics_lines(), start=1):
            place = Path(f"{self.metrics_file}:{number}")
            found.append(check_form(parse_json(line, place), EvaluationRow, place))
        return found

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Add a line to the log of evaluations."""
        self._write_metrics([*self._metrics_lines(), json.dumps(row, sort_keys=True).encode()])

    def keep_metrics(self, count: int) -> None:
        """Keep the log's first ``count`` lines: the run has gone back to where it had as many."""
        lines = self._metrics_lines()
        if len(lines) > count:
            self._write_metrics(lines[:count])

    def _metrics_lines(self) -> list[bytes]:
        return self.metrics_file.read_bytes().splitlines() if self.metrics_file.is_file() else []

    def _write_metrics(self, lines: list[bytes]) -> None:
        with writing(self.path):
            replace_file(self.metrics_file, b"".join(line + b"\n" for line in lines))

    def _point(self, pointers: Pointers) -> None:
        with writing(self.path):
            replace_file(self.pointer_file, to_json(vars(pointers)))

    def _newest_first(self, last: str | None) -> list[str]:
        """Return the names of checkpoints, ``last`` first, then by step and attempt, the newest first."""
        found = {match[0]: match for path in self.checkpoints.glob("*") if (match := _NAME.fullmatch(path.name))}
        names = sorted(found, key=lambda name: (int(found[name]["step"]), int(found[name]["attempt"] or 1)), reverse=True)
        return names if last is None else [last, *(name for name in names if name != last)]

    def _best_of(self, found: Restorable, damaged: Collection[str]) -> str:
        """Return the checkpoint of the best evaluation that ``found`` knows, or ``found`` itself if that is gone."""
        best = found.training.values["best"]
        same_step = [name for name in self._newest_first(None) if best and int(name.split("-")[1]) == best["step"]]
        return next((name for name in same_step if name not in damaged), found.path.name)


def resolve_model_path(path: Path, *, revision: str | None = None) -> Path:
    """Return the model directory that ``path`` is, that the run directory ``path`` holds, or that Hugging Face has.

    Where no such folder is here, and none that it could be in, a ``path`` of the form "user/model" names a repository, of
    which ``revision`` is taken.

    Raises:
        CheckpointError: There is none, here or there.
        HubError: It cannot be fetched.
    """
    if not path.is_dir():
        if is_repo_id(path.as_posix()):
            return download(path.as_posix(), revision=revision)
        is_onnx = path.suffix.lower() == ".onnx" and path.is_file()
        hint = "; of an ONNX file, `seqcls predict` and seqcls.OnnxClassifier make predictions" if is_onnx else ""
        raise CheckpointError(f"there is no model directory {path}{hint}")
    if (path / "config.json").is_file() or (path / "manifest.json").is_file():
        return path
    run = RunDirectory(path)
    model = run.model if run.model.is_dir() else run.pointed("best")
    if model is None:
        raise CheckpointError(
            f"{path} is neither a model directory (no config.json) nor a run directory (no checkpoints.json)"
        )
    return model


def torchrun_job() -> str | None:
    """Return a name for the torchrun that has started this process, the same after a restart; None if none has."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"process {os.getppid()}" if name == "none" else name  # none: nobody has named it


def free_name(path: Path) -> Path:
    """Return ``path``, or the first of path-2, path-3 … that does not exist."""
    number, free = 1, path
    while free.exists() or free.is_symlink():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def _lock(descriptor: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        # POSIX locks, not flock's: data workers, which are copies of this process, must not keep them when it is killed.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            logger.warning(
                "%s cannot be locked (%s): see to it that one process at a time trains there", path, error.strerror
            )
            return
        owner = os.pread(descriptor, 20, 0).decode(errors="replace").partition("\n")[0]
        raise CheckpointError(
            f"{path} is in use by process {owner}; wait for it, stop it, or give another --output"
        ) from None
