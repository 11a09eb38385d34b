"""One trial: training with given settings, and the reasons for ending it early."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from seqcls.apps.tuning.space import Space
from seqcls.apps.tuning.trials import Trial
from seqcls.config.values import Monitor
from seqcls.data.datasets.base import Dataset
from seqcls.data.encoding import EncodedData
from seqcls.data.splits import Splits
from seqcls.errors import ConfigError, TrainingError
from seqcls.evaluation.scores import Evaluation, Score
from seqcls.model.network import Network
from seqcls.storage.resolved_options import resolve_options
from seqcls.storage.run_directory import RunDirectory
from seqcls.training.callbacks.base import Callback
from seqcls.training.results import FitResult
from seqcls.training.state import FitState
from seqcls.training.trainer import Trainer

if TYPE_CHECKING:
    import optuna

# Bytes of the files of a model directory other than weights and tokenizer.
_SIZE_OF_OTHER_FILES = 8_000


@dataclass(frozen=True)
class TrialRun:
    """A trial that is to be made.

    Attributes:
        trial: Its number, encoder and values.
        space: The settings that its values go into.
        run: Its run directory.
        proposal: The trial as Optuna proposed it.
        monitor: The figure that trials are judged by.
        max_size: Most bytes of the model directory.
        max_seconds: Seconds after which the trial is too slow.
        is_start: Whether these are settings to start from: an error then is the user's to fix, and is raised.
    """

    trial: Trial
    space: Space
    run: RunDirectory
    proposal: optuna.Trial
    monitor: Monitor
    max_size: int | None
    max_seconds: float | None
    is_start: bool

    def train(
        self, *, data: Dataset | Splits | None, callbacks: Sequence[Callback], seconds_left: float | None
    ) -> Trial | FitResult:
        """Train, and return the trial as it ended, or the result of a training that was stopped before its end."""
        began = time.monotonic()
        trial = self.trial
        watcher = _Watcher(self.proposal, self.run, monitor=self.monitor, max_seconds=self.max_seconds)
        try:
            trainer = self._trainer(data, [watcher, *callbacks], seconds_left)
            size, parameters = _measure(*trainer.prepare())
            trial = trial.model_copy(update={"size": size, "parameters": parameters})
            if self.max_size is not None and size > self.max_size:
                reason = f"too large: {size / 1e6:.2f} MB"
                return trial.model_copy(update={"state": "pruned", "reason": reason, "seconds": time.monotonic() - began})
            result = trainer.fit()
        except TrainingError as error:
            failure = str(error)
        except (ConfigError, RuntimeError, ValueError, MemoryError) as error:
            if self.is_start:
                raise
            failure = f"{type(error).__name__}: {error}"
        else:
            is_unfinished = result.signal is not None or result.is_cut_short
            return result if is_unfinished else self._judge(trial, result, watcher)
        return trial.model_copy(update={"reason": failure, "seconds": time.monotonic() - began})

    def _judge(self, trial: Trial, result: FitResult, watcher: _Watcher) -> Trial:
        is_pruned = watcher.reason is not None and result.stop_reason == watcher.reason
        return trial.model_copy(
            update={
                "state": "pruned" if is_pruned else "complete",
                "reason": watcher.reason if is_pruned else "",
                "value": None if is_pruned or watcher.best is None else watcher.best.figure(self.monitor),
                "validation": watcher.best,
                "evaluations": watcher.evaluations,
                "seconds": result.seconds,
            }
        )

    def _trainer(self, data: Dataset | Splits | None, callbacks: Sequence[Callback], seconds_left: float | None) -> Trainer:
        """Return the trainer; it resumes a run that was interrupted."""
        changes = {"fit": {"max_time": seconds_left}}
        config = self.space.with_values(self.trial.values).updated(changes, source="tuning")
        if self.run.has_checkpoint:
            started_with = self.run.checkpoints.restorable().model.config
            if started_with.updated(changes, source="tuning") == resolve_options(config):
                return _TrainerWithoutTest.resume(self.run.path, changes=changes, data=data, callbacks=callbacks)
        return _TrainerWithoutTest(data, config=config, callbacks=callbacks, output=self.run.path, overwrite=True)


class _TrainerWithoutTest(Trainer):
    """Trains without looking at the test split: once it has chosen settings, it is no longer a test."""

    def prepare(self) -> tuple[EncodedData, Network]:
        data, model = super().prepare()
        return replace(data, splits={name: split for name, split in data.splits.items() if name != "test"}), model


class _Watcher(Callback):
    """Reports the progress of a trial to Optuna, and stops the trial when it is behind the others or too slow."""

    def __init__(self, proposal: optuna.Trial, run: RunDirectory, *, monitor: Monitor, max_seconds: float | None) -> None:
        self._proposal = proposal
        self._run = run
        self._monitor = monitor
        self._max_seconds = max_seconds
        self.evaluations: dict[int, float] = {}
        self.best: Score | None = None
        self.reason: str | None = None

    def on_fit_start(self, state: FitState) -> None:
        """Report the evaluations that an interrupted run has made before."""
        for row in self._run.evaluations():
            self._report(state, row.step, row.validation.figure(self._monitor))

    def on_step_end(self, state: FitState) -> None:
        """Stop a trial that takes too long."""
        if self._max_seconds is not None and state.seconds > self._max_seconds:
            self._stop(state, f"too slow: more than {self._max_seconds:.0f} s")

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        """Stop a trial that is behind."""
        del improved
        self._report(state, evaluation.step, evaluation.validation.figure(self._monitor))
        if state.step < state.total_steps and self._proposal.should_prune():
            self._stop(state, f"behind the median after {_percent(state, evaluation.step)}% of the steps")

    def on_fit_end(self, state: FitState) -> None:
        """Keep the best figures."""
        if state.best is not None:
            self.best = state.best.validation

    def _report(self, state: FitState, step: int, figure: float) -> None:
        percent = _percent(state, step)
        if percent not in self.evaluations:  # Optuna keeps only the first figure for each percentage
            self.evaluations[percent] = figure
            self._proposal.report(figure, percent)

    def _stop(self, state: FitState, reason: str) -> None:
        if state.stop_reason is None:
            self.reason = reason
            state.stop(reason)


def _percent(state: FitState, step: int) -> int:
    """Return the percentage of the steps that are done; it compares trials of any batch size."""
    return 100 * step // state.total_steps


def _measure(data: EncodedData, model: Network) -> tuple[int, int]:
    """Return about how many bytes the model directory will have, and the number of trained weights."""
    weights: int = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    size = weights + len(data.preprocessor.to_json().encode()) + _SIZE_OF_OTHER_FILES
    return size, sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
