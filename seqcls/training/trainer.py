"""The Trainer sets up a run, from settings to the model directory; the loop itself is in loop.py."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from seqcls.config.auto import chosen, fit_to_data
from seqcls.config.settings import Config
from seqcls.data.encoding import EncodedData
from seqcls.data.prepare import SPLITS, load_raw, prepare_data
from seqcls.data.sources import DataLike, source_of
from seqcls.data.splits import Splits
from seqcls.errors import CheckpointError, ConfigError, DataError
from seqcls.evaluation.baseline import Baseline
from seqcls.model.build import build_encoder, build_model, check_embedding
from seqcls.model.encoders.base import Encoder
from seqcls.model.network import Network
from seqcls.storage.checkpoints import Restorable
from seqcls.storage.lock import last_job, locked, torchrun_job
from seqcls.storage.run_directory import RunDirectory
from seqcls.system.device import autocast, move_to, resolve_device, set_threads, use_deterministic_algorithms
from seqcls.system.files import free_name
from seqcls.system.processes import world
from seqcls.system.randomness import rank_seed, seed_everything
from seqcls.training.arguments import data_first
from seqcls.training.baseline import fit_baseline_to
from seqcls.training.callbacks.base import Callback
from seqcls.training.callbacks.checkpointing import Checkpointer
from seqcls.training.callbacks.console import ConsoleReporter
from seqcls.training.callbacks.early_stopping import EarlyStopping
from seqcls.training.callbacks.named import build_callbacks
from seqcls.training.callbacks.notify import CallbackList
from seqcls.training.environment import differences, fast_arithmetic
from seqcls.training.failures import Recovery
from seqcls.training.finish import Finish, Measured, finish
from seqcls.training.linear import fit_linear
from seqcls.training.loop import Loop
from seqcls.training.resolve import settings_of
from seqcls.training.results import FitResult, Plan
from seqcls.training.resume import changed_settings, restore
from seqcls.training.scoring import Scorer
from seqcls.training.state import FitState, steps_per_epoch
from seqcls.training.stopping import Ending, Signals, Stopping, TimeLimit

logger = logging.getLogger("seqcls")


class Trainer:
    """Train a classifier on data, saving as it goes.

    Args:
        data: A registered name, a path, a built data set, splits, or the data themselves: a list of (text, label) pairs, a
            (texts, labels) pair of sequences, a DataFrame, or a data set of Hugging Face; by default the data set that
            ``config`` names.
        encoder: A registered name, or a built encoder; by default the one that ``config`` names. It may also come first, as
            in version 0.1.
        config: Settings to start from; by default those of the recipe "default" for this encoder and data set.
        callbacks: Hooks, run after checkpointing and early stopping; registered names among them become part of the
            settings. By default a `ConsoleReporter`. Callbacks that ``config`` names run in any case, after the others.
        output: The run directory to create; by default a new one under ``runs/``.
        overwrite: Replace the run in ``output`` if there is one.
        **settings: Settings by name, which override ``config``: ``epochs=3``, ``lr=1e-3``,
            ``encoder_options={"hidden_size": 64}``.

    Raises:
        ConfigError: A setting is unknown, or has a wrong value.
        UnknownNameError: No encoder, data set or callback has the given name.
        DeviceError: The device or precision is not available.

    Example:
        >>> result = Trainer("imdb", encoder="bilstm", epochs=3, lr=1e-3).fit()
        >>> pairs = [("a fine film", "good"), ("a dull film", "bad")]
        >>> result = Trainer(pairs, encoder="lstm", output="first-run").fit()
    """

    def __init__(
        self,
        data: DataLike | None = None,
        encoder: str | Encoder | None = None,
        *,
        config: Config | None = None,
        callbacks: Sequence[Callback | str] | None = None,
        output: str | Path | None = None,
        overwrite: bool = False,
        _resumed: Restorable | None = None,
        _measured: Measured | None = None,
        _scores_test: bool = True,
        **settings: Any,
    ) -> None:
        self._began = time.monotonic()
        data, encoder = data_first(data, encoder)
        source = None if data is None else source_of(data)
        self._source = None if isinstance(source, str) else source
        self._encoder = encoder if isinstance(encoder, Encoder) else None
        self.config = settings_of(source, encoder, config, callbacks or (), settings)
        self._world = world()
        self.callbacks: list[Callback] = []
        self._named_callbacks: dict[str, Callback] = {}
        if self._world.is_main:
            objects = [callback for callback in callbacks or () if not isinstance(callback, str)]
            self.callbacks = [ConsoleReporter()] if callbacks is None else objects
            self._named_callbacks = build_callbacks(self.config.fit)
            self.callbacks += self._named_callbacks.values()
        self._run_directory = None if output is None else RunDirectory(Path(output))
        self._overwrite = overwrite
        self._resumed = _resumed
        self._measured = _measured  # for the training on all examples
        self._scores_test = _scores_test
        self._device = resolve_device(self.config.fit.device, self._world.local_rank)
        autocast(self._device, self.config.fit.precision)  # refuses what the device cannot do

    @classmethod
    def resume(
        cls,
        run: str | Path,
        *,
        changes: Mapping[str, Any] | None = None,
        encoder: Encoder | None = None,
        data: DataLike | None = None,
        callbacks: Sequence[Callback | str] | None = None,
        **settings: Any,
    ) -> Trainer:
        """Continue the run in the directory ``run`` from its last checkpoint.

        If that checkpoint is damaged, a warning names the damage, and the run continues from the one before it.

        Args:
            run: The run directory, which holds the settings.
            changes: Settings to change by section, such as {"fit": {"epochs": 12}}; they may extend the run, not alter it.
            encoder: The built encoder, if the run was started with one that is not registered.
            data: The data, if the run was started with objects.
            callbacks: As for a new run.
            **settings: Settings to change by name, such as ``epochs=12``.

        Raises:
            CheckpointError: ``run`` is not a run directory, or none of its checkpoints can be read.
            ConfigError: A change would alter the run.
        """
        directory = RunDirectory.open(Path(run))
        checkpoint = directory.checkpoints.restorable()
        if directory.choice_file.is_file() and checkpoint.model.config.data.train_on == "all":
            raise CheckpointError(
                f"{run} holds a chosen model that was trained on all examples, and is done; start a new run"
            )
        config = changed_settings(checkpoint.model.config, changes or {}, settings)
        if data is None and config.data.dataset == SPLITS:
            raise ConfigError(
                f"the run {run} was given its splits as objects; resume it from Python with Trainer.resume(run, data=...)"
            )
        return cls(data, encoder, config=config, callbacks=callbacks, output=directory.path, _resumed=checkpoint)

    @classmethod
    def start_or_resume(
        cls,
        *,
        config: Config,
        callbacks: Sequence[Callback | str] | None = None,
        output: str | Path | None = None,
        overwrite: bool = False,
    ) -> Trainer:
        """Return the trainer of a new run or, if torchrun has restarted this process, of the run that it had begun.

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
        """The run directory; None until it holds a checkpoint."""
        run = self._run_directory
        return run.path if run is not None and run.has_checkpoint else None

    @property
    def time_limit(self) -> float | None:
        """The seconds that the run may take; None for no limit."""
        return self.config.fit.max_time

    def fit(self) -> FitResult:
        """Train, and return the figures of the best checkpoint.

        SIGINT and SIGTERM end the loop after the current batch, with a checkpoint; a second one ends it at once. SIGUSR1
        asks for a checkpoint.

        Raises:
            OutputExistsError: The run directory exists.
            CheckpointError: The run directory cannot be written, or another process writes there.
            TrainingError: The loss is not finite, memory is used up, or a data worker or a callback failed; the last
                checkpoint is kept.
            DataError, ConfigError, DeviceError: As the message says.
        """
        signals = Signals()
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._world.reporting())
            stack.enter_context(signals.saving())
            run = self._choose_run_directory()
            if self._resumed is not None and self._world.is_main:
                stack.enter_context(locked(run.path))
            data, model = self.prepare()
            state = self._start(run, data, model)
            if self._world.is_main:
                stack.enter_context(self._opened(run, state))
            scorer = Scorer(self.config.fit, data, self._device, self._world)
            ending = self._train(run, state, data, scorer, signals)
            finished = (
                Finish({})
                if ending.signal
                else finish(run, state, data, scorer, has_time=ending.has_time, measured=self._measured)
            )
        return FitResult(
            run_dir=run.path,
            model_dir=None if ending.signal else run.model,
            stop_reason=ending.reason,
            is_cut_short=ending.is_cut_short,
            signal=ending.signal,
            seconds=state.seconds,
            train_examples_per_second=state.examples / max(state.training_seconds, 1e-9),
            parameters=_count_parameters(model),
            validation=finished.scores.get("validation", None if state.best is None else state.best.validation),
            test=finished.scores.get("test"),
            calibration=finished.calibration,
        )

    def plan(self) -> Plan:
        """Prepare data and model, and return what `fit` would do, without writing a run directory."""
        if self._resumed is None and self._run_directory is not None:
            self._run_directory.check_new(overwrite=self._overwrite)
        data, model = self.prepare()
        steps, fit = steps_per_epoch(self.config, data), self.config.fit
        return Plan(
            config=self.config,
            device=str(self._device),
            label_names=data.label_names,
            examples={name: len(split) for name, split in data.splits.items()},
            tokens={name: int(split.lengths.sum()) for name, split in data.splits.items()},
            kind=data.preprocessor.kind,
            vocab_size=data.preprocessor.input_size,
            parameters=_count_parameters(model),
            steps_per_epoch=steps,
            total_steps=0 if model.is_linear else min(steps * chosen(fit.epochs), fit.max_steps or sys.maxsize),
        )

    def prepare(self) -> tuple[EncodedData, Network]:
        """Load and encode the data, and build the model with its initial weights; done once, at the first call."""
        return self._prepared

    @cached_property
    def loaded(self) -> Splits:
        """The splits as the data set has them, not encoded; loaded once, at the first use."""
        return load_raw(self.config.data, self._source)

    def fit_baseline(self) -> Baseline:
        """Fit the linear baseline to the same splits; after `fit`, also write its figures into the run directory.

        It is the wide path of a network that has one. For other networks the texts are loaded again.

        Raises:
            ConfigError: The data are numbers.
            DataError: As `fit`.
        """
        data, model = self.prepare()
        if model.wide is not None and model.wide.weights.any():
            baseline = fit_baseline_to(data, self.config.fit, copy.deepcopy(model.wide).to("cpu"))
        else:
            data = prepare_data(self.config.data.model_copy(update={"wide": True}), self._source)
            baseline = fit_baseline_to(data, self.config.fit)
        if self.run is not None:
            RunDirectory(self.run).write_baseline(baseline)
        return baseline

    @cached_property
    def _prepared(self) -> tuple[EncodedData, Network]:
        set_threads(self.config.fit.threads)
        if self.config.fit.deterministic:
            use_deterministic_algorithms()
        if self._encoder is None:
            # Find a wrong option, or a device that the encoder cannot use, before minutes of loading.
            with torch.device("meta"):
                build_encoder(self.config.model).check_device(self._device)
        data = self._load_data()
        self.config = fit_to_data(self.config, data.shape)
        check_embedding(self.config.model, data)
        return data, self._build_model(data)

    def _load_data(self) -> EncodedData:
        with self._world.main_first():  # the other processes find the encoded data in the cache
            on_load = CallbackList(self.callbacks, self._named_callbacks).on_data
            data = prepare_data(self.config.data, self._source, on_load=on_load)
        digests = self._world.gather(data.splits["train"].digest.encode())
        if len(set(digests)) > 1:
            raise DataError("the processes of this run have read different training data; give all of them the same files")
        if not self._scores_test:
            data = replace(data, splits={name: split for name, split in data.splits.items() if name != "test"})
        return data

    def _build_model(self, data: EncodedData) -> Network:
        seed_everything(self.config.fit.seed)
        model = build_model(
            self.config.model,
            vocab_size=data.preprocessor.input_size,
            ngrams=data.preprocessor.ngrams,
            num_classes=len(data.label_names),
            encoder=self._encoder,
        )
        model = move_to(model, self._device)
        model.encoder.check_device(self._device)
        if self._resumed is None:
            for member in model.members:
                member.embedding.start(data.preprocessor.words())
        self._world.broadcast(model)
        if self._world.rank:
            seed_everything(rank_seed(self.config.fit.seed, self._world.rank))
        return model

    def _choose_run_directory(self) -> RunDirectory:
        """Return the run directory, the same in all processes, and check first that it can be created."""
        if self._run_directory is None:
            name = f"{self.config.data.dataset}-{self.config.model.encoder}-{datetime.now():%Y%m%d-%H%M%S}"
            self._run_directory = RunDirectory(free_name(Path("runs") / name.replace(":", "-")))
        path = self._world.gather(os.fsencode(self._run_directory.path))[0]
        self._run_directory = RunDirectory(Path(os.fsdecode(path)))
        if self._resumed is None and self._world.is_main:
            self._run_directory.check_new(overwrite=self._overwrite)
        return self._run_directory

    def _start(self, run: RunDirectory, data: EncodedData, model: Network) -> FitState:
        """Return the state of a new run, whose wide path is fitted here, or that of the resumed one."""
        if model.wide is not None and self._resumed is None:
            limit = TimeLimit(self._began, self.config.fit.max_time)
            fit_linear(model, data, self.config.fit, self._device, self._world, limit)
        state = FitState.start(
            self.config, data, model, run=run.path, device=self._device, world=self._world, began=self._began
        )
        if self._resumed is not None:
            restore(state, self._resumed.model, self._resumed.training)
            changed = differences(self._resumed.training.values["environment"], self._device, self._world.size)
            if changed:
                logger.warning(
                    "the environment has changed, so results may not be the same bit by bit: %s", ", ".join(changed)
                )
        return state

    @contextlib.contextmanager
    def _opened(self, run: RunDirectory, state: FitState) -> Iterator[None]:
        """Create the run directory and lock it for the block, or bring that of the resumed run back to the state."""
        if self._resumed is None:
            with RunDirectory.create(run.path, self.config, overwrite=self._overwrite):
                yield
        else:
            run.checkpoints.continue_from(self._resumed)
            run.keep_metrics(state.progress.evaluations)
            run.write_settings(self.config)
            yield

    def _train(self, run: RunDirectory, state: FitState, data: EncodedData, scorer: Scorer, signals: Signals) -> Ending:
        """Run the loop with its hooks, and return how it ended."""
        fit = self.config.fit
        checkpointer = Checkpointer(run, every_steps=fit.checkpoint_every_steps, every_minutes=fit.checkpoint_every_minutes)
        early_stopping = EarlyStopping(chosen(fit.patience))
        hooks = CallbackList([checkpointer, early_stopping, *self.callbacks], self._named_callbacks)
        stopping = Stopping(state, signals=signals, limit=TimeLimit(self._began, fit.max_time), scorer=scorer)
        loop = Loop(state, data, hooks=hooks, scorer=scorer, stopping=stopping, recovery=Recovery(state, run))
        with signals.stopping(state), contextlib.closing(hooks), fast_arithmetic(self._device):
            hooks.on_fit_start(state)
            loop.train()
            hooks.on_fit_end(state)
        return stopping.ending()


def _count_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
