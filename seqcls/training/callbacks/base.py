"""Hooks into the training loop: checkpoints and early stopping, and those of plugins, which the settings name."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from seqcls import registry
from seqcls.config.settings import FitConfig
from seqcls.config.values import OptionValue
from seqcls.data.splits import Splits
from seqcls.errors import PluginError, SeqclsError, TrainingError
from seqcls.storage.model_directory import save_model_directory
from seqcls.storage.run_directory import RunDirectory
from seqcls.training.state import Evaluation, FitState


class Callback:
    """Hooks that a run calls in order; override those you need. Of several processes the first one calls them."""

    def on_data(self, splits: Splits) -> None:
        """Run when texts and labels were loaded; not run where they come encoded from the cache."""

    def on_fit_start(self, state: FitState) -> None:
        """Run before the first step, also of a resumed run."""

    def on_step_end(self, state: FitState) -> None:
        """Run after each update of the weights."""

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        """Run after each evaluation on the validation split."""

    def on_fit_end(self, state: FitState) -> None:
        """Run when the loop has ended, for whatever reason but an exception."""

    def close(self) -> None:
        """Give back what the callback holds; run last, also after an exception."""


class Checkpointer(Callback):
    """Saves a checkpoint before the first step, at each evaluation, every so many steps or minutes, and at the end."""

    def __init__(self, run: RunDirectory, *, every_steps: int | None = None, every_minutes: float | None = None) -> None:
        self._run = run
        self._every_steps = every_steps
        self._every_seconds = None if every_minutes is None else 60 * every_minutes
        self._saved: tuple[int, int, bool] | None = None
        self._saved_at = 0.0

    def on_fit_start(self, state: FitState) -> None:
        """Save at once, so that a full disk or an encoder that cannot be saved is found in seconds, not at the end."""
        self._saved, self._saved_at = state.place, time.monotonic()
        is_new = state.world.is_main and self._run.checkpoints.pointed("last") is None  # else the run is resumed from it
        if state.world.any(is_new):
            self._save(state)

    def on_step_end(self, state: FitState) -> None:
        """Save if it is time, or if it was asked for."""
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
        """Save where the run stands unless that is done."""
        if self._saved != state.place:
            self._save(state)

    def _save(self, state: FitState, *, improved: bool = False, metrics: dict[str, Any] | None = None) -> None:
        state.check_finite()
        state.check_weights()  # those that are no numbers must never take a good checkpoint's place
        started, state.save_requested = time.monotonic(), False
        save = partial(
            save_model_directory,
            config=state.config,
            label_names=state.label_names,
            preprocessor=state.preprocessor,
            weights=state.evaluated_model.state_dict(),
            metrics={"step": state.step, **(metrics or {})},
            training=state.snapshot(),
        )
        if state.world.is_main:
            self._run.checkpoints.save(state.step, is_best=improved, write=save)
        self._saved, self._saved_at = state.place, time.monotonic()
        state.save_seconds = max(state.save_seconds, self._saved_at - started)


class EarlyStopping(Callback):
    """Stops a run after ``patience`` evaluations without a better one (Prechelt 1998)."""

    def __init__(self, patience: int) -> None:
        self._patience = patience

    def on_fit_start(self, state: FitState) -> None:
        """Stop a resumed run that had come to its end."""
        self._look(state)

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        """Stop if the best evaluation is too long ago."""
        del evaluation, improved  # the state has counted
        self._look(state)

    def _look(self, state: FitState) -> None:
        if state.stale_evaluations >= self._patience:
            state.stop(f"no better validation {state.config.fit.monitor} in {self._patience} evaluations")


def build_callbacks(config: FitConfig) -> list[Callback]:
    """Build the callbacks that the settings name; their options were checked before.

    Raises:
        UnknownNameError, PluginError: A name is not known, or its plugin cannot be imported or built.
        MissingExtraError: A callback needs an optional dependency that is not installed.
    """
    return [_build(name, config.callback_options.get(name, {})) for name in config.callbacks]


def _build(name: str, options: dict[str, OptionValue]) -> Callback:
    whose = f"the callback {name!r} of {registry.callbacks.info(name).origin}"
    try:
        return _Named(whose, registry.callbacks.get(name)(**options))
    except SeqclsError:
        raise
    except Exception as error:  # a plugin may raise anything
        raise PluginError(f"{whose} cannot be built: {type(error).__name__}: {error}") from error


class _Named(Callback):
    """A callback that the settings name: its error ends the run as one of ours does, and says whose it is."""

    def __init__(self, whose: str, callback: Callback) -> None:
        self._whose = whose
        self._callback = callback
        self._run: Path | None = None

    def on_data(self, splits: Splits) -> None:
        with self._naming("on_data"):
            self._callback.on_data(splits)

    def on_fit_start(self, state: FitState) -> None:
        self._run = state.run
        with self._naming("on_fit_start"):
            self._callback.on_fit_start(state)

    def on_step_end(self, state: FitState) -> None:
        with self._naming("on_step_end"):
            self._callback.on_step_end(state)

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        with self._naming("on_evaluation"):
            self._callback.on_evaluation(state, evaluation, improved=improved)

    def on_fit_end(self, state: FitState) -> None:
        with self._naming("on_fit_end"):
            self._callback.on_fit_end(state)

    def close(self) -> None:
        with self._naming("close"):
            self._callback.close()

    @contextlib.contextmanager
    def _naming(self, hook: str) -> Iterator[None]:
        try:
            yield
        except SeqclsError:
            raise
        except Exception as error:  # a plugin may raise anything
            remedy = (
                "nothing was trained yet"
                if self._run is None
                else f"the last checkpoint is kept. To go on: seqcls fit --resume {self._run}, and "
                "with --set callbacks=none without any"
            )
            raise TrainingError(f"{self._whose} failed in {hook}: {type(error).__name__}: {error}; {remedy}") from error
