"""The end of a run: the best checkpoint, calibrated and scored, becomes the model directory."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqcls.data.encoding import EncodedData
from seqcls.errors import CheckpointError
from seqcls.evaluation.calibration import Calibration, calibrate, fit_temperature
from seqcls.evaluation.scores import Score, choose_thresholds, score_logits
from seqcls.model.network import Network
from seqcls.storage.model_directory import load_model_directory, save_model_directory
from seqcls.storage.rebuild import SavedModel
from seqcls.storage.run_directory import RunDirectory
from seqcls.training.linear import choose_shares
from seqcls.training.scoring import Scorer
from seqcls.training.state import FitState

logger = logging.getLogger("seqcls")


@dataclass(frozen=True, eq=False)
class Finish:
    """The figures of the finished model.

    Attributes:
        scores: Figures by split, calibrated if ``calibration`` is not None.
        calibration: The temperature that was fitted on the validation split.
        thresholds: float64 [C], the probability from which a text has each label; None where it has exactly one.
    """

    scores: Mapping[str, Score]
    calibration: Calibration | None = None
    thresholds: Tensor | None = None

    @property
    def temperature(self) -> float:
        """The number that logits are divided by."""
        return 1.0 if self.calibration is None else self.calibration.temperature


def finish(run: RunDirectory, state: FitState, data: EncodedData, scorer: Scorer, *, has_time: bool) -> Finish:
    """Save the best checkpoint, calibrated, as the run's model directory, and return its figures.

    Args:
        run: The run directory.
        state: The state at the end of training; its model gets the weights of the best checkpoint.
        data: The encoded splits.
        scorer: Scores the splits.
        has_time: Whether there is time to calibrate and to score the test split.
    """
    best = _load_best(run, state)
    best.load_into(state.evaluated_model)
    finished = _score(state, data, scorer, best, has_time=has_time)
    if "test" in data.splits and not has_time:
        logger.warning("no time is left to score the test split; `seqcls evaluate %s` does it", run.path)
    if state.world.is_main:
        _save_model(run, state, finished)
    state.world.any(False)  # the model directory is there when the other processes return
    return finished


def _choose_shares(model: Network, scorer: Scorer) -> bool:
    """Set the shares of the wide path and the sequence to those with the lowest calibrated loss on validation."""
    wide = model.wide
    if wide is None or model.head is None:
        return False
    wide.shares.copy_(torch.tensor([1.0, 0.0]))
    of_ngrams, labels = scorer.logits(model, "validation")
    wide.shares.copy_(torch.tensor([0.0, 1.0]))
    of_sequence, _ = scorer.logits(model, "validation")

    def loss(mixed: Tensor) -> float:
        return score_logits(mixed, labels, temperature=fit_temperature(mixed, labels)).loss

    wide.shares.copy_(torch.tensor(choose_shares(of_ngrams, of_sequence, loss)))
    return True


def _score(state: FitState, data: EncodedData, scorer: Scorer, best: SavedModel, *, has_time: bool) -> Finish:
    model, scores = state.evaluated_model, {}
    if has_time and _choose_shares(model, scorer):
        scores["validation"] = scorer.score(model, "validation")
    elif state.best is not None:  # its checkpoint may be damaged, and another one stand in for it
        is_known = best.metrics.get("step") == state.best.step
        scores["validation"] = state.best.validation if is_known else scorer.score(model, "validation")
    is_calibrated, is_multi_label = state.config.fit.calibrate and has_time, data.splits["validation"].is_multi_label
    calibration, thresholds, temperature = None, None, 1.0
    if is_calibrated or is_multi_label:
        logits, labels = scorer.logits(model, "validation")
        if is_calibrated:
            calibration = calibrate(logits, labels)
            temperature = calibration.temperature
        if is_multi_label:
            thresholds = choose_thresholds(logits, labels, temperature=temperature)
        scores["validation"] = score_logits(logits, labels, thresholds, temperature=temperature)
    if "test" in data.splits and has_time:
        scores["test"] = scorer.score(model, "test", thresholds, temperature)
    return Finish(scores, calibration, thresholds)


def _save_model(run: RunDirectory, state: FitState, finished: Finish) -> None:
    metrics: dict[str, Any] = {name: score.as_dict() for name, score in finished.scores.items()}
    if finished.calibration is not None:
        metrics["calibration"] = finished.calibration.as_dict()
    save_model_directory(
        run.model,
        config=state.config,
        label_names=state.label_names,
        preprocessor=state.setup.preprocessor,
        weights=state.evaluated_model.state_dict(),
        thresholds=None if finished.thresholds is None else finished.thresholds.tolist(),
        temperature=finished.temperature,
        metrics=metrics,
        replace=True,
    )


def _load_best(run: RunDirectory, state: FitState) -> SavedModel:
    """Read the best checkpoint; the last where no evaluation was made, or, with a warning, where the best is damaged."""
    pointers = run.checkpoints.pointers()
    if pointers is None:
        raise CheckpointError(f"{run.path} has lost its checkpoints; the run cannot be finished")
    if state.best is not None:
        try:
            return load_model_directory(run.checkpoints.folder / pointers.best)
        except CheckpointError as error:
            logger.warning("the best checkpoint cannot be read: %s; taking the last one", error)
    return load_model_directory(run.checkpoints.folder / pointers.last)
