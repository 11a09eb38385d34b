"""The Trainer: what a run is made of, from settings to the model directory; the loop itself is in loop.py."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqcls.config.recipe_files import load_recipe
from seqcls.config.settings import Config, resumable_settings
from seqcls.data.datasets.base import Dataset
from seqcls.data.encoding import EncodedData
from seqcls.data.prepare import SPLITS, load_raw, load_splits, prepare_data
from seqcls.data.sources import DataLike, source_of
from seqcls.data.splits import Splits
from seqcls.errors import CheckpointError, ConfigError, DataError
from seqcls.evaluation.baseline import Baseline, fit_baseline, require_scikit_learn
from seqcls.evaluation.calibration import Calibration, calibrate
from seqcls.evaluation.scores import RunningScore, Score, choose_thresholds, score_logits
from seqcls.model.build import build_encoder, build_model, check_embedding
from seqcls.model.encoders.base import Encoder
from seqcls.model.native.library import native
from seqcls.model.network import Network
from seqcls.storage.checkpoints import Restorable
from seqcls.storage.lock import last_job, locked, torchrun_job
from seqcls.storage.model_directory import load_model_directory, save_model_directory
from seqcls.storage.rebuild import SavedModel
from seqcls.storage.run_directory import RunDirectory
from seqcls.system.device import autocast, move_to, resolve_device, set_threads, use_deterministic_algorithms
from seqcls.system.files import free_name
from seqcls.system.memory import keep_freed_memory
from seqcls.system.processes import world
from seqcls.system.randomness import rank_seed, seed_everything
from seqcls.training.callbacks.base import Callback, Checkpointer, EarlyStopping, build_callbacks
from seqcls.training.callbacks.console import ConsoleReporter
from seqcls.training.environment import differences
from seqcls.training.loop import Loop
from seqcls.training.optimizer import LearningRate, build_optimizer, class_weights, copy_for_average
from seqcls.training.resolve import name_objects
from seqcls.training.results import FitResult, Plan
from seqcls.training.scoring import Scorer
from seqcls.training.state import FitState
from seqcls.training.stopping import SPARE_SECONDS, Signals, TimeLimit

logger = logging.getLogger("seqcls")


class Trainer:
    """Train a classifier on a data set, saving as it goes.

    Args:
        encoder: A registered name, or a built encoder; by default the one that ``config`` names.
        data: A registered name, a path, a built data set, splits, (text, label) pairs, or a data set of Hugging Face; by
            default the data set that ``config`` names.
        config: Settings; by default those of the recipe "default" for this encoder and data set.
        callbacks: Hooks, run after checkpointing and early stopping, and registered names of hooks, which become part of the
            settings; by default a `ConsoleReporter`. Those that ``config`` names run in any case, after the others.
        output: The run directory to make; by default a new one under ``runs/``.
        overwrite: Replace the run in ``output`` if there is one.
    """

    def __init__(
        self,
        encoder: str | Encoder | None = None,
        data: DataLike | None = None,
        *,
        config: Config | None = None,
        callbacks: Sequence[Callback | str] | None = None,
        output: str | Path | None = None,
        overwrite: bool = False,
    ) -> None:
        self._began = time.monotonic()
        self._built_encoder = encoder if isinstance(encoder, Encoder) else None
        data = None if data is None else source_of(data)
        self._source = None if isinstance(data, str) else data
        config = config or load_recipe(
            "default",
            encoder=encoder if isinstance(encoder, str) else None,
            dataset=data if isinstance(data, str) else None,
        )
        names = [callback for callback in callbacks or () if isinstance(callback, str)]
        if names:
            config = config.updated({"fit": {"callbacks": [*config.fit.callbacks, *names]}}, source="Trainer")
        self.config = name_objects(config, encoder, data)
        self.callbacks: list[Callback] = []
        if world().is_main:
            given = [ConsoleReporter()] if callbacks is None else callbacks
            objects = [callback for callback in given if not isinstance(callback, str)]
            self.callbacks = [*objects, *build_callbacks(self.config.fit)]
        self._output = None if output is None else Path(output)
        self._overwrite = overwrite
        self._resumed: Restorable | None = None
        self._world = world()
        self._device = resolve_device(self.config.fit.device, self._world.local_rank)
        autocast(self._device, self.config.fit.precision)  # refuses what the device cannot
        self._data: EncodedData | None = None
        self._model: Network | None = None

    @classmethod
    def resume(
        cls,
        run: str | Path,
        *,
        changes: Mapping[str, Any] | None = None,
        encoder: Encoder | None = None,
        data: Dataset | Splits | None = None,
        callbacks: Sequence[Callback | str] | None = None,
    ) -> Trainer:
        """Take up the run in the directory ``run`` where its last checkpoint left it.

        Where that checkpoint is damaged, a warning says how, and the run goes on from the one before it.

        Args:
            run: The run directory; it holds the settings.
            changes: Settings to change, such as {"fit": {"epochs": 12}}; they may extend the run, not alter it.
            encoder: The built encoder, where the run was started with one that is not registered.
            data: The data set or splits, where the run was started with an object.
            callbacks: As for a new run.

        Raises:
            CheckpointError: It is no run directory, or no checkpoint of it can be read.
            ConfigError: A change would alter the run.
        """
        directory = RunDirectory.open(Path(run))
        found = directory.checkpoints.restorable()
        old = found.model.config
        new = _without_left_out(old, changes or {}).updated(changes or {}, source="resume")
        _check_extends(old, new)
        if data is None and new.data.dataset == SPLITS:
            raise ConfigError(f"the run {run} was given its splits as objects; resume it from Python and pass them as data")
        trainer = cls(encoder, data, config=new, callbacks=callbacks, output=directory.path)
        trainer._resumed = found
        return trainer

    @classmethod
    def start_or_resume(
        cls,
        *,
        config: Config,
        callbacks: Sequence[Callback | str] | None = None,
        output: str | Path | None = None,
        overwrite: bool = False,
    ) -> Trainer:
        """Return the trainer of a new run or, where torchrun has restarted this process, of the run that it had begun.

        After a failure, torchrun starts the same command again. The run in ``output`` is resumed if it belongs to the same
        torchrun job and holds a checkpoint. The arguments are those of `Trainer`.

        Raises:
            CheckpointError, ConfigError: As `resume`.
        """
        trainer = cls(config=config, callbacks=callbacks, output=output, overwrite=overwrite)
        is_restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT") or 0) > 0
        if is_restarted and output is not None:
            run = RunDirectory(Path(output))
            if last_job(run.path) == torchrun_job() and run.checkpoints.pointers() is not None:
                return cls.resume(run.path, changes=trainer.config.model_dump(), callbacks=callbacks)
        return trainer

    @property
    def run(self) -> Path | None:
        """The run directory, once it holds a checkpoint."""
        return self._output if self._output is not None and RunDirectory(self._output).has_checkpoint else None

    def fit(self) -> FitResult:
        """Train, and return the figures of the best checkpoint.

        SIGINT and SIGTERM end the loop after the running batch, with a checkpoint; a second one ends it at once. SIGUSR1
        asks for a checkpoint.

        Raises:
            OutputExistsError: The run directory exists.
            CheckpointError: The run directory cannot be written, or another process writes there.
            TrainingError: The loss is not finite, memory is used up, or a data worker died; the last checkpoint is kept.
            DataError, ConfigError, DeviceError: As the message says.
        """
        signals = Signals()
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._world.reporting())
            stack.enter_context(signals.saving())
            run = self._output_directory()
            if self._resumed is not None and self._world.is_main:
                stack.enter_context(locked(run.path))
            data, model = self.prepare()
            state = self._start(model, data)
            if self._world.is_main:
                self._open(run, state, stack)
            callbacks = [*self._own_callbacks(run), *self.callbacks]
            scorer = Scorer(self.config.fit, data, self._device, self._world)
            if self._device.type == "cpu":
                keep_freed_memory()
            limit = TimeLimit(self._began, self.config.fit.max_time)
            loop = Loop(state, data, run=run, scorer=scorer, callbacks=callbacks, signals=signals, limit=limit)
            with contextlib.ExitStack() as looping:
                looping.enter_context(signals.stopping(state))
                for callback in callbacks:
                    looping.callback(callback.close)
                    callback.on_fit_start(state)
                if self._device.type == "cpu" and (library := native()) is not None:
                    looping.enter_context(library.flushing_denormals())
                loop.train()
                for callback in callbacks:
                    callback.on_fit_end(state)
            scores: dict[str, Score] = {}
            calibration = None
            # Half of what was spare: the loop kept all of it, and its end may have taken some.
            has_time = limit.leaves(loop.test_seconds(), spare=SPARE_SECONDS / 2)
            # A signal may have come to one process alone, since the loop has ended.
            received, lacks_time = self._world.largest(signals.received or 0, not has_time)
            signals.received = received or None
            if not received:
                scores, calibration = self._finish(run, state, data, scorer, has_time=not lacks_time)
        assert state.stop_reason is not None
        return FitResult(
            run=run.path,
            model=None if signals.received is not None else run.model,
            stop_reason=state.stop_reason,
            is_cut_short=loop.is_cut_short,
            signal=signals.received,
            seconds=state.seconds,
            train_examples_per_second=state.examples / max(state.training_seconds, 1e-9),
            parameters=_count_parameters(state.model),
            validation=scores.get("validation", None if state.best is None else state.best.validation),
            test=scores.get("test"),
            calibration=calibration,
        )

    def _open(self, run: RunDirectory, state: FitState, stack: contextlib.ExitStack) -> None:
        """Make the run directory, or bring it to where the resumed run stands, and keep other runs out of it."""
        if self._resumed is None:
            stack.enter_context(RunDirectory.create(run.path, self.config, overwrite=self._overwrite))
        else:
            run.checkpoints.continue_from(self._resumed)
            run.keep_metrics(state.evaluations)
            run.write_settings(self.config)

    @cached_property
    def loaded(self) -> Splits:
        """The splits as the data set has them, not encoded; loaded, for once and for all, when they are first asked for."""
        return load_raw(self.config.data, self._source)

    def fit_baseline(self) -> Baseline:
        """Train the linear baseline on the same splits; after `fit`, write its figures into the run directory as well.

        It reads the texts, not the encoded splits: see `loaded`.

        Raises:
            MissingExtraError: scikit-learn is not installed.
            DataError: As `fit`.
        """
        require_scikit_learn()
        baseline = fit_baseline(load_splits(self.config.data, self.loaded))
        if self._output is not None and (run := RunDirectory(self._output)).has_checkpoint:
            run.write_baseline(baseline)
        return baseline

    def plan(self) -> Plan:
        """Prepare data and model, and return what `fit` would do, without writing a run directory."""
        if self._resumed is None and self._output is not None:
            RunDirectory(self._output).check_new(overwrite=self._overwrite)
        data, model = self.prepare()
        steps_per_epoch = self._steps_per_epoch(data)
        return Plan(
            config=self.config,
            device=str(self._device),
            label_names=data.label_names,
            examples={name: len(split) for name, split in data.splits.items()},
            tokens={name: int(split.lengths.sum()) for name, split in data.splits.items()},
            vocab_size=data.preprocessor.input_size,
            parameters=_count_parameters(model),
            steps_per_epoch=steps_per_epoch,
            total_steps=steps_per_epoch * self.config.fit.epochs,
        )

    def prepare(self) -> tuple[EncodedData, Network]:
        """Load and encode the data and build the model with its initial weights; done once."""
        if self._data is None or self._model is None:
            set_threads(self.config.fit.threads)
            if self.config.fit.deterministic:
                use_deterministic_algorithms()
            if self._built_encoder is None:
                # A wrong option, or a device that the encoder cannot use, must not come to light after minutes of loading.
                with torch.device("meta"):
                    build_encoder(self.config.model).check_device(self._device)
            with self._world.main_first():  # the others find the encoded data in the cache
                self._data = prepare_data(self.config.data, self._source, on_load=self._on_load)
            self._require_same_data(self._data)
            check_embedding(self.config.model, self._data)
            seed_everything(self.config.fit.seed)
            model = build_model(
                self.config.model,
                vocab_size=self._data.preprocessor.input_size,
                num_classes=len(self._data.label_names),
                encoder=self._built_encoder,
            )
            self._model = move_to(model, self._device)
            self._model.encoder.check_device(self._device)
            if self._resumed is None:
                self._model.embedding.start(self._data.preprocessor.words())
            self._world.broadcast(self._model)
            if self._world.rank:
                seed_everything(rank_seed(self.config.fit.seed, self._world.rank))
        return self._data, self._model

    def _require_same_data(self, data: EncodedData) -> None:
        digests = self._world.gather(data.splits["train"].digest.encode())
        if len(set(digests)) > 1:
            raise DataError("the processes of this run have read different training data; give all of them the same files")

    def _on_load(self, splits: Splits) -> None:
        for callback in self.callbacks:
            callback.on_data(splits)

    def _start(self, model: Network, data: EncodedData) -> FitState:
        """Build the state of a new run, or restore that of the resumed one."""
        assert self._output is not None
        fit = self.config.fit
        steps_per_epoch = self._steps_per_epoch(data)
        total_steps = steps_per_epoch * fit.epochs
        optimizer = build_optimizer(model, fit, self._device)
        state = FitState(
            config=self.config,
            label_names=data.label_names,
            preprocessor=data.preprocessor,
            model=model,
            averaged=None if fit.ema_decay is None else copy_for_average(model),
            optimizer=optimizer,
            learning_rate=LearningRate(optimizer, fit, total_steps=total_steps),
            device=self._device,
            steps_per_epoch=steps_per_epoch,
            total_steps=total_steps,
            running=RunningScore(self._device),
            step_running=RunningScore(self._device),
            data_digest=self._data_digest(data),
            run=self._output,
            world=self._world,
            started=self._began,
        )
        if self._resumed is not None:
            state.restore(self._resumed.model, self._resumed.training)
            changed = differences(self._resumed.training.values["environment"], self._device, self._world.size)
            if changed:
                logger.warning("the run goes on in another environment, so that the bits may differ: %s", ", ".join(changed))
        return state

    def _finish(
        self, run: RunDirectory, state: FitState, data: EncodedData, scorer: Scorer, *, has_time: bool
    ) -> tuple[dict[str, Score], Calibration | None]:
        """Leave the best checkpoint, calibrated, as the run's model directory, and return its figures."""
        model, scores = state.evaluated_model, {}
        best = self._load_best(run, state)
        best.load_into(model)
        if state.best is not None:  # its checkpoint may be damaged, and another stand in for it
            is_known = best.metrics.get("step") == state.best.step
            scores["validation"] = state.best.validation if is_known else scorer.score(model, "validation")
        calibration, thresholds, temperature = None, None, 1.0
        is_calibrated, is_multi_label = self.config.fit.calibrate and has_time, data.splits["validation"].is_multi_label
        if is_calibrated or is_multi_label:
            logits, labels = scorer.logits(model, "validation")
            logits = logits.double()
            if is_calibrated:
                calibration = calibrate(logits, labels)
                temperature = calibration.temperature
            if is_multi_label:
                thresholds = choose_thresholds(logits / temperature, labels)
            scores["validation"] = score_logits(logits / temperature, labels, thresholds)
        if "test" in data.splits and has_time:
            scores["test"] = scorer.score(model, "test", thresholds, temperature)
        elif "test" in data.splits:
            logger.warning("no time is left to score the test split; `seqcls evaluate %s` does it", run.path)
        if self._world.is_main:
            self._save_model(run, model, data, scores, thresholds=thresholds, calibration=calibration)
        self._world.any(False)  # it is there when the other processes return
        return scores, calibration

    def _save_model(
        self,
        run: RunDirectory,
        model: Network,
        data: EncodedData,
        scores: Mapping[str, Score],
        *,
        thresholds: Tensor | None,
        calibration: Calibration | None,
    ) -> None:
        metrics: dict[str, Any] = {name: score.as_dict() for name, score in scores.items()}
        if calibration is not None:
            metrics["calibration"] = calibration.as_dict()
        save_model_directory(
            run.model,
            config=self.config,
            label_names=data.label_names,
            preprocessor=data.preprocessor,
            weights=model.state_dict(),
            thresholds=None if thresholds is None else thresholds.tolist(),
            temperature=1.0 if calibration is None else calibration.temperature,
            metrics=metrics,
            replace=True,
        )

    def _load_best(self, run: RunDirectory, state: FitState) -> SavedModel:
        """Read the best checkpoint; the last where no evaluation was made, or, with a warning, where the best is damaged."""
        pointers = run.checkpoints.pointers()
        assert pointers is not None  # a checkpoint was saved before the first step
        if state.best is not None:
            try:
                return load_model_directory(run.checkpoints.folder / pointers.best)
            except CheckpointError as error:
                logger.warning("the best checkpoint cannot be read: %s; taking the last one", error)
        return load_model_directory(run.checkpoints.folder / pointers.last)

    def _own_callbacks(self, run: RunDirectory) -> list[Callback]:
        fit = self.config.fit
        checkpointer = Checkpointer(run, every_steps=fit.checkpoint_every_steps, every_minutes=fit.checkpoint_every_minutes)
        return [checkpointer] if fit.patience is None else [checkpointer, EarlyStopping(fit.patience)]

    def _output_directory(self) -> RunDirectory:
        """Choose the run directory and check that it can be made, before any work is done."""
        if self._output is None:
            name = f"{self.config.data.dataset}-{self.config.model.encoder}-{datetime.now():%Y%m%d-%H%M%S}"
            self._output = free_name(Path("runs") / name.replace(":", "-"))
        self._output = Path(os.fsdecode(self._world.gather(os.fsencode(self._output))[0]))
        run = RunDirectory(self._output)
        if self._resumed is None and self._world.is_main:
            run.check_new(overwrite=self._overwrite)
        return run

    def _data_digest(self, data: EncodedData) -> str:
        parts = [data.splits[name].digest.encode() for name in ("train", "validation")]
        labels, setting = data.splits["train"].labels, self.config.fit.class_weights
        if setting is not None and labels is not None:  # a file of weights may have been edited
            parts.append(class_weights(setting, labels, data.label_names).tobytes())
        return hashlib.sha256(b" ".join(parts)).hexdigest()

    def _steps_per_epoch(self, data: EncodedData) -> int:
        num_batches = math.ceil(len(data.splits["train"]) / self.config.fit.batch_size)
        return math.ceil(num_batches / self.config.fit.accumulate_batches)


def _without_left_out(config: Config, changes: Mapping[str, Any]) -> Config:
    """Return the settings of a run without the options of callbacks that ``changes`` leaves out."""
    fit = config.updated({"fit": changes.get("fit", {})}, source="resume").fit
    kept = {name: values for name, values in config.fit.callback_options.items() if name in fit.callbacks}
    return config.model_copy(update={"fit": config.fit.model_copy(update={"callback_options": kept})})


def _check_extends(old: Config, new: Config) -> None:
    """Raise ConfigError if ``new`` alters a run of ``old`` rather than extending it."""
    extending = resumable_settings()
    changed = [
        f"{section}.{name}"
        for section, values in old.model_dump().items()
        for name, value in values.items()
        if new.model_dump()[section][name] != value and name not in extending
    ]
    if new.fit.epochs < old.fit.epochs:
        raise ConfigError(f"a run of {old.fit.epochs} epochs cannot be resumed for {new.fit.epochs}; give as many, or more")
    if changed:
        raise ConfigError(
            f"a resumed run keeps its settings, but {', '.join(changed)} would change; "
            f"start a new run, or change only {', '.join(sorted(extending))}"
        )


def _count_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
