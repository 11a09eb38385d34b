"""Trials that have ended: what is recorded of each, and which is the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from seqcls.config.values import Monitor, OptionValue
from seqcls.evaluation.scores import Score, sign_of

_Count = Annotated[int, Field(ge=0)]


class Trial(BaseModel):
    """A trial that has ended; one line of trials.jsonl.

    Attributes:
        number: Its number, from 0.
        state: "complete"; "pruned" if it was too large, too slow, or behind the others; "failed" if an error ended it.
        encoder: The name of its encoder.
        values: The values that were tried, by the name of the setting.
        value: The monitored figure of its best evaluation on validation; None unless the trial is complete.
        validation: The figures of that evaluation, before calibration.
        evaluations: The monitored figure of each evaluation, by the percentage of the steps that were done.
        parameters: The number of trained weights.
        size: Size of the model directory in bytes, to within a few thousand.
        seconds: How long the trial took.
        reason: Why the trial was pruned, or failed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: _Count
    state: Literal["complete", "pruned", "failed"]
    encoder: str
    values: dict[str, OptionValue]
    value: float | None = None
    validation: Score | None = None
    evaluations: dict[_Count, float] = {}
    parameters: _Count | None = None
    size: _Count | None = None
    seconds: Annotated[float, Field(ge=0)] = 0.0
    reason: str = ""


def best_of(trials: Sequence[Trial], monitor: Monitor) -> Trial | None:
    """Return the best of the complete trials, the first of several equal ones; None if none is complete."""
    ranked = [(-sign_of(monitor) * trial.value, trial.number, trial) for trial in trials if trial.value is not None]
    return min(ranked)[2] if ranked else None
