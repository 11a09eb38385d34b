"""Saving checkpoints."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from seqcls.evaluation.scores import Evaluation
from seqcls.storage.model_directory import save_model_directory
from seqcls.storage.run_directory import RunDirectory
from seqcls.training.callbacks.base import Callback
from seqcls.training.resume import snapshot
from seqcls.training.state import FitState


class Checkpointer(Callback):
    """Saves a checkpoint before the first step, at each evaluation, every so many steps or minutes, and at the end.

    Args:
        run: The run directory.
        every_steps: Save after this many steps; None for no such checkpoints.
        every_minutes: Save when the last checkpoint is this many minutes old; None for no such checkpoints.
    """

    def __init__(self, run: RunDirectory, *, every_steps: int | None = None, every_minutes: float | None = None) -> None:
        self._run = run
        self._every_steps = every_steps
        self._every_seconds = None if every_minutes is None else 60 * every_minutes
        self._saved: tuple[int, int, bool] | None = None
        self._saved_at = 0.0

    def on_fit_start(self, state: FitState) -> None:
        """Save at once, so that a full disk or an encoder that cannot be saved is found in seconds, not at the end."""
        self._saved, self._saved_at = state.position, time.monotonic()
        is_new = (
            state.world.is_main and self._run.checkpoints.pointed("last") is None
        )  # otherwise the run is resumed from it
        if state.world.any(is_new):
            self._save(state)

    def on_step_end(self, state: FitState) -> None:
        """Save if it is time, or if a checkpoint was requested."""
        by_steps = self._every_steps is not None and state.step % self._every_steps == 0
        by_time = self._every_seconds is not None and time.monotonic() - self._saved_at >= self._every_seconds
        if state.world.any(by_steps or by_time or state.save_requested):
            self._save(state)

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        """Save, and make it the best checkpoint if the evaluation is the best."""
        if state.world.is_main:
            self._run.append_metrics({**evaluation.as_dict(), "best": improved})
        self._save(state, improved=improved, metrics={"validation": evaluation.validation.as_dict()})

    def on_fit_end(self, state: FitState) -> None:
        """Save the state of the run, unless it is saved already."""
        if self._saved != state.position:
            self._save(state)

    def _save(self, state: FitState, *, improved: bool = False, metrics: dict[str, Any] | None = None) -> None:
        state.watch.check()
        state.check_weights()  # weights that are NaN must never take the place of a good checkpoint
        started, state.save_requested = time.monotonic(), False
        write = partial(
            save_model_directory,
            config=state.config,
            label_names=state.label_names,
            preprocessor=state.setup.preprocessor,
            weights=state.weights(),
            split_digests=state.setup.split_digests,
            label_values=state.setup.label_values,
            metrics={"step": state.step, **(metrics or {})},
            training=snapshot(state),
        )
        if state.world.is_main:
            self._run.checkpoints.save(state.step, is_best=improved, write=write)
        self._saved, self._saved_at = state.position, time.monotonic()
        state.save_seconds = max(state.save_seconds, self._saved_at - started)
