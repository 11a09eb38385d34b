"""Callbacks that the settings name: found by name, built with options, saved with the run, and blamed by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import Field
from toy import toy_config, toy_splits

from seqcls import Callback, Config, Evaluation, FitState, Splits, Trainer, registry
from seqcls.errors import ConfigError, DataError, PluginError, TrainingError, UnknownNameError
from seqcls.storage.run_directory import RunDirectory
from seqcls.training.callbacks.checkpointing import Checkpointer


class Diary(Callback):
    """Notes what it is told.

    Args:
        every: Note every so many steps.
        fail_in: The hook that fails.
    """

    notes: ClassVar[list[Any]] = []

    def __init__(self, *, every: Annotated[int, Field(ge=1)] = 1, fail_in: str = "") -> None:
        self.every = every
        self.fail_in = fail_in
        self._note("init")

    def _note(self, hook: str, *details: Any) -> None:
        self.notes.append((hook, *details))
        if hook == self.fail_in:
            raise RuntimeError("CUDA out of memory")  # must not be taken for a step's

    def on_data(self, splits: Splits) -> None:
        self._note("on_data", len(splits.train))

    def on_fit_start(self, state: FitState) -> None:
        self._note("on_fit_start", state.run)

    def on_step_end(self, state: FitState) -> None:
        if state.step % self.every == 0:
            self._note("on_step_end", state.step)

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        self._note("on_evaluation", evaluation.step, improved)

    def on_fit_end(self, state: FitState) -> None:
        self._note("on_fit_end", state.stop_reason)

    def close(self) -> None:
        self._note("close")


HOOKS = ["on_data", "on_fit_start", "on_step_end", "on_evaluation", "on_fit_end", "close"]


@pytest.fixture(autouse=True)
def _diary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Diary, "notes", [])
    registry.callbacks.register("diary", aliases=("notes",))(Diary)


def _config(**options: Any) -> Config:
    return toy_config(epochs=1, callbacks=["diary"], callback_options={"diary": options} if options else {})


def _fit(config: Config, output: Path, callbacks: Any = ()) -> Trainer:
    trainer = Trainer(data=toy_splits(), config=config, output=output, callbacks=callbacks)
    trainer.fit()
    return trainer


def test_a_callback_that_the_settings_name_is_told_all_hooks_with_its_options(tmp_path: Path) -> None:
    _fit(_config(every="4"), tmp_path / "run")
    assert Diary.notes == [
        ("init",),
        ("on_data", 64),
        ("on_fit_start", tmp_path / "run"),
        ("on_step_end", 4),
        ("on_step_end", 8),
        ("on_evaluation", 8, True),
        ("on_fit_end", "all epochs done"),
        ("close",),
    ]


def test_a_name_among_the_callbacks_becomes_a_setting_and_objects_run_before_it(tmp_path: Path) -> None:
    class First(Callback):
        def on_fit_start(self, state: FitState) -> None:
            Diary.notes.append("first")

    trainer = _fit(toy_config(epochs=1), tmp_path / "run", callbacks=["notes", First(), "diary"])
    assert trainer.config.fit.callbacks == ["diary"]
    assert [note for note in Diary.notes if note == "first" or note[0] == "on_fit_start"] == [
        "first",
        ("on_fit_start", tmp_path / "run"),
    ]
    assert RunDirectory.open(tmp_path / "run").checkpoints.restorable().model.config.fit.callbacks == ["diary"]


def test_settings_with_callbacks_are_read_back_from_toml_as_they_were_written() -> None:
    import tomllib

    config = _config(every=2, fail_in='quotes " and \\ and = and }').updated(
        {"fit": {"callback_options": {"a.b c": {"flag": True, "half": 0.5}}}}, source="test"
    )
    assert Config().updated(tomllib.loads(config.to_toml()), source="test") == config


@pytest.mark.parametrize(
    ("text", "names"), [("diary", ["diary"]), ("diary, tensorboard", ["diary", "tensorboard"]), ("none", [])]
)
def test_names_may_come_as_one_text(text: str, names: list[str]) -> None:
    assert Config().updated({"fit": {"callbacks": text}}, source="test").fit.callbacks == names


def test_a_resumed_run_has_its_callbacks_again_and_may_leave_them_out(tmp_path: Path) -> None:
    run = tmp_path / "run"
    _fit(_config(every=8), run)
    Diary.notes.clear()
    Trainer.resume(run, data=toy_splits(), changes={"fit": {"epochs": 2}}, callbacks=[]).fit()
    assert ("on_step_end", 16) in Diary.notes
    assert ("on_step_end", 15) not in Diary.notes
    Diary.notes.clear()
    without = Trainer.resume(run, data=toy_splits(), changes={"fit": {"epochs": 3, "callbacks": "none"}}, callbacks=[])
    without.fit()
    assert Diary.notes == []
    assert without.config.fit.callback_options == {}


def test_a_run_may_get_a_callback_when_it_is_resumed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    _fit(toy_config(epochs=1), run)
    changes = {"fit": {"epochs": 2, "callbacks": ["diary"], "callback_options": {"diary": {"every": "16"}}}}
    Trainer.resume(run, data=toy_splits(), changes=changes, callbacks=[]).fit()
    assert [note for note in Diary.notes if note[0] == "on_step_end"] == [("on_step_end", 16)]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_callback_that_fails_ends_the_run_names_itself_and_keeps_the_checkpoint(hook: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(TrainingError) as caught:
        _fit(_config(fail_in=hook), run)
    assert f"the callback 'diary' of this session failed in {hook}: RuntimeError: CUDA out of memory" in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert Diary.notes[-1] == (("close",) if hook != "on_data" else ("on_data", 64))
    if hook == "on_data":
        assert not run.exists()
        return
    assert f"seqcls fit --resume {run}" in str(caught.value)
    assert "--set callbacks=none" in str(caught.value)
    changes = {"fit": {"callbacks": []}}
    assert Trainer.resume(run, data=toy_splits(), changes=changes, callbacks=[]).fit().stop_reason == "all epochs done"


def test_an_error_of_ours_passes_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Diary, splits: Splits) -> None:
        raise DataError("no such labels, please")

    monkeypatch.setattr(Diary, "on_data", refuse)
    with pytest.raises(DataError, match=r"^no such labels, please$"):
        _fit(_config(), tmp_path / "run")


@pytest.mark.parametrize("hook", ["on_step_end", "on_fit_end"])
def test_a_callback_given_as_an_object_is_named_too(hook: str, tmp_path: Path) -> None:
    class Unregistered(Diary):
        pass

    with pytest.raises(TrainingError, match=rf"Unregistered failed in {hook}: RuntimeError: CUDA out of memory") as caught:
        _fit(toy_config(epochs=1, auto_batch=True), tmp_path / "run", callbacks=[Unregistered(fail_in=hook)])
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_every_callback_that_was_started_is_closed_whatever_fails(tmp_path: Path) -> None:
    class Fails(Callback):
        def on_fit_start(self, state: FitState) -> None:
            raise ValueError("no start")

        def close(self) -> None:
            Diary.notes.append("closed")
            raise ValueError("no end")

    with pytest.raises(TrainingError, match="Fails failed in close: ValueError: no end"):
        _fit(toy_config(epochs=1), tmp_path / "run", callbacks=[Diary(), Fails(), Diary()])
    assert Diary.notes[-2:] == ["closed", ("close",)]  # the last one first; the third was never started


@pytest.mark.parametrize(
    ("fit", "error", "message"),
    [
        ({"callbacks": ["dairy"]}, UnknownNameError, "no callback is named 'dairy'; did you mean 'diary'"),
        ({"callbacks": ["diary"], "callback_options": {"diary": {"evry": 2}}}, ConfigError, "callback diary: .*'every'"),
        ({"callbacks": ["diary"], "callback_options": {"diary": {"every": 0}}}, ConfigError, "every must be ≥ 1, got 0"),
        ({"callback_options": {"diary": {"every": 2}}}, ConfigError, "'diary', which does not run; add --callback diary"),
        ({"callbacks": ["diary"], "callback_options": {"diary": {"fail_in": "init"}}}, PluginError, "cannot be built: Runt"),
        ({"callbacks": 3}, ConfigError, "fit.callbacks is 3"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_loaded(fit: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        Trainer(config=toy_config(**fit))


def test_a_class_that_is_no_callback_is_refused() -> None:
    with pytest.raises(PluginError, match=r"is not a callback: it is not a class derived from seqcls\.Callback"):
        registry.callbacks.register("wrong")(dict)


def test_a_lack_of_memory_in_saving_a_checkpoint_is_the_loops_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def find_no_memory_once(self: Checkpointer, state: FitState) -> None:
        calls.append(state.step)
        if len(calls) == 2:
            raise MemoryError("out of memory")

    monkeypatch.setattr(Checkpointer, "on_step_end", find_no_memory_once)
    trainer = Trainer(toy_splits(), config=toy_config(auto_batch=True), callbacks=[], output=tmp_path / "run")
    assert trainer.fit().stop_reason == "all epochs done"
    assert calls == list(range(1, 17))


def test_a_callback_object_that_fails_is_named_by_its_class(tmp_path: Path) -> None:
    class Careless(Callback):
        def on_step_end(self, state: FitState) -> None:
            raise ValueError("no such thing")

    trainer = Trainer(toy_splits(), config=toy_config(), callbacks=[Careless()], output=tmp_path / "run")
    with pytest.raises(TrainingError, match="Careless failed in on_step_end: ValueError: no such thing") as caught:
        trainer.fit()
    assert "callbacks=none" not in str(caught.value)  # which would not leave it out


def test_a_run_stops_when_all_of_many_validation_examples_are_right(tmp_path: Path) -> None:
    pairs = [("superb", "good"), ("awful", "bad")] * 500
    for count, reason in ((1000, "all 1,000 validation examples are right"), (998, "all epochs done")):
        splits = Splits.from_pairs(pairs[:200], validation=pairs[:count])
        result = Trainer(
            splits, config=toy_config(epochs=6, patience=None, lr=0.05), callbacks=[], output=tmp_path / str(count)
        ).fit()
        assert result.stop_reason == reason
