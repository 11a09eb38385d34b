"""The search: which trial comes next, as Optuna proposes, and when the search ends.

Optuna samples and prunes. What has happened is recorded here, in the folder of the search: each trial is a function of the
settings and of the trials before it, so that an interrupted search continues as if it had never stopped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seqcls.apps.tuning.directory import TuningDirectory, trial_folder
from seqcls.apps.tuning.limits import Limits
from seqcls.apps.tuning.results import TuningResult
from seqcls.apps.tuning.running import TrialRun
from seqcls.apps.tuning.sampling import Sampler, require_optuna
from seqcls.apps.tuning.space import search_space
from seqcls.apps.tuning.trials import Trial, best_of
from seqcls.config.auto import fit_to_data
from seqcls.config.settings import Config
from seqcls.config.values import OptionValue
from seqcls.data.datasets.base import Dataset
from seqcls.data.prepare import build_dataset, prepare_data
from seqcls.data.splits import Splits
from seqcls.errors import ConfigError, TrainingError, UsageError
from seqcls.storage.lock import locked
from seqcls.storage.run_directory import RunDirectory
from seqcls.system.processes import world
from seqcls.training.callbacks.base import Callback
from seqcls.training.resolve import name_objects
from seqcls.training.results import FitResult
from seqcls.training.stopping import TimeLimit

# A trial may take this many times as long as the starting settings of its encoder, but short ones differ by chance.
_MAX_RATIO = 2
_SHORT_SECONDS = 10.0
# A search in which this many trials failed or were pruned, and none was complete, is given up.
_MAX_WASTED = 50

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
    """Search for better settings for a data set; needs the extra ``tune``.

    The first trials are the starting settings, so that the best one is never worse. The next are drawn by Optuna's TPE
    (Bergstra et al. 2011), seeded by ``fit.seed``. Each is trained, and scored on validation by ``fit.monitor``. It is
    stopped if it is behind the median of the others, or takes twice as long as its start. The test split is not looked
    at. To continue a search that was interrupted, or to give it more time or trials, call it again.

    Args:
        starts: The settings to start from, one for each encoder to choose from; they may differ only in model settings.
        output: The folder of the search.
        data: A built data set or splits; by default the data set that the settings name.
        fixed: Names of settings, or of options, that keep their values: "fit.lr", "hidden_size".
        time_budget: Seconds for all trials, including those before an interruption; None for no limit.
        max_trials: The number of trials, likewise.
        max_size: Maximum size of the model directory in bytes; larger models are not trained. Smaller vocabularies are
            then tried as well.
        callbacks: Hooks into each training.
        report: Called with one line of text when a trial starts and when it ends.
        overwrite: Start over if ``output`` holds a search.
        began: When the time began to count, by `time.monotonic`; by default now.

    Example:
        >>> starts = [load_recipe("default", encoder=encoder, dataset="reviews") for encoder in ("mean-pool", "cnn")]
        >>> result = tune(starts, "tunings/reviews", time_budget=600)
        >>> result.best.values, result.recipe

    Raises:
        MissingExtraError: Optuna is not installed.
        UsageError: The arguments contradict each other, or a starting configuration cannot be trained.
        OutputExistsError: The folder holds something else.
        ConfigError: The folder holds a search with other settings.
        CheckpointError: The folder is damaged or cannot be written, or another process is using it.
        TrainingError: No trial was complete in the time, or nearly all failed or were pruned.
        DataError: As `Trainer.fit`.
    """
    study = _Study(
        starts,
        output,
        data=data,
        fixed=fixed,
        limits=Limits(time.monotonic() if began is None else began, time_budget, max_trials, max_size),
        callbacks=callbacks,
        report=report,
    )
    return study.run(overwrite=overwrite)


class _Study:
    """A search under way; its arguments are those of `tune`."""

    def __init__(
        self,
        starts: Sequence[Config],
        output: str | Path,
        *,
        data: Dataset | Splits | None,
        fixed: Collection[str],
        limits: Limits,
        callbacks: Sequence[Callback],
        report: Callable[[str], None],
    ) -> None:
        require_optuna()
        if limits.seconds is None and limits.trials is None:
            raise UsageError("a search without a time budget needs a number of trials")
        named = [name_objects(start, None, data) for start in starts]
        _check_starts(named)
        named = [fit_to_data(start, shape) for shape in [prepare_data(named[0].data, data).shape] for start in named]
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
            "searched": [{name: asdict(dimension) for name, dimension in space.dimensions.items()} for space in spaces],
        }
        self._trials: list[Trial] = []
        self._earlier_seconds = 0.0

    def run(self, *, overwrite: bool) -> TuningResult:
        """Make trials until the time is used up, or there are enough."""
        self._directory.make()
        with locked(self._directory.path):
            self._earlier_seconds = self._directory.start(self._description, overwrite=overwrite)
            self._trials = self._directory.trials()
            signal = None
            try:
                while (stop_reason := self._stop_reason()) is None:
                    result = self._make_trial()
                    if isinstance(result, FitResult):  # stopped before its end
                        stop_reason, signal = result.stop_reason if result.signal else self._used_up(), result.signal
                        break
                    self._record(result)
            finally:
                self._directory.write_state(self._description, self._seconds)
            if signal is None and self._best is None:
                raise TrainingError(
                    f"no trial is complete, and {stop_reason}; to continue, run the same command with more time"
                )
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
        """Seconds spent so far, including those before an interruption."""
        return self._earlier_seconds + time.monotonic() - self._limits.began

    @property
    def _best(self) -> Trial | None:
        return best_of(self._trials, self._fit.monitor)

    def _stop_reason(self) -> str | None:
        """Return why no other trial is to be made; None if one is."""
        limits = self._limits
        if limits.trials is not None and len(self._trials) >= limits.trials:
            return "the number of trials is reached"
        limit = TimeLimit(limits.began, None if limits.seconds is None else limits.seconds - self._earlier_seconds)
        # With less than half the time of the shortest trial, the next one would hardly be complete.
        if not limit.leaves(min((trial.seconds for trial in self._trials if trial.evaluations), default=0.0) / 2):
            return self._used_up()
        if len(self._trials) >= _MAX_WASTED and self._best is None:
            raise TrainingError(f"none of {len(self._trials)} trials is complete; the last one: {self._trials[-1].reason}")
        return None

    def _used_up(self) -> str:
        return f"the time budget of {TimeLimit(0.0, self._limits.seconds)} is used up"

    def _make_trial(self) -> Trial | FitResult:
        """Make a trial; return the result of its training instead if that was stopped before its end."""
        number = len(self._trials)
        proposal, encoder, values = self._sampler.ask(self._trials)
        space = self._spaces[encoder]
        self._report(f"Trial {number}: {encoder}, {describe_changes(values, space.starts) or 'the settings to start from'}")
        trial_run = TrialRun(
            Trial(number=number, state="failed", encoder=encoder, values=values),
            space,
            RunDirectory(trial_folder(self._directory.path, number)),
            proposal,
            monitor=self._fit.monitor,
            max_size=self._limits.size,
            max_seconds=self._max_seconds(encoder),
            is_start=number < len(self._spaces),
        )
        left = None if self._limits.seconds is None else self._limits.seconds - self._seconds
        return trial_run.train(data=self._data, callbacks=self._callbacks, seconds_left=left)

    def _max_seconds(self, encoder: str) -> float | None:
        """Return how long a trial may take; None if that is not known yet, as for the start itself."""
        starts = self._trials[: len(self._spaces)]
        known = [trial.seconds for trial in starts if trial.encoder == encoder and trial.state == "complete"]
        return max(_MAX_RATIO * known[0], _SHORT_SECONDS) if known else None

    def _record(self, trial: Trial) -> None:
        """Keep a trial that has ended, and the settings and the run of the best one."""
        self._trials.append(trial)
        best = self._best
        self._directory.write(self._trials, None if best is None else self._recipe(best), best)
        self._directory.write_state(self._description, self._seconds)
        outcome = trial.reason
        if trial.validation is not None and trial.state == "complete":
            figures = trial.validation
            outcome = f"validation loss {figures.loss:.4f}, accuracy {100 * figures.accuracy:.2f}%"
        self._report(f"Trial {trial.number} {trial.state}: {outcome}{' *' if best is trial else ''}")

    def _recipe(self, best: Trial) -> str:
        assert best.validation is not None
        head = (
            f"# Trial {best.number} of a search: validation loss {best.validation.loss:.4f}, "
            f"accuracy {100 * best.validation.accuracy:.2f}%, before calibration.\n"
        )
        return head + self._spaces[best.encoder].with_values(best.values).to_toml()


def describe_changes(values: Mapping[str, OptionValue], starts: Mapping[str, OptionValue]) -> str:
    """Return the values that differ from those to start from, in one line: "lr 0.002, hidden_size 64"."""
    changed = {name: value for name, value in values.items() if value != starts[name]}
    return ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in changed.items())


def _check_starts(starts: Sequence[Config]) -> None:
    """Raise a UsageError unless the starting settings can be compared."""
    if not starts:
        raise UsageError("a search needs settings to start from")
    if len({start.model.encoder for start in starts}) < len(starts):
        raise UsageError("an encoder is given twice")
    if any(start.fit != starts[0].fit or start.data != starts[0].data for start in starts):
        raise UsageError("the settings to start from differ in more than the model")
    if starts[0].fit.max_time is not None:
        raise ConfigError("fit.max_time limits one training; omit it, and give the time of all trials as the time budget")
    if world().size > 1:
        raise UsageError("a search runs in one process; start it without torchrun")
