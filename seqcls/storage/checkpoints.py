"""The checkpoints of a run: the ones that count, the newest one that can be read, and the ones that can be deleted.

checkpoints/step-00000352/        a checkpoint: model directory + training.safetensors + training.json
checkpoints.json                  the pointers, replaced once a new checkpoint is complete
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from seqcls.errors import CheckpointError
from seqcls.storage.model_directory import load_model_directory
from seqcls.storage.rebuild import SavedModel
from seqcls.storage.snapshot import TrainingSnapshot, load_training
from seqcls.storage.writing import to_json, writing
from seqcls.system.files import free_name, remove, remove_leftovers, replace_file
from seqcls.system.untrusted import check_form, read_json

_NAME = re.compile(r"step-(?P<step>[0-9]{8,})(-(?P<attempt>[0-9]+))?")
CheckpointName = Annotated[str, Field(pattern=f"^{_NAME.pattern}$")]

logger = logging.getLogger("seqcls")


@dataclass(frozen=True)
class Pointers:
    """The content of checkpoints.json: names of checkpoints.

    Attributes:
        best: The best one by the monitored figure; before the first evaluation, the first one.
        last: The one that training continues from.
        previous: The ``last`` before this one, as a fallback.
        previous_best: The ``best`` that goes with ``previous``.
        damaged: Those that were skipped because they could not be read; they are never deleted.
    """

    best: CheckpointName
    last: CheckpointName
    previous: CheckpointName | None = None
    previous_best: CheckpointName | None = None
    damaged: tuple[CheckpointName, ...] = ()

    @property
    def names(self) -> set[str]:
        """All checkpoints that are kept."""
        return {name for name in (self.best, self.last, self.previous, self.previous_best, *self.damaged) if name}


@dataclass(frozen=True, eq=False)
class Restorable:
    """A checkpoint that was read completely.

    Attributes:
        path: Its folder.
        model: The model in it.
        training: The state of training in it.
        damaged: The names of newer checkpoints that could not be read.
    """

    path: Path
    model: SavedModel
    training: TrainingSnapshot
    damaged: tuple[str, ...]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints in the run directory ``run``."""

    run: Path

    @property
    def folder(self) -> Path:
        """The folder that holds them."""
        return self.run / "checkpoints"

    @property
    def pointer_file(self) -> Path:
        """The file with the pointers; it exists once the first checkpoint is complete."""
        return self.run / "checkpoints.json"

    def pointers(self) -> Pointers | None:
        """Read the pointers; None if there is no checkpoint yet.

        Raises:
            CheckpointError: The file is damaged.
        """
        if not self.pointer_file.is_file():
            return None
        return check_form(read_json(self.pointer_file), Pointers, self.pointer_file)

    def pointed(self, which: Literal["best", "last"]) -> Path | None:
        """Return the folder of the best or the last checkpoint; None if there is none yet. Raises like `pointers`."""
        pointers = self.pointers()
        return None if pointers is None else self.folder / getattr(pointers, which)

    def restorable(self) -> Restorable:
        """Read the last checkpoint or, with a warning that names the damage, the newest one that can be read.

        Raises:
            CheckpointError: There is no checkpoint, or none can be read.
        """
        damaged: dict[str, str] = {}
        try:
            pointers = self.pointers()
        except CheckpointError as error:
            logger.warning("%s; using the newest complete checkpoint", error)
            pointers = None
        for name in self._newest_first(None if pointers is None else pointers.last):
            path = self.folder / name
            try:
                checkpoint = Restorable(path, load_model_directory(path), load_training(path), tuple(damaged))
            except CheckpointError as error:
                damaged[name] = str(error)
            else:
                for name, reason in damaged.items():
                    logger.warning("the checkpoint %s cannot be read: %s; trying the one before it", name, reason)
                return checkpoint
        if damaged:
            raise CheckpointError(f"{self.run}: none of its checkpoints can be read: {'; '.join(damaged.values())}")
        raise CheckpointError(f"{self.run} has no checkpoint to resume from")

    def continue_from(self, checkpoint: Restorable) -> None:
        """Make ``checkpoint`` the last one, and remove what a killed process left incomplete.

        Raises:
            CheckpointError: Another process has written to the run since the checkpoint was read, or the folder cannot be
                written.
        """
        with writing(self.run):
            for folder in (self.run, self.folder):
                remove_leftovers(folder)
        try:
            old = self.pointers()
        except CheckpointError:
            old = None
        if old is not None and old.last == checkpoint.path.name:
            self._prune(old)
        elif old is not None and old.last not in checkpoint.damaged:
            raise CheckpointError(f"{self.run} was written to by another process in the meantime; resume it again")
        else:
            damaged = tuple(sorted({*checkpoint.damaged, *(() if old is None else old.damaged)}))
            self._point(Pointers(best=self._best_of(checkpoint, damaged), last=checkpoint.path.name, damaged=damaged))

    def save(self, step: int, *, is_best: bool, write: Callable[[Path], None]) -> Path:
        """Write a checkpoint, move the pointers to it, and only then delete the checkpoints that nothing points to.

        Args:
            step: Number of updates of the weights so far.
            is_best: Whether it is the best one so far.
            write: Writes the checkpoint at the path that it is given.
        """
        old = self.pointers()
        path = free_name(self.folder / f"step-{step:08d}")
        write(path)
        if old is None:
            new = Pointers(best=path.name, last=path.name)
        else:
            best = path.name if is_best else old.best
            new = Pointers(best=best, last=path.name, previous=old.last, previous_best=old.best, damaged=old.damaged)
        self._point(new)
        self._prune(new)
        return path

    def _point(self, pointers: Pointers) -> None:
        with writing(self.run):
            replace_file(self.pointer_file, to_json(vars(pointers)))

    def _prune(self, pointers: Pointers) -> None:
        """Delete the checkpoints that nothing points to; where that fails, the next save tries again."""
        for child in self.folder.iterdir():
            if child.name not in pointers.names:
                try:
                    remove(child)
                except OSError as error:
                    logger.warning("cannot delete the old checkpoint %s: %s", child, error.strerror)

    def _newest_first(self, last: str | None) -> list[str]:
        """Return the names of all checkpoints: ``last``, then the others from the newest step and attempt to the oldest."""
        matches = [match for path in self.folder.glob("*") if (match := _NAME.fullmatch(path.name))]
        matches.sort(key=lambda match: (int(match["step"]), int(match["attempt"] or 1)), reverse=True)
        names = [match[0] for match in matches]
        return names if last is None else [last, *(name for name in names if name != last)]

    def _best_of(self, checkpoint: Restorable, damaged: Collection[str]) -> str:
        """Return the checkpoint of the best evaluation up to ``checkpoint``, or ``checkpoint`` itself if that is gone."""
        best = checkpoint.training.values["best"]
        same_step = [name for name in self._newest_first(None) if best and int(name.split("-")[1]) == best["step"]]
        return next((name for name in same_step if name not in damaged), checkpoint.path.name)
