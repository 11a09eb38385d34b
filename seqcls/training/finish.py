"""The end of a run: the best checkpoint, calibrated and scored, becomes the model directory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, eq=False)
class Measured:
    """What was found on held-out examples, for a model that is then trained on all examples, these among them.

    Attributes:
        finish: Figures of validation, calibration and thresholds.
        shares: Those of the wide path and the sequence in the logits; None without a wide path.
    """

    finish: Finish
    shares: tuple[float, float] | None = None


def finish(
    run: RunDirectory,
    state: FitState,
    data: EncodedData,
    scorer: Scorer,
    *,
    has_time: bool,
    measured: Measured | None = None,
) -> Finish:
    """Save the best checkpoint, calibrated, as the run's model directory, and return its figures.

    Without a validation split, it is the last checkpoint, with what ``measured`` says.

    Args:
        run: The run directory.
        state: The state at the end of training; its model gets the weights of the best checkpoint.
        data: The encoded splits.
        scorer: Scores the splits.
        has_time: Whether there is time to calibrate and to score the test split.
        measured: What was found on held-out examples, if there is no validation split.
    """
    best = _load_best(run, state)
    best.load_into(state.evaluated_model)
    if "validation" in data.splits:
        finished = _score(state, data, scorer, best, has_time=has_time)
    else:
        finished = _score_test(state.evaluated_model, data, scorer, measured or Measured(Finish({})), has_time=has_time)
    if "test" in data.splits and not has_time:
        logger.warning("no time is left to score the test split; `seqcls evaluate %s` does it", run.path)
    if state.world.is_main:
        _save_model(run, state, finished)
    state.world.any(False)  # the model directory is there when the other processes return
    return finished


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What the two paths of networks of one form say about examples that these were not trained on.

    Attributes:
        wide: The logits of the wide path, float [N, C]; None if there is no other path, or both were fitted together.
        deep: The logits of the sequence, float [N, C], or else those of the network.
        labels: int64 [N], or uint8 [N, C].
    """

    wide: Tensor | None
    deep: Tensor
    labels: Tensor

    @classmethod
    def ask(cls, model: Network, scorer: Scorer) -> HeldOut:
        """Ask a network about the validation split; the shares of its paths are changed."""
        if model.wide is None or model.is_linear:  # whose paths belong together
            return cls(None, *scorer.logits(model, "validation"))
        model.wide.shares.copy_(torch.tensor([1.0, 0.0]))
        wide, labels = scorer.logits(model, "validation")
        model.wide.shares.copy_(torch.tensor([0.0, 1.0]))
        return cls(wide, scorer.logits(model, "validation")[0], labels)

    @classmethod
    def joined(cls, parts: Sequence[HeldOut]) -> HeldOut:
        """Return the examples of several parts."""
        wide = [part.wide for part in parts if part.wide is not None]
        deep, labels = (torch.cat([getattr(part, name) for part in parts]) for name in ("deep", "labels"))
        return cls(torch.cat(wide) if wide else None, deep, labels)

    def measure(self, *, calibrated: bool) -> Measured:
        """Choose the shares of the paths, the temperature, if the model is to be calibrated, and the thresholds."""
        shares, logits = self._mixed()
        calibration = calibrate(logits, self.labels) if calibrated else None
        temperature = 1.0 if calibration is None else calibration.temperature
        thresholds = choose_thresholds(logits, self.labels, temperature=temperature) if self.labels.ndim == 2 else None
        score = score_logits(logits, self.labels, thresholds, temperature=temperature)
        return Measured(Finish({"validation": score}, calibration, thresholds), shares)

    def _mixed(self) -> tuple[tuple[float, float] | None, Tensor]:
        """Return the shares with the lowest calibrated loss, if there is a choice, and the logits of the network."""
        wide, deep = self.wide, self.deep
        if wide is None:
            return None, deep

        def loss(mixed: Tensor) -> float:
            return score_logits(mixed, self.labels, temperature=fit_temperature(mixed, self.labels)).loss

        shares = choose_shares(wide, deep, loss)
        return shares, shares[0] * wide + shares[1] * deep


def _score(state: FitState, data: EncodedData, scorer: Scorer, best: SavedModel, *, has_time: bool) -> Finish:
    model, scores, is_calibrated = state.evaluated_model, {}, state.config.fit.calibrate and has_time
    if is_calibrated or (has_time and model.wide is not None) or data.splits["validation"].is_multi_label:
        return _score_test(
            model, data, scorer, HeldOut.ask(model, scorer).measure(calibrated=is_calibrated), has_time=has_time
        )
    if state.best is not None:  # its checkpoint may be damaged, and another one stand in for it
        is_known = best.metrics.get("step") == state.best.step
        scores["validation"] = state.best.validation if is_known else scorer.score(model, "validation")
    return _score_test(model, data, scorer, Measured(Finish(scores)), has_time=has_time)


def _score_test(model: Network, data: EncodedData, scorer: Scorer, measured: Measured, *, has_time: bool) -> Finish:
    """Give a network the shares that were found, score the test split, and return all figures."""
    found = measured.finish
    if model.wide is not None and measured.shares is not None:
        model.wide.shares.copy_(torch.tensor(measured.shares))
    thresholds = found.thresholds
    if thresholds is None and data.splits["train"].is_multi_label:
        thresholds = torch.full((len(data.label_names),), 0.5, dtype=torch.float64)
    scores = dict(found.scores)
    if "test" in data.splits and has_time:
        scores["test"] = scorer.score(model, "test", thresholds, found.temperature)
    return Finish(scores, found.calibration, thresholds)


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
        split_digests=state.setup.split_digests,
        label_values=state.setup.label_values,
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
