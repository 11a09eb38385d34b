"""The form of the JSON files of a checkpoint and a run, checked value by value; config.json is in description.py."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from pydantic import Field

from seqcls.evaluation.scores import Amount, Count, Evaluation
from seqcls.storage.description import Form

_NumpyState = tuple[Annotated[int, Field(ge=0, le=624)], Annotated[int, Field(ge=0, le=1)], float]  # place, Gauss, Gauss
_PythonState = tuple[Literal[3], list[Count], float | None]  # version, words and place, Gauss
_FromList = Field(strict=False)  # JSON has no tuples


@dataclass(frozen=True)
class EvaluationRow(Evaluation):
    """A line of metrics.jsonl.

    Attributes:
        best: Whether it was the best evaluation so far.
    """

    best: bool

    def as_evaluation(self) -> Evaluation:
        """Return the evaluation without ``best``."""
        return Evaluation(**{field.name: getattr(self, field.name) for field in fields(Evaluation)})


@dataclass
class Progress:
    """The counters and times of a run; training.json holds them as they are, beside the values of `TrainingRecord`.

    Attributes:
        step: Updates of the weights made so far.
        epoch: Number of the current epoch, from 0.
        step_in_epoch: Updates made in the current epoch.
        batch_in_step: Batches whose gradients wait for the next update; not 0 only where a run was stopped within a step.
        examples: Training examples seen so far.
        seconds: Duration of the earlier parts of the run; in a checkpoint, of the whole run up to there.
        training_seconds: Time spent on training steps, without evaluation and saving.
        lr_reduction: Factor on the learning rate, from plateaus and rollbacks.
        evaluations: Evaluations so far.
        stale_evaluations: Evaluations since the best one.
        evaluation_due: Whether an evaluation comes before the next batch.
        evaluated_at: ``examples`` and ``training_seconds`` at the last evaluation.
        batch_parts: Parts that each batch is split into, since it did not fit into memory whole.
        rollbacks: Times that the run has gone back to a checkpoint after a loss that was not finite.
    """

    step: Count
    epoch: Count
    step_in_epoch: Count
    batch_in_step: Count
    examples: Count
    seconds: Amount
    training_seconds: Amount
    lr_reduction: Annotated[Amount, Field(le=1)]
    evaluations: Count
    stale_evaluations: Count
    evaluation_due: bool
    evaluated_at: tuple[Count, Amount]
    batch_parts: Annotated[Count, Field(ge=1, lt=1 << 31)]
    rollbacks: Count

    @classmethod
    def at_start(cls) -> Progress:
        """Return the progress of a run that has made no step yet."""
        return cls(
            step=0,
            epoch=0,
            step_in_epoch=0,
            batch_in_step=0,
            examples=0,
            seconds=0.0,
            training_seconds=0.0,
            lr_reduction=1.0,
            evaluations=0,
            stale_evaluations=0,
            evaluation_due=False,
            evaluated_at=(0, 0.0),
            batch_parts=1,
            rollbacks=0,
        )


class TrainingRecord(Form):
    """What training.json holds besides the fields of `Progress`."""

    steps_per_epoch: Count
    running: dict[str, Any]
    step_running: dict[str, Any]
    data_digest: str
    environment: dict[str, Any]
    best: Evaluation | None
    rng_numpy: Annotated[_NumpyState, _FromList]
    rng_python: Annotated[_PythonState, _FromList]
