"""The event files are read back as TensorBoard reads them."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy import toy_config, toy_splits

from seqcls import Callback, Config, Evaluation, FitState, Trainer, registry
from seqcls.errors import ConfigError, MissingExtraError, TrainingError
from seqcls.training.callbacks.tensorboard import TensorBoard
from seqcls.training.objective import Objective

STEPS, EPOCHS = 8, 2  # an epoch of 64 examples in batches of 8


def _events(run: Path) -> EventAccumulator:
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return events


def _curve(run: Path, tag: str) -> dict[int, float]:
    """Return the values of a tag by step, each of which must stand in it once."""
    points = _events(run).Scalars(tag)
    curve = {point.step: point.value for point in points}
    assert len(curve) == len(points), f"a step stands twice in {tag}"
    return curve


def _config(**fit: Any) -> Config:
    options = {"tensorboard": {"every_steps": 1}}
    return toy_config(**{"epochs": EPOCHS, "callbacks": ["tensorboard"], "callback_options": options, **fit})


class Recorder(Callback):
    """Notes what the state says."""

    def __init__(self) -> None:
        self.figures: dict[str, dict[int, float]] = defaultdict(dict)

    def on_step_end(self, state: FitState) -> None:
        assert state.last_step is not None
        assert state.gradient_norm is not None
        self.figures["step/loss"][state.step] = state.last_step.compute().loss
        self.figures["step/lr"][state.step] = state.learning_rate.value
        self.figures["step/gradient_norm"][state.step] = float(state.gradient_norm)

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        self.figures["loss/validation"][state.step] = evaluation.validation.loss
        self.figures["accuracy/train"][state.step] = evaluation.train.accuracy
        self.figures["macro_f1/validation"][state.step] = evaluation.validation.figure("f1")


class Failing(Callback):
    """Fails after so many steps, as a process does that is killed."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, state: FitState) -> None:
        if state.step == self.step:
            raise KeyboardInterrupt


def test_every_figure_of_steps_and_evaluations_is_in_the_file(tmp_path: Path) -> None:
    recorder = Recorder()
    Trainer(data=toy_splits(), config=_config(), output=tmp_path / "run", callbacks=[recorder]).fit()
    for tag, expected in recorder.figures.items():
        assert _curve(tmp_path / "run", tag) == pytest.approx(expected, rel=1e-6), tag
    assert set(recorder.figures["step/loss"]) == set(range(1, STEPS * EPOCHS + 1))
    assert set(recorder.figures["loss/validation"]) == {STEPS, STEPS * EPOCHS}


def test_the_loss_of_steps_averages_to_that_of_the_epoch(tmp_path: Path) -> None:
    Trainer(data=toy_splits(), config=_config(epochs=1), output=tmp_path / "run", callbacks=[]).fit()
    steps = _curve(tmp_path / "run", "step/loss")
    assert sum(steps.values()) / STEPS == pytest.approx(_curve(tmp_path / "run", "loss/train")[STEPS], rel=1e-6)


def test_the_settings_are_in_the_file_as_text_and_as_hyperparameters(tmp_path: Path) -> None:
    trainer = Trainer(data=toy_splits(), config=_config(epochs=1), output=tmp_path / "run", callbacks=[])
    trainer.fit()
    events = _events(tmp_path / "run")
    (text,) = events.Tensors("settings/text_summary")
    assert trainer.config.to_toml() in text.tensor_proto.string_val[0].decode()
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    for setting in (b"fit.lr", b"model.encoder", b"lstm"):
        assert setting in content
    assert "_hparams_/session_end_info" in events.summary_metadata


def test_figures_of_every_tenth_step_by_default_and_of_every_evaluation(tmp_path: Path) -> None:
    trainer = Trainer(data=toy_splits(), config=toy_config(), output=tmp_path / "run", callbacks=["tensorboard"])
    trainer.fit()
    assert set(_curve(tmp_path / "run", "step/loss")) == {10}
    assert set(_curve(tmp_path / "run", "accuracy/validation")) == {8, 16}
    assert trainer.config.fit.callbacks == ["tensorboard"]


@pytest.mark.parametrize("step", [5, STEPS + 3])
def test_a_resumed_run_goes_on_in_the_same_curves_with_no_step_twice(step: int, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    config = _config(checkpoint_every_steps=4)
    Trainer(data=toy_splits(), config=config, output=whole, callbacks=[]).fit()
    with pytest.raises(KeyboardInterrupt):
        Trainer(data=toy_splits(), config=config, output=parts, callbacks=[Failing(step)]).fit()
    Trainer.resume(parts, data=toy_splits(), callbacks=[]).fit()
    for tag in ("step/loss", "step/gradient_norm", "loss/validation", "accuracy/train"):
        assert _curve(parts, tag) == _curve(whole, tag), tag


def test_a_run_that_goes_back_writes_no_step_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    losses, calls = Objective.losses, iter(range(1000))
    monkeypatch.setattr(Objective, "losses", lambda *args: losses(*args) * (float("nan") if next(calls) == 14 else 1))
    config = _config(on_nan="rollback", checkpoint_every_steps=4)
    Trainer(data=toy_splits(), config=config, output=tmp_path / "run", callbacks=[]).fit()
    assert next(calls) == STEPS * EPOCHS + 3  # steps 13 and 14 were made twice, and 15 was tried twice
    assert set(_curve(tmp_path / "run", "step/loss")) == set(range(1, STEPS * EPOCHS + 1))
    assert set(_curve(tmp_path / "run", "loss/validation")) == {STEPS, STEPS * EPOCHS}


def test_a_disk_that_refuses_ends_the_run_with_its_checkpoint_and_it_can_go_on_without(
    tmp_path: Path,
) -> None:
    class Remove(Callback):
        def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
            shutil.rmtree(state.run / "tensorboard")
            (state.run / "tensorboard").write_text("in the way")

    class Reopen(TensorBoard):
        def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
            self.close()
            super().on_evaluation(state, evaluation, improved=improved)

    run = tmp_path / "run"
    registry.callbacks.register("reopens")(Reopen)
    trainer = Trainer(data=toy_splits(), config=toy_config(callbacks=["reopens"]), output=run, callbacks=[Remove()])
    message = rf"the callback 'reopens' of this session failed in on_evaluation: .*seqcls fit --resume {run}"
    with pytest.raises(TrainingError, match=message):
        trainer.fit()
    result = Trainer.resume(run, data=toy_splits(), changes={"fit": {"callbacks": "none"}}, callbacks=[]).fit()
    assert result.stop_reason == "all epochs done"


def test_without_tensorboard_the_extra_is_named_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqcls.training.callbacks.tensorboard.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"tensorboard is not installed; run: pip install 'seqcls\[tensorboard\]'"):
        Trainer(data=toy_splits(), config=_config(), output=tmp_path / "run", callbacks=[])


def test_a_wrong_option_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(ConfigError, match="callback tensorboard: every_steps must be ≥ 1, got 0"):
        Trainer(config=_config(callback_options={"tensorboard": {"every_steps": 0}}))
