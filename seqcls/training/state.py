"""Where a run stands: the state that callbacks see, and how all of it is saved and restored."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqcls.config.settings import Config
from seqcls.data.preprocessor import Preprocessor
from seqcls.errors import CheckpointError, NonFiniteError
from seqcls.evaluation.scores import RunningScore, Score
from seqcls.model.network import Network
from seqcls.storage.rebuild import SavedModel
from seqcls.storage.snapshot import TrainingSnapshot
from seqcls.system.processes import World
from seqcls.system.randomness import RandomState, rank_seed, seed_everything
from seqcls.training.environment import describe_environment
from seqcls.training.optimizer import LearningRate, optimizer_tensors, restore_optimizer

# What the state counts; each is saved and restored by its name.
_COUNTERS = (
    "step",
    "epoch",
    "step_in_epoch",
    "batch_in_step",
    "evaluation_due",
    "evaluations",
    "stale_evaluations",
    "examples",
    "training_seconds",
    "batch_parts",
    "rollbacks",
)


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
    """Where a run stands. Callbacks read it, and may call `stop` and `save_soon`.

    Attributes:
        run: The run directory.
        data_digest: A hash of what the run learns from and is judged by: the encoded splits, the weights of classes.
        world: The processes of the run, which hold the same but for ``running``, ``step_running`` and their random
            generators.
        step: Updates of the weights made so far.
        epoch: Number of the running epoch, from 0.
        step_in_epoch: Updates made in the running epoch.
        batch_in_step: Batches whose gradients wait for the next update; other than 0 only where a run was stopped amid them.
        evaluation_due: Whether an evaluation comes before the next batch.
        evaluations: Evaluations so far.
        best: The best evaluation so far, by ``config.fit.monitor``.
        stale_evaluations: Evaluations since the best one.
        running: Figures of this process's share of the training batches since the last evaluation.
        step_running: Those of the batches whose gradients wait for the next update, which may have to be made again.
        last_step: Figures of this process's share of the last update; None before the first one.
        gradient_norm: The norm of the gradient of the last update before it was clipped, float [], on the device.
        indices: int64 [N], the examples of the last update, as places in the training split.
        batch_parts: Parts that a batch is cut into since it did not fit the memory whole.
        save_seconds: The longest time that a checkpoint has taken.
        rollbacks: Times that the run has gone back to a checkpoint after a loss that was not finite.
    """

    config: Config
    label_names: tuple[str, ...]
    preprocessor: Preprocessor
    model: Network
    averaged: Network | None
    optimizer: torch.optim.Optimizer
    learning_rate: LearningRate
    device: torch.device
    steps_per_epoch: int
    total_steps: int
    running: RunningScore
    step_running: RunningScore
    data_digest: str
    run: Path
    world: World = field(default_factory=World)
    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    batch_in_step: int = 0
    evaluation_due: bool = False
    evaluations: int = 0
    best: Evaluation | None = None
    stale_evaluations: int = 0
    last_step: RunningScore | None = None
    gradient_norm: Tensor | None = None
    indices: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    examples: int = 0
    training_seconds: float = 0.0
    batch_parts: int = 1
    rollbacks: int = 0
    earlier_seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)
    evaluated_at: tuple[int, float] = (0, 0.0)
    stop_reason: str | None = None
    save_requested: bool = False
    save_seconds: float = 0.0
    _unseen: list[tuple[int, NDArray[np.int64], Tensor]] = field(default_factory=list)

    def stop(self, reason: str) -> None:
        """Ask the loop to end after the running step; the first reason stays."""
        self.stop_reason = self.stop_reason or reason

    def save_soon(self) -> None:
        """Ask for a checkpoint after the running step."""
        self.save_requested = True

    @property
    def seconds(self) -> float:
        """Time since the run began, earlier parts of a resumed run included."""
        return self.earlier_seconds + time.monotonic() - self.started

    @property
    def place(self) -> tuple[int, int, bool]:
        """What changes whenever there is something new to save."""
        return self.step, self.batch_in_step, self.evaluation_due

    @property
    def evaluated_model(self) -> Network:
        """The model to evaluate and save: the averaged weights where averaging is on and has begun."""
        return self.model if self.averaged is None or self.step == 0 else self.averaged

    def watch(self, value: Tensor, indices: NDArray[np.int64]) -> None:
        """Remember a figure of the running step, made from the examples at ``indices``, for `check_finite` to look at."""
        self._unseen.append((self.step + 1, indices, value))

    def check_finite(self) -> None:
        """Look at the figures since the last look: seldom on an accelerator, since a look waits for it.

        Raises:
            NonFiniteError: One is not finite, here or in another process; names its step and examples.
        """
        if self.device.type == "cpu":
            return  # there each figure is looked at when it is made
        values = [value.detach().float() for _, _, value in self._unseen]
        finite = torch.stack(values).isfinite().tolist() if values else []
        bad = [(step, indices.tolist()) for (step, indices, _), good in zip(self._unseen, finite, strict=True) if not good]
        self._unseen.clear()
        self.world.meet(NonFiniteError(*bad[0]) if bad else None)

    def of_all(self, running: RunningScore) -> RunningScore:
        """Return figures of this process and the same ones of all others together."""
        own = running.as_dict()
        sums = [own["loss"], own["correct"], *own["pairs"], own["count"], own["is_multi_label"]]
        loss, correct, right, named, count, is_multi_label = self.world.add(torch.tensor(sums, dtype=torch.float64)).tolist()
        values = {"loss": loss, "correct": int(correct), "pairs": [int(right), int(named)], "count": int(count)}
        return RunningScore.from_dict(values | {"is_multi_label": bool(is_multi_label)}, self.device)

    def check_weights(self) -> None:
        """Look at the weights; a look at figures would see only with the next batch what an update has done.

        Raises:
            NonFiniteError: One is not finite; names the last step and its examples.
        """
        if not self.step:  # initial weights are looked at with the first loss
            return
        bad = [name for name, value in self.evaluated_model.named_parameters() if not value.isfinite().all()]
        if bad:
            raise NonFiniteError(
                self.step, self.indices.tolist(), f"the update has made {bad[0]} no number; use a lower --lr"
            )

    def note_evaluation(self, evaluation: Evaluation) -> bool:
        """Take note of an evaluation; return whether it is the best so far."""
        self.evaluated_at = (self.examples, self.training_seconds)
        self.evaluation_due, self.evaluations = False, self.evaluations + 1
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
        """Return all that a run needs, besides the evaluated weights, to go on from here; called by all processes."""
        tensors = {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(self.optimizer).items()}
        if self.averaged is not None:
            tensors |= {f"weights.{name}": tensor.detach().cpu() for name, tensor in self.model.state_dict().items()}
        if self.batch_in_step:
            parameters = self.model.named_parameters()
            tensors |= {f"gradient.{name}": p.grad.detach().cpu() for name, p in parameters if p.grad is not None}
        random_state = RandomState.capture(self.device)
        tensors |= random_state.tensors
        for rank, packed in enumerate(self.world.gather(random_state.to_bytes())):
            if rank:
                tensors[_generators_of(rank)] = torch.frombuffer(bytearray(packed), dtype=torch.uint8)
        values = {name: getattr(self, name) for name in _COUNTERS} | {
            "steps_per_epoch": self.steps_per_epoch,
            "seconds": self.seconds,
            "evaluated_at": list(self.evaluated_at),
            "lr_reduction": self.learning_rate.reduction,
            "best": None if self.best is None else self.best.as_dict(),
            "running": self.of_all(self.running).as_dict(),
            "step_running": self.of_all(self.step_running).as_dict(),
            "data_digest": self.data_digest,
            "environment": describe_environment(self.device, self.world.size),
        }
        return TrainingSnapshot(tensors, {**values, **random_state.values})

    def restore(self, saved: SavedModel, snapshot: TrainingSnapshot) -> None:
        """Go back to where `snapshot` was taken; ``saved`` is the model saved with it.

        Raises:
            CheckpointError: The snapshot belongs to other data, or lacks something.
        """
        if snapshot.values.get("data_digest") != self.data_digest:
            raise CheckpointError(
                f"{saved.path} is of a run on other training or validation data, or other class weights "
                f"({snapshot.values.get('steps_per_epoch')} steps an epoch, here {self.steps_per_epoch}); "
                "a run is resumed with what it was started with"
            )
        try:
            self._restore(saved, snapshot)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"the training state in {saved.path} cannot be used: {error!r:.200}") from error

    def _restore(self, saved: SavedModel, snapshot: TrainingSnapshot) -> None:
        values = snapshot.values
        for name in _COUNTERS:
            setattr(self, name, values[name])
        saved.load_into(self.evaluated_model)
        if self.averaged is not None:
            saved.load_into(self.averaged)
            self.model.load_state_dict(snapshot.named("weights."))
        restore_optimizer(self.optimizer, snapshot.named("optimizer."))
        gradients = snapshot.named("gradient.")
        for name, parameter in self.model.named_parameters():
            # The sum over the processes is taken later: one of them has it all.
            has_some = name in gradients and self.world.is_main
            parameter.grad = gradients[name].to(self.device) if has_some else None
        self.learning_rate.reduction = values["lr_reduction"]
        self.learning_rate.set_for(max(0, self.step - 1))
        self.earlier_seconds = values["seconds"]
        self.evaluated_at = (values["evaluated_at"][0], values["evaluated_at"][1])
        self.best = None if values["best"] is None else _evaluation(values["best"])
        for name in ("running", "step_running"):
            running = RunningScore.from_dict(values[name], self.device)
            setattr(self, name, running if self.world.is_main else RunningScore(self.device))
        self._unseen.clear()
        self._restore_random_state(snapshot)

    def _restore_random_state(self, snapshot: TrainingSnapshot) -> None:
        rank = self.world.rank
        if rank == 0:
            RandomState(snapshot.tensors, snapshot.values).restore(self.device)
        elif _generators_of(rank) in snapshot.tensors:
            RandomState.from_bytes(snapshot.tensors[_generators_of(rank)].numpy().tobytes()).restore(self.device)
        else:  # the run had fewer processes when it was saved
            seed_everything(rank_seed(self.config.fit.seed, rank, self.step))


def _generators_of(rank: int) -> str:
    """Return the name of the tensor that holds the generators of a process other than the first."""
    return f"rng.rank{rank}"


def _evaluation(values: Mapping[str, Any]) -> Evaluation:
    scores = {name: Score(**values[name]) for name in ("train", "validation")}
    return Evaluation(**{**values, **scores})
