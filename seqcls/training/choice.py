"""Choosing a model: candidates are trained, compared on held-out examples, and the best one is trained again on all."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from seqcls.config.auto import DataShape
from seqcls.config.settings import Config
from seqcls.config.toml import load_toml
from seqcls.config.values import Monitor
from seqcls.data.prepare import SPLITS, load_raw
from seqcls.data.sources import DataLike, source_of
from seqcls.data.splits import Splits
from seqcls.errors import CheckpointError, ConfigError
from seqcls.evaluation.scores import Score, sign_of
from seqcls.storage.lock import LOCK_NAME, locked
from seqcls.storage.run_directory import RunDirectory
from seqcls.storage.writing import to_json, writing
from seqcls.system.files import free_name, place_copy, remove, replace_file
from seqcls.system.processes import world
from seqcls.system.untrusted import check_form, read_json
from seqcls.training.callbacks.base import Callback
from seqcls.training.callbacks.console import ComparisonTable, ConsoleReporter
from seqcls.training.callbacks.early_stopping import MANY_EXAMPLES
from seqcls.training.candidates import FEW_EXAMPLES, Candidate, candidates_for, first_candidate
from seqcls.training.finish import Measured
from seqcls.training.resolve import kind_of, settings_of
from seqcls.training.results import Compared, FitResult, Plan
from seqcls.training.trained import Trained
from seqcls.training.trainer import Trainer

FOLDS = {"text": 5, "features": 3}
"""The parts of a cross-validation: linear models are fitted in a moment, and networks take longer."""
LEAST_GAIN = 0.06
"""The share of examples that validation must add to be worth another training."""
LEAST_SECONDS = 10.0
"""With less time than this, no further candidate is begun."""


@dataclass(frozen=True)
class Choice:
    """What a run was asked to choose, and what has been compared so far; choice.json holds it.

    Attributes:
        refit: Whether to train the best candidate again on all labelled examples but those of test.
        compared: The candidates that are done.
    """

    refit: bool
    compared: tuple[Compared, ...] = ()


class _InterruptedError(Exception):
    """A signal has ended a training; its result says which."""

    def __init__(self, result: FitResult) -> None:
        super().__init__()
        self.result = result


class AutoTrainer:
    """Train the models that fit the data and the time, keep the one that is best on held-out examples, and refit it.

    The candidates of texts are linear models of n-grams, with and without pretrained vectors, and networks beside them;
    those of numbers are recurrent networks. They are compared on the validation split, by the setting ``monitor``; if there
    are fewer than 1,000 training examples and no validation split, by cross-validation. Then the best one is trained again
    on all labelled examples but those of test, for as many epochs as were best. Figures of validation are those from before.

    Args:
        data: As for `Trainer`.
        config: Settings to start from; those of encoder and embedding are the candidates' own.
        callbacks: Hooks of every training; by default a `ConsoleReporter`, which shows one row per candidate.
        output: The run directory to create; by default a new one under ``runs/``.
        overwrite: Replace the run in ``output`` if there is one.
        refit: Whether to train the best candidate again.
        time_budget: Seconds for everything, by default the setting ``max_time``; candidates for which no time is left are
            left out. None for no limit.
        **settings: Settings by name, which override ``config``.

    Raises:
        ConfigError, UnknownNameError, DeviceError: As `Trainer`.

    Example:
        >>> result = AutoTrainer("reviews.csv", time_budget=60).fit()
        >>> [(row.name, row.validation.accuracy) for row in result.compared]
    """

    def __init__(
        self,
        data: DataLike | None = None,
        *,
        config: Config | None = None,
        callbacks: Sequence[Callback | str] | None = None,
        output: str | Path | None = None,
        overwrite: bool = False,
        refit: bool = True,
        time_budget: float | None = None,
        _resumed: bool = False,
        **settings: Any,
    ) -> None:
        self._began = time.monotonic()
        source = None if data is None else source_of(data)
        self._source = None if isinstance(source, str) else source
        objects = [callback for callback in callbacks or () if not isinstance(callback, str)]
        self._callbacks: list[Callback] = [ConsoleReporter()] if callbacks is None else objects
        start = Config() if config is None else config
        self.config = settings_of(source, None, config, callbacks or (), settings).replace(
            # Those of a candidate follow its embedding.
            tokenizer=settings.get("tokenizer", start.data.tokenizer),
            embedding_size=settings.get("embedding_size", start.model.embedding_size),
        )
        name = f"{self.config.data.dataset}-{datetime.now():%Y%m%d-%H%M%S}".replace(":", "-")
        self._run = RunDirectory(free_name(Path("runs") / name) if output is None else Path(output))
        self._overwrite = overwrite
        self._choice = Choice(refit)
        self.time_limit = self.config.fit.max_time if time_budget is None else time_budget
        self._is_resumed = _resumed
        if world().size > 1:
            raise ConfigError("one process compares models; name an encoder to train in several")

    @classmethod
    def resume(
        cls,
        run: str | Path,
        *,
        data: DataLike | None = None,
        callbacks: Sequence[Callback | str] | None = None,
        time_budget: float | None = None,
    ) -> AutoTrainer:
        """Continue the choice in the directory ``run``, which was interrupted.

        Args:
            run: The run directory.
            data: The data, if the run was started with objects.
            callbacks: As for a new run.
            time_budget: Seconds for what is left.

        Raises:
            CheckpointError: ``run`` holds no unfinished choice.
            ConfigError: It was started with objects, and there are no ``data``.
        """
        path = Path(run)
        if not is_unfinished(path):
            raise CheckpointError(f"{path} holds no unfinished choice of a model; resume other runs with Trainer.resume")
        config = Config().updated(load_toml(path / "config.toml"), source=str(path / "config.toml"))
        if data is None and config.data.dataset == SPLITS:
            raise ConfigError(
                f"the run {run} was given its splits as objects; resume it from Python: AutoTrainer.resume(run, data=...)"
            )
        choice = read_choice(path)
        trainer = cls(data, config=config, callbacks=callbacks, output=path, time_budget=time_budget, _resumed=True)
        trainer._choice = Choice(choice.refit)
        return trainer

    @property
    def run(self) -> Path | None:
        """The run directory; None until it is created."""
        return self._run.path if self._run.choice_file.is_file() else None

    @cached_property
    def loaded(self) -> Splits:
        """The splits as the data set has them; loaded once, at the first use."""
        return load_raw(self.config.data, self._source)

    def fit(self) -> FitResult:
        """Compare the candidates, train the best one again, and return its figures.

        A signal ends it with a checkpoint, after which `resume` continues.

        Raises:
            OutputExistsError, CheckpointError, TrainingError, DataError, ConfigError, DeviceError: As `Trainer.fit`.
        """
        with self._opened():
            try:
                best = self._compare()
                folder, result = self._train_again(best)
            except _InterruptedError as interrupted:
                return replace(interrupted.result, run_dir=self._run.path, model_dir=None, compared=self._choice.compared)
            self._keep(best, folder)
        return replace(
            result,
            run_dir=self._run.path,
            model_dir=self._run.model,
            seconds=time.monotonic() - self._began,
            compared=self._choice.compared,
        )

    def plans(self) -> dict[str, Plan]:
        """Return what `fit` would train, by the names of the candidates, without writing a run directory."""
        plans = {}
        for candidate in candidates_for(self._shape, self.config.data):
            config = self.config.replace(**candidate.settings)
            plans[candidate.name] = Trainer(self._source, config=config, callbacks=self._callbacks).plan()
        return plans

    @contextlib.contextmanager
    def _opened(self) -> Iterator[None]:
        """Create the run directory and lock it for the block, or lock that of the resumed run."""
        if self._is_resumed:
            with locked(self._run.path):
                yield
            return
        with RunDirectory.create(self._run.path, self.config, overwrite=self._overwrite):
            self._write_choice()
            yield

    def _compare(self) -> Trained:
        """Train the candidates, and return the best one."""
        table = ComparisonTable(self.config.fit.monitor, show=self._show())
        best: Trained | None = None
        known: dict[str, Any] = {}
        shape = self._shape
        parts = self._parts(shape)
        candidates = candidates_for(shape, self.config.data)
        for index, candidate in enumerate(candidates):
            if best is not None and not self._has_time(best):
                table.say(f"{candidate.name}: no time is left for it")
                continue
            if best is not None and _is_perfect(best.compared.validation):
                break
            is_linear = candidate.settings["encoder"] == "linear"
            seconds = self._share_of_time(left=len(candidates) - index)
            trained = self._train(candidate, parts, seconds, {} if is_linear else known)
            if not index:
                table.begin(trained.compared)
            is_best = best is None or _rank(trained.compared, self.config) > _rank(best.compared, self.config)
            best = trained if is_best or best is None else best
            if is_linear and best is trained:  # the others stand beside its n-grams
                known = {"inverse_penalty": trained.fitted_with["inverse_penalty"], **candidate.ngrams}
            rows, name = (*self._choice.compared, trained.compared), best.compared.name
            compared = tuple(replace(row, is_chosen=row.name == name) for row in rows)
            self._choice = replace(self._choice, compared=compared)
            self._write_choice()
            table.add(trained.compared, is_best=is_best)
        assert best is not None
        return best

    @cached_property
    def _shape(self) -> DataShape:
        """The size and the shape of the training data."""
        first = first_candidate(kind_of(self.config.data.dataset, self._source))
        trainer = Trainer(self._source, config=self.config.replace(**first.settings), callbacks=self._callbacks)
        return trainer.prepare()[0].shape

    def _parts(self, shape: DataShape) -> list[Splits | None]:
        """Return the folds of a cross-validation; [None] stands for the data as they are."""
        if shape.examples >= FEW_EXAMPLES or self.loaded.validation is not None:
            return [None]
        folds = self.loaded.folds(FOLDS[shape.kind], seed=self.config.data.split_seed)
        return list(folds) if len(folds) > 1 else [None]

    def _train(
        self, candidate: Candidate, parts: Sequence[Splits | None], seconds: float | None, known: dict[str, Any]
    ) -> Trained:
        """Train a candidate, once per fold, or take up what is there of it; ``known`` are settings of its n-grams."""
        began = time.monotonic()
        config = self.config.replace(**{**known, **candidate.settings})
        runs = []
        for fold, part in enumerate(parts):
            name = candidate.name if len(parts) == 1 else f"{candidate.name}, part {fold + 1} of {len(parts)}"
            folder = self._run.path / "candidates" / name.replace(" ", "-").replace(",", "")
            limit = None if seconds is None else seconds / len(parts)
            trainer = self._trainer(folder, config, part, title=name, seconds=limit)
            if not RunDirectory(folder).model.is_dir():
                _finished(trainer.fit())
            runs.append((trainer, RunDirectory(folder)))
        return Trained.of(candidate, runs, self.config.data, seconds=time.monotonic() - began)

    def _trainer(
        self,
        folder: Path,
        config: Config,
        part: Splits | None,
        *,
        title: str,
        seconds: float | None = None,
        measured: Measured | None = None,
    ) -> Trainer:
        """Return the trainer of a run in ``folder``, which continues what is there."""
        source, run = part or self._source, RunDirectory(folder)
        callbacks = [
            callback.titled(title) if isinstance(callback, ConsoleReporter) else callback for callback in self._callbacks
        ]
        checkpoint = run.checkpoints.restorable() if run.has_checkpoint else None
        if checkpoint is not None:
            config = checkpoint.model.config
        config = config.replace(max_time=seconds)
        return Trainer(
            source,
            config=config,
            callbacks=callbacks,
            output=folder,
            overwrite=True,
            _resumed=checkpoint,
            _measured=measured,
            _scores_test=measured is not None,
        )

    def _train_again(self, best: Trained) -> tuple[Path, FitResult]:
        """Train the best candidate on all examples, or score the test split; return its run directory and its result."""
        title, table = best.candidate.name, ComparisonTable(self.config.fit.monitor, show=self._show())
        is_crossed = len(best.runs) > 1  # then no training had all examples
        seconds = self._seconds_left()
        has_time = seconds is None or is_crossed or seconds > best.compared.seconds * best.examples / best.trained_on
        if not has_time and self._choice.refit:
            table.say(f"No time is left to train {title} again on all examples")
        is_worth_it = best.examples > (1 + LEAST_GAIN) * best.trained_on
        if is_crossed or (has_time and is_worth_it and self._choice.refit):
            table.say(f"Training {title} again on all {best.examples:,} examples")
            folder, config = self._run.path / "candidates" / "all-examples", best.config_for_all()
        else:
            folder, config = best.runs[0].path, best.config
        trainer = self._trainer(folder, config, None, title=title, measured=best.measured)
        return folder, _finished(trainer.fit())

    def _keep(self, best: Trained, folder: Path) -> None:
        """Make the run in ``folder`` the run of this directory, and remove the candidates.

        They are removed last: if this is interrupted, `resume` finds them, and does it again.
        """
        run = self._run.path
        with writing(run):
            if len(best.runs) == 1 and folder != best.runs[0].path:
                # The report of data without a test split asks this one, which has not seen the validation split.
                place_copy(best.runs[0].model, run / "validated")
            names = [child.name for child in folder.iterdir() if child.name != LOCK_NAME]
            # With the pointers, it is a run. The settings of the choice stay until then.
            last = ("checkpoints.json", "config.toml")
            for name in sorted(names, key=lambda name: last.index(name) if name in last else -1):
                place_copy(folder / name, run / name)
            remove(run / "candidates")

    def _show(self) -> bool:
        return any(isinstance(callback, ConsoleReporter) for callback in self._callbacks)

    def _seconds_left(self) -> float | None:
        return None if self.time_limit is None else self._began + self.time_limit - time.monotonic()

    def _share_of_time(self, *, left: int) -> float | None:
        """Return the seconds for one of ``left`` candidates; as much is kept for the last training."""
        seconds = self._seconds_left()
        return None if seconds is None else max(LEAST_SECONDS, seconds / (left + 1))

    def _has_time(self, best: Trained) -> bool:
        """Return whether another candidate can be tried, and the best one trained again."""
        seconds = self._seconds_left()
        return seconds is None or seconds - best.compared.seconds > LEAST_SECONDS

    def _write_choice(self) -> None:
        values = {**asdict(self._choice), "compared": [row.as_dict() for row in self._choice.compared]}
        with writing(self._run.path):
            replace_file(self._run.choice_file, to_json(values))


def is_unfinished(run: Path) -> bool:
    """Return whether a run directory holds a choice that was interrupted."""
    return RunDirectory(run).choice_file.is_file() and not RunDirectory(run).has_checkpoint


def read_choice(run: Path) -> Choice:
    """Read what has been compared in a run directory; CheckpointError if the file is damaged."""
    path = RunDirectory(run).choice_file
    return check_form(read_json(path), Choice, path)


def _finished(result: FitResult) -> FitResult:
    if result.signal is not None:
        raise _InterruptedError(result)
    return result


def _is_perfect(score: Score) -> bool:
    return score.correct == score.count >= MANY_EXAMPLES


def _rank(compared: Compared, config: Config) -> tuple[float, float]:
    """Return what orders candidates, the best last."""
    monitor: Monitor = config.fit.monitor
    score = compared.validation
    return sign_of(monitor) * score.figure(monitor), score.accuracy if monitor == "loss" else -score.loss
