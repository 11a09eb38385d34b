"""What the JSON files of a model directory and of a checkpoint must hold, value by value."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

_Number = Annotated[float, Field(allow_inf_nan=False, ge=0)]
_Count = Annotated[int, Field(ge=0, lt=1 << 53)]
_NumpyState = tuple[Annotated[int, Field(ge=0, le=624)], Annotated[int, Field(ge=0, le=1)], float]  # place, Gauss, Gauss
_PythonState = tuple[Literal[3], list[_Count], float | None]  # version, words and place, Gauss
_CheckpointName = Annotated[str, Field(pattern=r"^step-[0-9]{8,}(-[0-9]+)?$")]
_FromList = Field(strict=False)  # JSON has no tuples


class Form(BaseModel):
    """What else stands in the file is left alone."""

    model_config = ConfigDict(strict=True)


class Plugin(Form):
    """Where an encoder or embedding came from. Distribution and version go into a command that we advise to run."""

    name: str
    target: str | None
    distribution: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+!_-]*$")] | None


class Plugins(Form):
    """Those of a model."""

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
            raise ValueError("a label stands in it twice")
        return names


class Figures(Form):
    """The figures of a split. A loss may be infinite, and is read as it was written."""

    model_config = ConfigDict(extra="forbid")

    loss: float
    accuracy: float
    correct: _Count
    count: _Count
    f1: float | None = None


class Evaluation(Form):
    """The best evaluation of a run."""

    model_config = ConfigDict(extra="forbid")

    step: _Count
    epoch: _Count
    train: Figures
    validation: Figures
    lr: float
    seconds: _Number
    examples_per_second: _Number


class EvaluationRow(Evaluation):
    """A line of metrics.jsonl."""

    best: bool


class BaselineFigures(Form):
    """baseline.json."""

    description: str
    validation: Figures
    test: Figures | None
    seconds: _Number
    features: _Count


class Checkpoints(Form):
    """checkpoints.json."""

    best: _CheckpointName
    last: _CheckpointName
    previous: _CheckpointName | None = None
    previous_best: _CheckpointName | None = None
    damaged: Annotated[tuple[_CheckpointName, ...], _FromList] = ()


class Progress(Form):
    """training.json, as `FitState.snapshot` writes it."""

    step: _Count
    epoch: _Count
    step_in_epoch: _Count
    steps_per_epoch: _Count
    examples: _Count
    seconds: _Number
    training_seconds: _Number
    lr_reduction: Annotated[_Number, Field(le=1)]
    evaluations: _Count
    stale_evaluations: _Count
    evaluation_due: bool
    evaluated_at: Annotated[tuple[_Count, _Number], _FromList]
    batch_in_step: _Count
    batch_parts: Annotated[int, Field(ge=1, lt=1 << 31)]
    rollbacks: _Count
    running: dict[str, Any]
    step_running: dict[str, Any]
    data_digest: str
    environment: dict[str, Any]
    best: Evaluation | None
    rng_numpy: Annotated[_NumpyState, _FromList]
    rng_python: Annotated[_PythonState, _FromList]
