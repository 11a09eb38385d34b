"""The study: which trial comes next, as Optuna says; training it; and the end, in time.

Optuna samples and prunes; what has happened is kept by us, in the folder of the tuning, so that each trial is a function of
the settings and of the trials before it, and a tuning that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqcls.apps.tuning.sampling import Sampler, require_optuna
from seqcls.apps.tuning.space import search_space
from seqcls.apps.tuning.trials import Trial, TuningDirectory, TuningResult, best_of, trial_folder
from seqcls.config.settings import Config
from seqcls.config.values import OptionValue
from seqcls.data.datasets.base import Dataset
from seqcls.data.encoding import EncodedData
from seqcls.data.prepare import build_dataset
from seqcls.data.splits import Splits
from seqcls.errors import ConfigError, TrainingError, UsageError
from seqcls.model.network import Network
from seqcls.storage.run_directory import RunDirectory
from seqcls.storage.schemas import Figures
from seqcls.system.processes import world
from seqcls.training.callbacks.base import Callback
from seqcls.training.resolve import name_objects
from seqcls.training.results import FitResult
from seqcls.training.state import Evaluation, FitState
from seqcls.training.stopping import TimeLimit
from seqcls.training.trainer import Trainer

if TYPE_CHECKING:
    import optuna

# A trial may take so many times as long as the starting settings of its encoder; of short ones the duration is chance.
_MOST_TIMES = 2
_SHORT_SECONDS = 10.0
# A tuning of which so many trials came to nothing is given up.
_MOST_WASTED = 50
# What a model directory holds beside weights and tokenizer.
_REST_OF_MODEL = 8_000

logger = logging.getLogger("seqcls")


def tune(
    starts: Sequence[Config],
    output: str | Path,
    *,
    data: Dataset | Splits | None = None,
    fixed: Collection[str] = (),
    time_budget: float | None = 600.0,
    max_trials: int | None = None,
    max_size: int | None = None,
    callbacks: Sequence[Callback] = (),
    report: Callable[[str], None] = logger.info,
    overwrite: bool = False,
    began: float | None = None,
) -> TuningResult:
    """Search better settings for a data set; needs the extra ``tune``.

    The first trials are the starting settings, so that the best one is never worse. The next are drawn by Optuna's TPE
    (Bergstra et al. 2011), seeded by ``fit.seed``. Each is trained, and scored on validation by ``fit.monitor``. It is
    stopped if it is behind the median of the others, or takes twice as long as its start. The test split is not looked
    at. The same call goes on with a tuning that was interrupted, or that is to have more time or trials.

    Args:
        starts: The settings to start from, one for each encoder that may be chosen; alike in all that is no model setting.
        output: The folder that the tuning is kept in.
        data: A built data set or splits; by default the data set that the settings name.
        fixed: Names of settings, or of options, that keep their values: "fit.lr", "hidden_size".
        time_budget: Seconds for all trials, those before an interruption included; None for no limit.
        max_trials: The number of trials, likewise.
        max_size: Most bytes of a model directory; larger models are not trained. The vocabulary may then shrink.
        callbacks: Hooks into each training.
        report: What is told, a line each, of trials that start and end.
        overwrite: Start anew where ``output`` holds a tuning.
        began: When the time began to count, of `time.monotonic`; by default now.

    Raises:
        MissingExtraError: Optuna is not installed.
        UsageError: What was asked for makes no sense, or a starting configuration cannot be trained.
        OutputExistsError: The folder holds something else.
        ConfigError: It holds a tuning of other settings.
        CheckpointError: It is damaged or cannot be written, or another process is at work in it.
        TrainingError: No trial was complete in the time, or nearly all came to nothing.
        DataError: As `Trainer.fit`.
    """
    study = _Study(
        starts,
        output,
        data=data,
        fixed=fixed,
        limits=_Limits(time.monotonic() if began is None else began, time_budget, max_trials, max_size),
        callbacks=callbacks,
        report=report,
    )
    return study.run(overwrite=overwrite)


def bytes_of(size: str) -> int:
    """Turn "2MB", "500kB" or "1.5MiB" into bytes.

    Raises:
        ConfigError: It is a text of another form.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([kmg]?)(i?)b?", size.strip().lower())
    if match is None or not float(match[1]) or (match[3] and not match[2]):
        raise ConfigError(f"write a size as 500kB, 2MB or 1.5MiB, not {size!r}")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmg".index(prefix or " "))


@dataclass(frozen=True)
class _Limits:
    """When the time began to count, and the most seconds, trials, and bytes of a model."""

    began: float
    seconds: float | None
    trials: int | None
    size: int | None


class _Study:
    """A tuning under way; its arguments are those of `tune`."""

    def __init__(
        self,
        starts: Sequence[Config],
        output: str | Path,
        *,
        data: Dataset | Splits | None,
        fixed: Collection[str],
        limits: _Limits,
        callbacks: Sequence[Callback],
        report: Callable[[str], None],
    ) -> None:
        require_optuna()
        if limits.seconds is None and limits.trials is None:
            raise UsageError("a tuning without a time budget needs a number of trials")
        named = [name_objects(start, None, data) for start in starts]
        _check_starts(named)
        spaces = [search_space(start, fixed=fixed, with_vocabulary=limits.size is not None) for start in named]
        self._spaces = {space.start.model.encoder: space for space in spaces}
        self._fit = named[0].fit
        self._sampler = Sampler(self._spaces, seed=self._fit.seed, monitor=self._fit.monitor)
        self._data = data
        self._directory = TuningDirectory(Path(output))
        self._limits = limits
        self._callbacks, self._report = callbacks, report
        source = data if data is not None else build_dataset(named[0].data)
        self._description: dict[str, Any] = {
            "format_version": 1,
            "data": source.fingerprint(),
            "max_size": limits.size,
            "starts": [space.start.model_dump(mode="json") for space in spaces],
            "searched": [{name: asdict(found) for name, found in space.dimensions.items()} for space in spaces],
        }
        self._trials: list[Trial] = []
        self._earlier = 0.0

    def run(self, *, overwrite: bool) -> TuningResult:
        """Make trials until the time is used up, or there are enough."""
        with self._directory.make().locked():
            self._earlier = self._directory.start(self._description, overwrite=overwrite)
            self._trials = self._directory.trials()
            signal = None
            try:
                while (stop_reason := self._stop_reason()) is None:
                    result = self._make_trial(len(self._trials))
                    if isinstance(result, FitResult):  # it was not over
                        stop_reason, signal = result.stop_reason if result.signal else self._used_up(), result.signal
                        break
                    self._record(result)
            finally:
                self._directory.write_state(self._description, self._seconds)
            if signal is None and self._best is None:
                raise TrainingError(f"no trial is complete, and {stop_reason}; the same command with more time goes on")
            return TuningResult(
                output=self._directory.path,
                monitor=self._fit.monitor,
                trials=tuple(self._trials),
                seconds=self._seconds,
                stop_reason=stop_reason,
                signal=signal,
                importances=None if signal is not None else self._sampler.importances(self._trials),
            )

    @property
    def _seconds(self) -> float:
        return self._earlier + time.monotonic() - self._limits.began

    @property
    def _best(self) -> Trial | None:
        return best_of(self._trials, self._fit.monitor)

    def _stop_reason(self) -> str | None:
        """Return why no other trial is to be made; None if one is."""
        if self._limits.trials is not None and len(self._trials) >= self._limits.trials:
            return "the number of trials is reached"
        limit = TimeLimit(self._limits.began, None if self._limits.seconds is None else self._limits.seconds - self._earlier)
        # A trial that had not half the time of the shortest would hardly come to an end.
        if not limit.leaves(min((trial.seconds for trial in self._trials if trial.evaluations), default=0.0) / 2):
            return self._used_up()
        if len(self._trials) >= _MOST_WASTED and self._best is None:
            raise TrainingError(f"none of {len(self._trials)} trials is complete; the last one: {self._trials[-1].reason}")
        return None

    def _used_up(self) -> str:
        return f"the time budget of {TimeLimit(0.0, self._limits.seconds)} is used up"

    def _record(self, trial: Trial) -> None:
        """Keep a trial that has ended, and the settings and the run of the best one."""
        self._trials.append(trial)
        best = self._best
        self._directory.write(self._trials, None if best is None else self._recipe(best), best)
        self._directory.write_state(self._description, self._seconds)
        is_best = " *" if best is trial else ""
        told = trial.reason if trial.validation is None or trial.state != "complete" else (
            f"validation loss {trial.validation.loss:.4f}, accuracy {100 * trial.validation.accuracy:.2f}%{is_best}"
        )  # fmt: skip
        self._report(f"Trial {trial.number} {trial.state}: {told}")

    def _recipe(self, best: Trial) -> str:
        assert best.validation is not None
        head = (
            f"# Trial {best.number} of a tuning: validation loss {best.validation.loss:.4f}, "
            f"accuracy {100 * best.validation.accuracy:.2f}%, before calibration.\n"
        )
        return head + self._spaces[best.encoder].with_values(best.values).to_toml()

    def _make_trial(self, number: int) -> Trial | FitResult:
        """Make a trial; return the result of its training instead if that was stopped before it was over."""
        began = time.monotonic()
        asked, encoder, values = self._sampler.ask(self._trials)
        space = self._spaces[encoder]
        trial = Trial(number=number, state="failed", encoder=encoder, values=values)
        self._report(f"Trial {number}: {encoder}, {describe_changes(values, space.starts) or 'the settings to start from'}")
        run = RunDirectory(trial_folder(self._directory.path, number))
        watcher = _Watcher(asked, run, monitor=self._fit.monitor, most_seconds=self._most_seconds(encoder))
        try:
            trainer = self._trainer(space.with_values(values), run, [watcher, *self._callbacks])
            data, model = trainer.prepare()
            trial = trial.model_copy(update={"size": _model_size(data, model), "parameters": _num_weights(model)})
            assert trial.size is not None
            if self._limits.size is not None and trial.size > self._limits.size:
                seconds = time.monotonic() - began
                reason = f"too large: {trial.size / 1e6:.2f} MB"
                return trial.model_copy(update={"state": "pruned", "reason": reason, "seconds": seconds})
            result = trainer.fit()
        except TrainingError as error:
            failure = str(error)
        except (ConfigError, RuntimeError, ValueError, MemoryError) as error:
            if number < len(self._spaces):  # no combination of ours is to blame
                raise
            failure = f"{type(error).__name__}: {error}"
        else:
            return self._judge(trial, result, watcher)
        return trial.model_copy(update={"reason": failure, "seconds": time.monotonic() - began})

    def _judge(self, trial: Trial, result: FitResult, watcher: _Watcher) -> Trial | FitResult:
        if result.signal is not None or result.is_cut_short:
            return result
        is_pruned = watcher.reason is not None and result.stop_reason == watcher.reason
        return trial.model_copy(
            update={
                "state": "pruned" if is_pruned else "complete",
                "reason": watcher.reason if is_pruned else "",
                "value": None if is_pruned or watcher.best is None else getattr(watcher.best, self._fit.monitor),
                "validation": watcher.best,
                "evaluations": watcher.evaluations,
                "seconds": result.seconds,
            }
        )

    def _trainer(self, config: Config, run: RunDirectory, callbacks: Sequence[Callback]) -> Trainer:
        """Return the trainer of a trial, which goes on where it was interrupted."""
        left = None if self._limits.seconds is None else self._limits.seconds - self._seconds
        limited = config.updated({"fit": {"max_time": left}}, source="tuning")
        if run.pointer_file.is_file():
            known = run.restorable().model.config
            if known.updated({"fit": {"max_time": left}}, source="tuning") == limited:
                changes = {"fit": {"max_time": left}}
                return _Trainer.resume(run.path, changes=changes, data=self._data, callbacks=callbacks)
        return _Trainer(None, self._data, config=limited, callbacks=callbacks, output=run.path, overwrite=True)

    def _most_seconds(self, encoder: str) -> float | None:
        """Return how long a trial may take; None if that is not known, as of the start itself."""
        start = self._trials[: len(self._spaces)]
        known = [trial.seconds for trial in start if trial.encoder == encoder and trial.state == "complete"]
        return max(_MOST_TIMES * known[0], _SHORT_SECONDS) if known else None


class _Trainer(Trainer):
    """Trains without a look at the test split: one that settings were chosen by would be no test any more."""

    def prepare(self) -> tuple[EncodedData, Network]:
        data, model = super().prepare()
        return replace(data, splits={name: split for name, split in data.splits.items() if name != "test"}), model


class _Watcher(Callback):
    """Tells Optuna how a trial gets on, and stops it when it is behind the others, or takes too long."""

    def __init__(self, asked: optuna.Trial, run: RunDirectory, *, monitor: str, most_seconds: float | None) -> None:
        self._asked = asked
        self._run = run
        self._monitor = monitor
        self._most_seconds = most_seconds
        self.evaluations: dict[int, float] = {}
        self.best: Figures | None = None
        self.reason: str | None = None

    def on_fit_start(self, state: FitState) -> None:
        """Take note of the evaluations of a run that was interrupted."""
        for row in self._run.evaluations():
            self._note(state, row.step, getattr(row.validation, self._monitor))

    def on_step_end(self, state: FitState) -> None:
        """Stop a trial that takes too long."""
        if self._most_seconds is not None and state.seconds > self._most_seconds:
            self._stop(state, f"too slow: more than {self._most_seconds:.0f} s")

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        """Stop a trial that is behind."""
        del improved
        self._note(state, evaluation.step, getattr(evaluation.validation, self._monitor))
        if state.step < state.total_steps and self._asked.should_prune():
            self._stop(state, f"behind the median after {_percent(state, evaluation.step)}% of the steps")

    def on_fit_end(self, state: FitState) -> None:
        """Keep the best figures."""
        if state.best is not None:
            self.best = Figures(**asdict(state.best.validation))

    def _note(self, state: FitState, step: int, figure: float) -> None:
        percent = _percent(state, step)
        if percent not in self.evaluations:  # Optuna keeps the first figure of a place
            self.evaluations[percent] = figure
            self._asked.report(figure, percent)

    def _stop(self, state: FitState, reason: str) -> None:
        if state.stop_reason is None:
            self.reason = reason
            state.stop(reason)


def describe_changes(values: Mapping[str, OptionValue], starts: Mapping[str, OptionValue]) -> str:
    """Return the values that are not those to start from, in a line: "lr 0.002, hidden_size 64"."""
    changed = {name: value for name, value in values.items() if value != starts[name]}
    return ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in changed.items())


def _percent(state: FitState, step: int) -> int:
    """Return how far a run is, by which trials are compared whatever the size of their batches."""
    return 100 * step // state.total_steps


def _model_size(data: EncodedData, model: Network) -> int:
    """Return about how many bytes the model directory will have."""
    weights: int = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    return weights + len(data.preprocessor.to_json().encode()) + _REST_OF_MODEL


def _num_weights(model: Network) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _check_starts(starts: Sequence[Config]) -> None:
    """Raise a UsageError unless the starting settings can be compared."""
    if not starts:
        raise UsageError("a tuning needs settings to start from")
    if len({start.model.encoder for start in starts}) < len(starts):
        raise UsageError("an encoder is given twice")
    if any(start.fit != starts[0].fit or start.data != starts[0].data for start in starts):
        raise UsageError("the settings to start from differ in more than the model")
    if starts[0].fit.max_time is not None:
        raise ConfigError("fit.max_time limits one training; leave it away, and give the time of all trials as the budget")
    if world().size > 1:
        raise UsageError("a tuning is one process; start it without torchrun")
