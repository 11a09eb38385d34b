"""The form of the JSON files of a model directory, a checkpoint and a run, checked value by value."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from seqcls.config.settings import Config
from seqcls.errors import CheckpointError, ConfigError
from seqcls.evaluation.scores import Amount, Count, Evaluation
from seqcls.storage.upgrade import read_format
from seqcls.system.untrusted import GARBLED, check_form, parse_json

MIXED_FILES = "the files belong to different models: copy the whole folder again"
"""Ends the message about files that do not fit each other."""

_NumpyState = tuple[Annotated[int, Field(ge=0, le=624)], Annotated[int, Field(ge=0, le=1)], float]  # place, Gauss, Gauss
_PythonState = tuple[Literal[3], list[Count], float | None]  # version, words and place, Gauss
_FromList = Field(strict=False)  # JSON has no tuples


class Form(BaseModel):
    """Values of exactly the stated types; other keys are ignored."""

    model_config = ConfigDict(strict=True)


class Plugin(Form):
    """The origin of an encoder or embedding. Its distribution and version become part of a command that we suggest."""

    name: str
    target: str | None
    distribution: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+!_-]*$")] | None


class Plugins(Form):
    """The plugins of a model."""

    encoder: Plugin
    embedding: Plugin


class Description(Form):
    """config.json."""

    label_names: Annotated[list[str], Field(min_length=1)]
    thresholds: list[Annotated[float, Field(allow_inf_nan=False, ge=0, le=1)]] | None
    temperature: Annotated[float, Field(allow_inf_nan=False, gt=0)] = 1.0
    plugins: Plugins
    config: dict[str, Any]

    @field_validator("label_names")
    @classmethod
    def _check_unique(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError("a label occurs twice")
        return names


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


def read_description(data: bytes, path: Path) -> tuple[Description, Config]:
    """Return what ``data``, the content of ``path``, says of a model, and the settings in it.

    Raises:
        CheckpointError: It is of another format version, or a value is missing or of another form.
    """
    description = check_form(read_format(parse_json(data, path), path), Description, path)
    if description.thresholds is not None and len(description.thresholds) != len(description.label_names):
        raise CheckpointError(
            f"{path} has {len(description.thresholds)} thresholds for {len(description.label_names)} labels; {MIXED_FILES}"
        )
    try:
        return description, Config().updated(description.config, source=str(path))
    except (*GARBLED, ConfigError) as error:
        raise CheckpointError(f"{path} cannot be used: {error}") from error
