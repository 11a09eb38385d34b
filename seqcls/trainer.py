"""The training loop, and the steps it is made of."""

from __future__ import annotations

import contextlib
import itertools
import math
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from seqcls.baseline import Baseline, fit_baseline, require_scikit_learn
from seqcls.batching import Batch, batches, training_order
from seqcls.cache import EncodedData
from seqcls.callbacks import Callback, Checkpointer, EarlyStopping, Evaluation, FitState
from seqcls.checkpoint import RunDirectory, free_name, load_model_directory, load_training, save_model_directory
from seqcls.config import Config, load_recipe
from seqcls.datasets.base import Dataset, Label, Splits
from seqcls.device import autocast, resolve_device, seed_everything, set_threads
from seqcls.encoders.base import Encoder
from seqcls.errors import CheckpointError, ConfigError
from seqcls.inference import predict_logits
from seqcls.metrics import RunningScore, Score, choose_thresholds, score_logits, sum_losses
from seqcls.model import SequenceClassifier
from seqcls.optimization import LearningRate, build_optimizer, class_weights
from seqcls.pipeline import SPLITS, build_encoder, build_model, check_embedding, load_splits, name_objects, prepare_data
from seqcls.reporting.console import ConsoleReporter

# On an accelerator the loop runs ahead of the device; it looks at the losses this seldom, since each look waits.
STEPS_BETWEEN_LOOKS = 20
COMPLETED = "all epochs done"


@dataclass(frozen=True)
class FitResult:
    """What a run came to.

    Attributes:
        run: The run directory.
        model: The model directory of the best checkpoint; None if the run was interrupted.
        stop_reason: Why the loop ended.
        signal: The signal that ended it, if one did.
        seconds: Duration of the whole run, preparation and evaluation included.
        train_examples_per_second: Training speed, evaluation and saving not counted.
        parameters: Number of trained weights.
        validation: Figures of the best checkpoint.
        test: Figures of the best checkpoint on the test split, if there is one.
    """

    run: Path
    model: Path | None
    stop_reason: str
    signal: int | None
    seconds: float
    train_examples_per_second: float
    parameters: int
    validation: Score | None
    test: Score | None

    def as_dict(self) -> dict[str, Any]:
        """Return the result as `seqcls fit --json` prints it."""
        return {
            "run": str(self.run),
            "model": None if self.model is None else str(self.model),
            "stop_reason": self.stop_reason,
            "seconds": round(self.seconds, 3),
            "train_examples_per_second": round(self.train_examples_per_second, 1),
            "parameters": self.parameters,
            "validation": None if self.validation is None else self.validation.as_dict(),
            "test": None if self.test is None else self.test.as_dict(),
        }


@dataclass(frozen=True)
class Plan:
    """What `Trainer.fit` would do: sizes, steps, device."""

    config: Config
    device: str
    label_names: tuple[str, ...]
    examples: Mapping[str, int]
    tokens: Mapping[str, int]
    vocab_size: int
    parameters: int
    steps_per_epoch: int
    total_steps: int

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as `seqcls fit --dry-run --json` prints it."""
        return {**vars(self), "config": self.config.model_dump(mode="json"), "label_names": list(self.label_names)}


class Trainer:
    """Train a classifier on a data set, saving as it goes.

    Args:
        encoder: A registered name, or a built encoder; by default the one that ``config`` names.
        data: A registered name, a path, a built data set, splits, (text, label) pairs, or a data set of Hugging Face; by
            default the data set that ``config`` names.
        config: Settings; by default those of the recipe "default" for this encoder and data set.
        callbacks: Hooks, run after checkpointing and early stopping; by default a `ConsoleReporter`.
        output: The run directory to make; by default a new one under ``runs/``.
        overwrite: Replace the run in ``output`` if there is one.
    """

    def __init__(
        self,
        encoder: str | Encoder | None = None,
        data: str | Dataset | Splits | Iterable[tuple[str, Label]] | None = None,
        *,
        config: Config | None = None,
        callbacks: Sequence[Callback] | None = None,
        output: str | Path | None = None,
        overwrite: bool = False,
    ) -> None:
        self._began = time.monotonic()
        self._built_encoder = encoder if isinstance(encoder, Encoder) else None
        data = data if data is None or isinstance(data, str | Dataset | Splits) else Splits.of(data)
        self._source = None if isinstance(data, str) else data
        config = config or load_recipe(
            "default",
            encoder=encoder if isinstance(encoder, str) else None,
            dataset=data if isinstance(data, str) else None,
        )
        self.config = name_objects(config, encoder, data)
        self.callbacks = [ConsoleReporter()] if callbacks is None else list(callbacks)
        self._output = None if output is None else Path(output)
        self._overwrite = overwrite
        self._resumed: Path | None = None
        self._device = resolve_device(self.config.fit.device)
        self._autocast = autocast(self._device, self.config.fit.precision)
        self._data: EncodedData | None = None
        self._model: SequenceClassifier | None = None

    @classmethod
    def resume(
        cls,
        run: str | Path,
        *,
        changes: Mapping[str, Any] | None = None,
        encoder: Encoder | None = None,
        data: Dataset | Splits | None = None,
        callbacks: Sequence[Callback] | None = None,
    ) -> Trainer:
        """Take up the run in the directory ``run`` where its last checkpoint left it.

        Args:
            run: The run directory; it holds the settings.
            changes: Settings to change, such as {"fit": {"epochs": 12}}; they may extend the run, not alter it.
            encoder: The built encoder, where the run was started with one that is not registered.
            data: The data set or splits, where the run was started with an object.
            callbacks: As for a new run.

        Raises:
            CheckpointError: It is no run directory, or the checkpoint is damaged.
            ConfigError: A change would alter the run.
        """
        directory = RunDirectory.open(Path(run))
        last = directory.pointed("last")
        if last is None:
            raise CheckpointError(f"{run} has no checkpoint to resume from")
        old = load_model_directory(last).config
        new = old.updated(changes or {}, source="resume")
        _check_extends(old, new)
        if data is None and new.data.dataset == SPLITS:
            raise ConfigError(f"the run {run} was given its splits as objects; resume it from Python and pass them as data")
        trainer = cls(encoder, data, config=new, callbacks=callbacks, output=directory.path)
        trainer._resumed = last
        return trainer

    def fit(self) -> FitResult:
        """Train, and return the figures of the best checkpoint.

        SIGINT and SIGTERM end the loop after the running step, with a checkpoint; a second one ends it at once.

        Raises:
            OutputExistsError: The run directory exists.
            CheckpointError: The run directory cannot be written.
            TrainingError: The loss is not finite; the last good checkpoint is kept.
            DataError, ConfigError, DeviceError: As the message says.
        """
        run = self._output_directory()
        data, model = self.prepare()
        state = self._start(model, data)
        if self._resumed is None:
            run = RunDirectory.create(run.path, self.config, overwrite=self._overwrite)
        callbacks = [*self._own_callbacks(run), *self.callbacks]
        with contextlib.ExitStack() as stack:
            received = stack.enter_context(_stop_on_signals(state))
            for callback in callbacks:
                stack.callback(callback.close)
                callback.on_fit_start(state)
            while state.epoch < self.config.fit.epochs and state.stop_reason is None:
                self._run_epoch(state, data, callbacks)
            state.stop(COMPLETED)
            for callback in callbacks:
                callback.on_fit_end(state)
        return self._finish(run, state, data, received)

    def fit_baseline(self) -> Baseline:
        """Train the linear baseline on the same splits; after `fit`, write its figures into the run directory as well.

        It reads the texts, not the encoded splits, so that a data set loads them again.

        Raises:
            MissingExtraError: scikit-learn is not installed.
            DataError: As `fit`.
        """
        require_scikit_learn()
        baseline = fit_baseline(load_splits(self.config.data, self._source))
        if self._output is not None and (run := RunDirectory(self._output)).pointer_file.is_file():
            run.write_baseline(baseline.as_dict())
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
            vocab_size=data.tokenizer.vocab_size,
            parameters=_count_parameters(model),
            steps_per_epoch=steps_per_epoch,
            total_steps=steps_per_epoch * self.config.fit.epochs,
        )

    def prepare(self) -> tuple[EncodedData, SequenceClassifier]:
        """Load and encode the data and build the model with its initial weights; done once."""
        if self._data is None or self._model is None:
            set_threads(self.config.fit.threads)
            if self._built_encoder is None:
                # A wrong option, or a device that the encoder cannot use, must not come to light after minutes of loading.
                with torch.device("meta"):
                    build_encoder(self.config.model).check_device(self._device)
            self._data = prepare_data(self.config.data, self._source, on_load=self._on_load)
            check_embedding(self.config.model, self._data)
            seed_everything(self.config.fit.seed)
            self._model = build_model(
                self.config.model,
                vocab_size=self._data.tokenizer.vocab_size,
                num_classes=len(self._data.label_names),
                encoder=self._built_encoder,
            ).to(self._device)
            self._model.encoder.check_device(self._device)
            if self._resumed is None:
                self._model.embedding.start(self._data.tokenizer.words())
        return self._data, self._model

    def _on_load(self, splits: Splits) -> None:
        for callback in self.callbacks:
            callback.on_data(splits)

    def _run_epoch(self, state: FitState, data: EncodedData, callbacks: Sequence[Callback]) -> None:
        """Train from the state's place in the epoch to the epoch's end, or until a callback asks to stop."""
        fit = self.config.fit
        train = data.splits["train"]
        order = training_order(train.lengths, batch_size=fit.batch_size, seed=fit.seed, epoch=state.epoch, bucket=fit.bucket)
        remaining = batches(train, order[state.step_in_epoch * fit.accumulate :], self._device)
        weights = self._class_weights(data)
        state.model.train()
        while window := list(itertools.islice(remaining, fit.accumulate)):
            started = time.monotonic()
            self._train_step(state, window, weights)
            state.training_seconds += time.monotonic() - started
            for callback in callbacks:
                callback.on_step_end(state)
            epoch_done = state.step_in_epoch == state.steps_per_epoch
            if epoch_done or (fit.eval_every_steps and state.step % fit.eval_every_steps == 0):
                if epoch_done:
                    state.epoch, state.step_in_epoch = state.epoch + 1, 0
                self._evaluate(state, data, callbacks)
            if state.stop_reason is not None:
                return

    def _train_step(self, state: FitState, window: Sequence[Batch], weights: Tensor | None) -> None:
        """Update the weights once from the examples of a window of batches."""
        count = sum(len(batch) for batch in window)
        losses = []
        for batch in window:
            assert batch.labels is not None
            with self._autocast:
                logits = state.model(batch.inputs, batch.lengths)
            loss = sum_losses(logits.float(), batch.labels, weights)
            (loss / count).backward()
            losses.append(loss.detach())
            state.running.update(logits, batch.labels, loss)
        # With no limit given the norm is taken all the same: it shows a gradient that is not finite.
        limit = self.config.fit.clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), limit)
        state.watch(torch.stack([*losses, norm]).sum())
        if self._device.type == "cpu" or state.step % STEPS_BETWEEN_LOOKS == 0:
            state.check_finite()
        state.learning_rate.set_for(state.step)
        state.optimizer.step()
        state.optimizer.zero_grad()
        state.step, state.step_in_epoch = state.step + 1, state.step_in_epoch + 1
        state.examples += count
        if state.averaged is not None:
            state.averaged.update_parameters(state.model)

    def _evaluate(self, state: FitState, data: EncodedData, callbacks: Sequence[Callback]) -> None:
        state.check_finite()
        since = state.evaluated_at
        speed = (state.examples - since[0]) / max(state.training_seconds - since[1], 1e-9)
        evaluation = Evaluation(
            step=state.step,
            epoch=state.epoch,
            train=state.running.compute(),
            validation=self._score(state.evaluated_model, data, "validation"),
            lr=state.learning_rate.value,
            seconds=state.seconds,
            examples_per_second=speed,
        )
        state.running = RunningScore(self._device)
        improved = state.note_evaluation(evaluation)
        for callback in callbacks:
            callback.on_evaluation(state, evaluation, improved=improved)

    def _score(self, model: SequenceClassifier, data: EncodedData, split: str, thresholds: Tensor | None = None) -> Score:
        logits, labels = self._logits(model, data, split)
        return score_logits(logits, labels, thresholds)

    def _logits(self, model: SequenceClassifier, data: EncodedData, split: str) -> tuple[Tensor, Tensor]:
        """Return the logits of a labelled split, and its labels."""
        sequences, fit = data.splits[split], self.config.fit
        logits = predict_logits(
            model, sequences, device=self._device, batch_size=fit.eval_batch_size, precision=fit.precision
        )
        return logits, torch.from_numpy(np.array(sequences.labels))

    def _choose_thresholds(self, model: SequenceClassifier, data: EncodedData) -> Tensor | None:
        """Return a threshold a label, the best on validation, where a text may have several labels."""
        logits, labels = self._logits(model, data, "validation")
        return choose_thresholds(logits, labels) if labels.ndim == 2 else None

    def _start(self, model: SequenceClassifier, data: EncodedData) -> FitState:
        """Build the state of a new run, or restore that of the resumed one."""
        fit = self.config.fit
        steps_per_epoch = self._steps_per_epoch(data)
        total_steps = steps_per_epoch * fit.epochs
        optimizer = build_optimizer(model, fit, self._device)
        averaging = None if fit.ema_decay is None else get_ema_multi_avg_fn(fit.ema_decay)
        state = FitState(
            config=self.config,
            label_names=data.label_names,
            tokenizer=data.tokenizer,
            model=model,
            averaged=None if averaging is None else AveragedModel(model, multi_avg_fn=averaging, use_buffers=True),
            optimizer=optimizer,
            learning_rate=LearningRate(optimizer, fit, total_steps=total_steps),
            device=self._device,
            steps_per_epoch=steps_per_epoch,
            total_steps=total_steps,
            running=RunningScore(self._device),
            started=self._began,
        )
        if self._resumed is not None:
            snapshot = load_training(self._resumed)
            if snapshot.values["steps_per_epoch"] != steps_per_epoch:
                raise CheckpointError(
                    f"{self._resumed} counts {snapshot.values['steps_per_epoch']} steps an epoch, the data now gives "
                    f"{steps_per_epoch}; a run is resumed with the data it was started with"
                )
            state.restore(load_model_directory(self._resumed), snapshot)
        return state

    def _finish(self, run: RunDirectory, state: FitState, data: EncodedData, received: Sequence[int]) -> FitResult:
        """Score the best checkpoint on the test split and leave it as the run's model directory."""
        validation = None if state.best is None else state.best.validation
        test, model_path = None, None
        if not received:
            checkpoint = run.pointed("best")
            assert checkpoint is not None  # one was saved before the first step
            best_model = state.evaluated_model
            load_model_directory(checkpoint).load_into(best_model)
            thresholds = self._choose_thresholds(best_model, data)
            if thresholds is not None:
                validation = self._score(best_model, data, "validation", thresholds)
            test = self._score(best_model, data, "test", thresholds) if "test" in data.splits else None
            scores = {"validation": validation, "test": test}
            model_path = run.model
            save_model_directory(
                model_path,
                config=self.config,
                label_names=data.label_names,
                tokenizer=data.tokenizer,
                weights=best_model.state_dict(),
                thresholds=None if thresholds is None else thresholds.tolist(),
                metrics={name: score.as_dict() for name, score in scores.items() if score is not None},
                replace=True,
            )
        assert state.stop_reason is not None
        return FitResult(
            run=run.path,
            model=model_path,
            stop_reason=state.stop_reason,
            signal=received[0] if received else None,
            seconds=state.seconds,
            train_examples_per_second=state.examples / max(state.training_seconds, 1e-9),
            parameters=_count_parameters(state.model),
            validation=validation,
            test=test,
        )

    def _own_callbacks(self, run: RunDirectory) -> list[Callback]:
        fit = self.config.fit
        checkpointer = Checkpointer(run, every_steps=fit.checkpoint_every_steps, every_minutes=fit.checkpoint_every_minutes)
        return [checkpointer] if fit.patience is None else [checkpointer, EarlyStopping(fit.patience)]

    def _output_directory(self) -> RunDirectory:
        """Choose the run directory and check that it can be made, before any work is done."""
        if self._output is None:
            name = f"{self.config.data.dataset}-{self.config.model.encoder}-{datetime.now():%Y%m%d-%H%M%S}"
            self._output = free_name(Path("runs") / name.replace(":", "-"))
        run = RunDirectory(self._output)
        if self._resumed is None:
            run.check_new(overwrite=self._overwrite)
        return run

    def _steps_per_epoch(self, data: EncodedData) -> int:
        num_batches = math.ceil(len(data.splits["train"]) / self.config.fit.batch_size)
        return math.ceil(num_batches / self.config.fit.accumulate)

    def _class_weights(self, data: EncodedData) -> Tensor | None:
        """Return the weight of each label in the loss, float32 [C]."""
        labels, setting = data.splits["train"].labels, self.config.fit.class_weights
        if setting is None or labels is None:
            return None
        return torch.from_numpy(class_weights(setting, labels, data.label_names)).to(self._device, torch.float32)


def _check_extends(old: Config, new: Config) -> None:
    """Raise ConfigError if ``new`` alters a run of ``old`` rather than extending it."""
    extending = {"epochs", "device", "threads", "patience", "eval_batch_size"}
    extending |= {"checkpoint_every_steps", "checkpoint_every_minutes", "baseline"}
    changed = [
        f"{section}.{name}"
        for section, values in old.model_dump().items()
        for name, value in values.items()
        if new.model_dump()[section][name] != value and name not in extending
    ]
    if changed:
        raise ConfigError(
            f"a resumed run keeps its settings, but {', '.join(changed)} would change; "
            f"start a new run, or change only {', '.join(sorted(extending))}"
        )


def _count_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@contextlib.contextmanager
def _stop_on_signals(state: FitState) -> Iterator[list[int]]:
    """Let the first SIGINT or SIGTERM ask the loop to stop, and the next one act as usual; yields those received."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers only there
        yield received
        return
    usual: dict[int, Any] = {}
    caught: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)

    def stop(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        state.stop(f"interrupted by {signal.Signals(number).name}")
        signal.signal(number, usual[number])

    for number in caught:
        usual[number] = signal.signal(number, stop)
    try:
        yield received
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
