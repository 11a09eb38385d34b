"""Hooks into the training loop, the state they see, and the two that every run has: checkpoints and early stopping."""

from __future__ import annotations

import random
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from seqcls.checkpoint import RunDirectory, SavedModel, TrainingSnapshot, save_model_directory
from seqcls.config import Config
from seqcls.datasets.base import Splits
from seqcls.errors import TrainingError
from seqcls.metrics import RunningScore, Score
from seqcls.model import SequenceClassifier
from seqcls.optimization import LearningRate, optimizer_tensors, restore_optimizer
from seqcls.sequences import Preprocessor


@dataclass(frozen=True)
class Evaluation:
    """The figures of one evaluation during training.

    Attributes:
        train: Figures of the training batches since the evaluation before, with dropout on.
        seconds: Time since the run began, earlier parts of a resumed run included.
        examples_per_second: Training speed since the evaluation before, evaluation and saving not counted.
    """

    step: int
    epoch: int
    train: Score
    validation: Score
    lr: float
    seconds: float
    examples_per_second: float

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return asdict(self)


@dataclass(eq=False)
class FitState:
    """Where a run stands. Callbacks read it, and may call `stop`.

    Attributes:
        step: Updates of the weights made so far.
        epoch: Number of the running epoch, from 0.
        step_in_epoch: Updates made in the running epoch.
        best: The best evaluation so far, by ``config.fit.monitor``.
        stale_evaluations: Evaluations since the best one.
        running: Figures of the training batches since the last evaluation.
    """

    config: Config
    label_names: tuple[str, ...]
    tokenizer: Preprocessor
    model: SequenceClassifier
    averaged: AveragedModel | None
    optimizer: torch.optim.Optimizer
    learning_rate: LearningRate
    device: torch.device
    steps_per_epoch: int
    total_steps: int
    running: RunningScore
    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    best: Evaluation | None = None
    stale_evaluations: int = 0
    examples: int = 0
    training_seconds: float = 0.0
    earlier_seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)
    evaluated_at: tuple[int, float] = (0, 0.0)
    stop_reason: str | None = None
    _unseen: list[tuple[int, Tensor]] = field(default_factory=list)

    def stop(self, reason: str) -> None:
        """Ask the loop to end after the running step; the first reason stays."""
        self.stop_reason = self.stop_reason or reason

    @property
    def seconds(self) -> float:
        """Time since the run began, earlier parts of a resumed run included."""
        return self.earlier_seconds + time.monotonic() - self.started

    @property
    def evaluated_model(self) -> SequenceClassifier:
        """The model to evaluate and save: the averaged weights where averaging is on and has begun."""
        if self.averaged is None or self.step == 0:
            return self.model
        module: SequenceClassifier = self.averaged.module  # type: ignore[assignment]
        return module

    def watch(self, value: Tensor) -> None:
        """Remember a figure of the running step, which `check_finite` looks at later: a look waits for the device."""
        self._unseen.append((self.step + 1, value))

    def check_finite(self) -> None:
        """Look at the figures of the steps since the last look.

        Raises:
            TrainingError: One is not finite; names its step.
        """
        if not self._unseen:
            return
        finite = torch.stack([value for _, value in self._unseen]).isfinite().tolist()
        bad = [step for (step, _), good in zip(self._unseen, finite, strict=True) if not good]
        self._unseen.clear()
        if bad:
            raise TrainingError(
                f"the loss or its gradient is not finite at step {bad[0]}; the last good checkpoint is kept. "
                "Try a lower --lr, a lower fit.clip_norm, or --precision fp32"
            )

    def note_evaluation(self, evaluation: Evaluation) -> bool:
        """Take note of an evaluation; return whether it is the best so far."""
        self.evaluated_at = (self.examples, self.training_seconds)
        improved = self.best is None or self._key(evaluation) > self._key(self.best)
        if improved:
            self.best = evaluation
        self.stale_evaluations = 0 if improved else self.stale_evaluations + 1
        self.learning_rate.on_evaluation(improved=improved)
        return improved

    def _key(self, evaluation: Evaluation) -> tuple[float, float]:
        score = evaluation.validation
        return (score.accuracy, -score.loss) if self.config.fit.monitor == "accuracy" else (-score.loss, score.accuracy)

    def snapshot(self) -> TrainingSnapshot:
        """Return all that a run needs, besides the evaluated weights, to go on from here."""
        tensors = {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(self.optimizer).items()}
        if self.averaged is not None:
            tensors |= {f"weights.{name}": tensor.detach().cpu() for name, tensor in self.model.state_dict().items()}
        tensors["rng.torch"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state(self.device)
        _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
        tensors["rng.numpy"] = torch.from_numpy(np.asarray(keys, dtype=np.int64))
        values = {
            "step": self.step,
            "epoch": self.epoch,
            "step_in_epoch": self.step_in_epoch,
            "steps_per_epoch": self.steps_per_epoch,
            "examples": self.examples,
            "seconds": self.seconds,
            "training_seconds": self.training_seconds,
            "lr_reduction": self.learning_rate.reduction,
            "stale_evaluations": self.stale_evaluations,
            "best": None if self.best is None else self.best.as_dict(),
            "rng_numpy": [int(position), int(has_gauss), float(gauss)],
            "rng_python": random.getstate(),
        }
        return TrainingSnapshot(tensors, values)

    def restore(self, saved: SavedModel, snapshot: TrainingSnapshot) -> None:
        """Go back to where `snapshot` was taken; ``saved`` is the model saved with it."""
        tensors, values = snapshot.tensors, snapshot.values

        def named(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

        saved.load_into(self.evaluated_model)
        self.step, self.epoch, self.step_in_epoch = values["step"], values["epoch"], values["step_in_epoch"]
        if self.averaged is not None:
            saved.load_into(self.averaged.module)  # type: ignore[arg-type]
            self.averaged.n_averaged.fill_(self.step)
            self.model.load_state_dict(named("weights."))
        restore_optimizer(self.optimizer, named("optimizer."))
        self.learning_rate.reduction = values["lr_reduction"]
        self.examples, self.training_seconds = values["examples"], values["training_seconds"]
        self.earlier_seconds, self.stale_evaluations = values["seconds"], values["stale_evaluations"]
        self.evaluated_at = (self.examples, self.training_seconds)
        self.best = None if values["best"] is None else _evaluation(values["best"])
        torch.set_rng_state(tensors["rng.torch"])
        if self.device.type == "cuda" and "rng.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["rng.cuda"], self.device)
        position, has_gauss, gauss = values["rng_numpy"]
        np.random.set_state(("MT19937", tensors["rng.numpy"].numpy().astype(np.uint32), position, has_gauss, gauss))
        version, internal, gauss_next = values["rng_python"]
        random.setstate((version, tuple(internal), gauss_next))


def _evaluation(values: dict[str, Any]) -> Evaluation:
    scores = {name: Score(**values[name]) for name in ("train", "validation")}
    return Evaluation(**{**values, **scores})


class Callback:
    """Hooks that a run calls in order; override those you need."""

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
        self._saved_step = -1
        self._saved_at = 0.0

    def on_fit_start(self, state: FitState) -> None:
        """Save at once, so that a full disk or an encoder that cannot be saved is found in seconds, not at the end."""
        self._saved_step, self._saved_at = state.step, time.monotonic()
        if self._run.pointed("last") is None:  # else the run is resumed from it
            self._save(state)

    def on_step_end(self, state: FitState) -> None:
        """Save if it is time."""
        by_steps = self._every_steps is not None and state.step % self._every_steps == 0
        by_time = self._every_seconds is not None and time.monotonic() - self._saved_at >= self._every_seconds
        if by_steps or by_time:
            self._save(state)

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        """Save, and make it the best checkpoint if the evaluation is the best."""
        self._run.append_metrics({**evaluation.as_dict(), "best": improved})
        self._save(state, improved=improved, metrics={"validation": evaluation.validation.as_dict()})

    def on_fit_end(self, state: FitState) -> None:
        """Save the last step unless that is done."""
        if self._saved_step != state.step:
            self._save(state)

    def _save(self, state: FitState, *, improved: bool = False, metrics: dict[str, Any] | None = None) -> None:
        state.check_finite()  # weights that are not numbers must never take a good checkpoint's place
        save = partial(
            save_model_directory,
            config=state.config,
            label_names=state.label_names,
            tokenizer=state.tokenizer,
            weights=state.evaluated_model.state_dict(),
            metrics={"step": state.step, **(metrics or {})},
            training=state.snapshot(),
        )
        self._run.save_checkpoint(state.step, is_best=improved, save=save)
        self._saved_step, self._saved_at = state.step, time.monotonic()


class EarlyStopping(Callback):
    """Stops a run after ``patience`` evaluations without a better one (Prechelt 1998)."""

    def __init__(self, patience: int) -> None:
        self._patience = patience

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        """Stop if the best evaluation is too long ago."""
        del evaluation, improved  # the state has counted
        if state.stale_evaluations >= self._patience:
            state.stop(f"no better validation {state.config.fit.monitor} in {self._patience} evaluations")
