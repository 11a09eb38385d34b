"""The state of a run, which callbacks read. How it is saved and restored is in resume.py."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqcls.config.auto import chosen
from seqcls.config.settings import Config
from seqcls.config.values import Monitor
from seqcls.data.encoding import EncodedData
from seqcls.data.preprocessor import Preprocessor
from seqcls.errors import NonFiniteError
from seqcls.evaluation.scores import Evaluation, RunningScore, sign_of
from seqcls.model.network import Network
from seqcls.storage.schemas import Progress
from seqcls.system.processes import World
from seqcls.training.finite import FiniteWatch
from seqcls.training.lazy_tables import LazyTables, choose_tables
from seqcls.training.objective import training_class_weights
from seqcls.training.optimizer import LearningRate, build_optimizer, copy_for_average, reduced


@dataclass(frozen=True)
class RunSetup:
    """The parts of a run that no step changes.

    Attributes:
        run: The run directory.
        world: The processes of the run. All hold the same state, except for the figures of their own shares of the batches
            and their random generators.
        steps_per_epoch: Updates of the weights per epoch.
        has_validation: Whether there is a validation split; see the setting ``train_on``.
        label_values: `Splits.label_values` of the data.
        split_digests: `Splits.digests` of the data.
        data_digest: A hash of what the run learns from and is judged by: the encoded splits, and the class weights.
    """

    config: Config
    label_names: tuple[str, ...]
    preprocessor: Preprocessor
    run: Path
    device: torch.device
    world: World
    steps_per_epoch: int
    has_validation: bool
    label_values: Mapping[str, bool | int]
    split_digests: Mapping[str, str]
    data_digest: str


@dataclass(frozen=True, eq=False)
class Learner:
    """The parts of a run that every step changes.

    Attributes:
        averaged: The moving average of the model's weights; None unless ``config.fit.ema_decay`` is set.
        tables: Large tables, of which each step updates only the rows that it has read; all else is the optimizer's.
    """

    model: Network
    averaged: Network | None
    optimizer: torch.optim.Optimizer
    tables: LazyTables
    learning_rate: LearningRate


@dataclass(eq=False)
class StepFigures:
    """Figures of the steps, of this process's share of the batches; kept on the device, so that no step waits for them.

    Attributes:
        running: Of the training batches since the last evaluation.
        pending: Of the batches whose gradients wait for the next update, which may have to be made again.
        last_step: Of the last update; None before the first one.
        gradient_norm: The norm of the gradient of the last update before it was clipped, float [].
        indices: int64 [N], the examples of the last update, as indices of the training split.
    """

    running: RunningScore
    pending: RunningScore
    last_step: RunningScore | None = None
    gradient_norm: Tensor | None = None
    indices: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


@dataclass(eq=False)
class FitState:
    """The state of a run. Callbacks read it, and may call `stop` and `save_soon`.

    Attributes:
        setup: The parts that no step changes: settings, data, device, processes.
        learner: The model, its average, the optimizer and the learning rate.
        progress: Counters and times, as a checkpoint stores them.
        figures: Figures of the last steps.
        watch: Notices losses and gradients that are not finite.
        best: The best evaluation so far, by ``config.fit.monitor``.
        stop_reason: Why the run is to end, once that is known.
        save_requested: Whether a checkpoint was asked for.
        save_seconds: The longest time that a checkpoint has taken.
        started: When this part of the run began, of `time.monotonic`.
    """

    setup: RunSetup
    learner: Learner
    progress: Progress
    figures: StepFigures
    watch: FiniteWatch
    best: Evaluation | None = None
    stop_reason: str | None = None
    save_requested: bool = False
    save_seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def start(
        cls,
        config: Config,
        data: EncodedData,
        model: Network,
        *,
        run: Path,
        device: torch.device,
        world: World,
        began: float,
    ) -> FitState:
        """Return the state of a run that has made no step yet and whose process began at ``began``."""
        steps = steps_per_epoch(config, data)
        reads = int(data.splits["train"].lengths.sum()) / steps
        tables = choose_tables(model, config.fit, device, reads=reads)
        optimizer = build_optimizer(model, config.fit, device, tables=tables.values())
        setup = RunSetup(
            config=config,
            label_names=data.label_names,
            preprocessor=data.preprocessor,
            run=run,
            device=device,
            world=world,
            steps_per_epoch=steps,
            has_validation="validation" in data.splits,
            label_values=data.label_values,
            split_digests=data.digests,
            data_digest=_data_digest(config, data),
        )
        learner = Learner(
            model=model,
            averaged=None if config.fit.ema_decay is None else copy_for_average(model),
            optimizer=optimizer,
            tables=LazyTables(model, tables, optimizer, config.fit),
            learning_rate=LearningRate(optimizer, config.fit, total_steps=steps * chosen(config.fit.epochs)),
        )
        figures = StepFigures(running=RunningScore(device), pending=RunningScore(device))
        return cls(setup, learner, Progress.at_start(), figures, FiniteWatch(device, world), started=began)

    def stop(self, reason: str) -> None:
        """Ask the loop to end after the current step; the first reason is kept."""
        self.stop_reason = self.stop_reason or reason

    def save_soon(self) -> None:
        """Ask for a checkpoint after the current step."""
        self.save_requested = True

    @property
    def config(self) -> Config:
        """The settings of the run."""
        return self.setup.config

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the labels, in the order of the logits."""
        return self.setup.label_names

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.setup.run

    @property
    def device(self) -> torch.device:
        """The device that the model is on."""
        return self.setup.device

    @property
    def world(self) -> World:
        """The processes of the run."""
        return self.setup.world

    @property
    def steps_per_epoch(self) -> int:
        """Updates of the weights per epoch."""
        return self.setup.steps_per_epoch

    @property
    def total_steps(self) -> int:
        """Updates of the weights in the whole run; 0 if there are none to train."""
        if self.model.is_linear:
            return 0
        steps, most = self.setup.steps_per_epoch * chosen(self.config.fit.epochs), self.config.fit.max_steps
        return steps if most is None else min(steps, most)

    @property
    def has_steps_left(self) -> bool:
        """Whether the run is to update the weights again."""
        return self.step < self.total_steps

    @property
    def model(self) -> Network:
        """The model, with the weights of the last update.

        In large tables, rows that the last batches have not read may lag behind by small moves. They make them before they
        are next read, and before each evaluation. `weights` has them all.
        """
        return self.learner.model

    def weights(self) -> dict[str, Tensor]:
        """Return the state dict of `evaluated_model`, with every row of large tables up to date."""
        return self.learner.tables.settled(self.evaluated_model.state_dict())

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of the model."""
        return self.learner.optimizer

    @property
    def learning_rate(self) -> LearningRate:
        """The learning rate; ``learning_rate.value`` is that of the last update."""
        return self.learner.learning_rate

    @property
    def evaluated_model(self) -> Network:
        """The model to evaluate and save: the averaged weights where averaging is on and has begun."""
        averaged = self.learner.averaged
        return self.model if averaged is None or self.step == 0 else averaged

    @property
    def step(self) -> int:
        """Updates of the weights made so far."""
        return self.progress.step

    @property
    def epoch(self) -> int:
        """Number of the current epoch, from 0."""
        return self.progress.epoch

    @property
    def examples(self) -> int:
        """Training examples seen so far."""
        return self.progress.examples

    @property
    def training_seconds(self) -> float:
        """Time spent on training steps so far, without evaluation and saving."""
        return self.progress.training_seconds

    @property
    def rollbacks(self) -> int:
        """Times that the run has gone back to a checkpoint after a loss that was not finite."""
        return self.progress.rollbacks

    @property
    def seconds(self) -> float:
        """Time since the run began, including earlier parts of a resumed run."""
        return self.progress.seconds + time.monotonic() - self.started

    @property
    def running(self) -> RunningScore:
        """Figures of this process's share of the training batches since the last evaluation."""
        return self.figures.running

    @property
    def last_step(self) -> RunningScore | None:
        """Figures of this process's share of the last update; None before the first one."""
        return self.figures.last_step

    @property
    def gradient_norm(self) -> Tensor | None:
        """The norm of the gradient of the last update before it was clipped, float [], on the device."""
        return self.figures.gradient_norm

    @property
    def indices(self) -> NDArray[np.int64]:
        """int64 [N], the examples of the last update, as indices of the training split."""
        return self.figures.indices

    @property
    def position(self) -> tuple[int, int, bool]:
        """The position in the run; it changes whenever there is something new to save."""
        return self.progress.step, self.progress.batch_in_step, self.progress.evaluation_due

    def note_step(self, indices: NDArray[np.int64], gradient_norm: Tensor, *, seconds: float) -> None:
        """Count an update of the weights, made from the examples at ``indices`` in so many seconds."""
        progress, figures, every = self.progress, self.figures, chosen(self.config.fit.eval_every_steps)
        progress.step, progress.step_in_epoch, progress.batch_in_step = progress.step + 1, progress.step_in_epoch + 1, 0
        progress.examples += len(indices)
        progress.training_seconds += seconds
        is_at_end = progress.step_in_epoch == self.steps_per_epoch or not self.has_steps_left
        progress.evaluation_due = is_at_end or bool(every and progress.step % every == 0)
        figures.indices, figures.gradient_norm = indices, gradient_norm
        figures.running.add(figures.pending)
        figures.last_step, figures.pending = figures.pending, RunningScore(self.device)

    def note_evaluation(self, evaluation: Evaluation) -> bool:
        """Count an evaluation; return whether it is the best so far."""
        progress, fit = self.progress, self.config.fit
        progress.evaluated_at = (progress.examples, progress.training_seconds)
        progress.evaluation_due, progress.evaluations = False, progress.evaluations + 1
        improved = self.best is None or _rank(evaluation, fit.monitor) > _rank(self.best, fit.monitor)
        if improved:
            self.best = evaluation
        progress.stale_evaluations = 0 if improved else progress.stale_evaluations + 1
        progress.lr_reduction = reduced(progress.lr_reduction, fit.schedule, improved=improved)
        self.figures.running = RunningScore(self.device)
        return improved

    def note_no_evaluation(self) -> None:
        """Go on where an evaluation would be due, but there is no validation split."""
        self.progress.evaluation_due = False
        self.figures.running = RunningScore(self.device)

    def check_weights(self) -> None:
        """Check that the last update has left finite weights: figures would show it only with the next batch.

        Raises:
            NonFiniteError: A weight is not finite; names the last step and its examples.
        """
        if not self.step:  # initial weights are looked at with the first loss
            return
        bad = [name for name, value in self.evaluated_model.named_parameters() if not value.isfinite().all()]
        if bad:
            cause = f"the update has made {bad[0]} NaN or infinite; use a lower --lr"
            raise NonFiniteError(self.step, self.indices.tolist(), cause)


def steps_per_epoch(config: Config, data: EncodedData) -> int:
    """Return the number of updates of the weights per epoch."""
    num_batches = math.ceil(len(data.splits["train"]) / chosen(config.fit.batch_size))
    return math.ceil(num_batches / config.fit.accumulate_batches)


def sum_over_processes(running: RunningScore, world: World, device: torch.device) -> RunningScore:
    """Return the sums of the same figures of all processes; called by all of them."""
    mine = running.as_dict()
    sums = [mine["loss"], mine["correct"], *mine["pairs"], mine["count"], mine["is_multi_label"]]
    loss, correct, right, named, count, is_multi_label = world.add(torch.tensor(sums, dtype=torch.float64)).tolist()
    values = {"loss": loss, "correct": int(correct), "pairs": [int(right), int(named)], "count": int(count)}
    return RunningScore.from_dict(values | {"is_multi_label": bool(is_multi_label)}, device)


def _rank(evaluation: Evaluation, monitor: Monitor) -> tuple[float, float]:
    """Return what orders evaluations, the best last; the second figure decides between equals."""
    score = evaluation.validation
    return sign_of(monitor) * score.figure(monitor), score.accuracy if monitor == "loss" else -score.loss


def _data_digest(config: Config, data: EncodedData) -> str:
    parts = [data.splits[name].digest.encode() for name in ("train", "validation") if name in data.splits]
    if (weights := training_class_weights(config.fit, data)) is not None:  # a file of weights may have been edited
        parts.append(weights.tobytes())
    return hashlib.sha256(b" ".join(parts)).hexdigest()
