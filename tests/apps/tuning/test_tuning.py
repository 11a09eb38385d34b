from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn
from toy import toy_config, toy_pairs, toy_splits

from seqcls import Callback, Config, Encoder, Evaluation, FitState, Splits, Trainer, registry
from seqcls.apps.tuning import study
from seqcls.apps.tuning.limits import bytes_of
from seqcls.apps.tuning.results import TuningResult
from seqcls.apps.tuning.study import tune
from seqcls.apps.tuning.trials import Trial
from seqcls.config.toml import load_toml
from seqcls.config.values import Monitor
from seqcls.errors import CheckpointError, ConfigError, MissingExtraError, OutputExistsError, TrainingError, UsageError

pytest.importorskip("optuna")

FIXED = {"embedding_size", "word_dropout", "embedding_dropout", "output_dropout", "batch_size", "lr", "std"}


class Switched(Encoder):
    """The last step, unless a switch makes it useless."""

    def __init__(self, input_size: int, *, blind: bool = False, broken: bool = False, refused: bool = False) -> None:
        super().__init__()
        if refused:
            raise ConfigError("this does not go together")
        self.projection = nn.Linear(input_size, 4)
        self.output_size = 4
        self._factor = 0.0 if blind else float("nan") if broken else 1.0

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        encoded: Tensor = self.projection(x.sum(dim=1)) * self._factor
        return encoded


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the encoder; flush nothing to disk, and let no trial be too slow by chance."""
    registry.encoders.register("switched")(Switched)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(study, "_SHORT_SECONDS", 1000.0)


def _start(encoder: str = "mean-pool", **fit: Any) -> Config:
    return toy_config(threads=1, **fit).replace(encoder=encoder, encoder_options={})


def _tune(
    output: Path, *, encoder: str = "mean-pool", trials: int | None = 6, fit: Any = None, **options: Any
) -> TuningResult:
    options = {"data": toy_splits(32), "time_budget": None, **options}
    return tune([_start(encoder, **(fit or {}))], output, max_trials=trials, **options)


def _essence(result: TuningResult) -> list[Any]:
    """All of the trials but their durations."""
    return [trial.model_dump(exclude={"seconds"}) for trial in result.trials]


def test_the_recipe_gives_the_figures_that_it_promises(tmp_path: Path) -> None:
    result = _tune(tmp_path / "tuning")
    best, start = result.best, result.trials[0]
    assert best is not None
    assert start.values == {**start.values, "fit.lr": 0.01, "fit.batch_size": 8, "model.encoder_options.pooling": "mean"}
    assert best.value == min(trial.value for trial in result.trials if trial.value is not None) <= start.value  # type: ignore[operator]
    assert result.recipe is not None
    settings = Config().updated(load_toml(result.recipe), source="recipe")
    assert settings.fit.max_time is None
    run = Trainer(None, toy_splits(32), config=settings, callbacks=[], output=tmp_path / "run").fit().run_dir
    figures = [json.loads(line)["validation"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert best.validation is not None
    assert min(figures, key=lambda row: float(row["loss"])) == asdict(best.validation)


@pytest.mark.parametrize("monitor", ["accuracy", "f1"])
def test_another_figure_may_be_what_is_tuned(tmp_path: Path, monitor: Monitor) -> None:
    result = _tune(tmp_path, fit={"monitor": monitor})
    assert result.best is not None
    assert result.best.validation is not None
    assert result.best.value == max(trial.value for trial in result.trials if trial.value is not None)
    assert result.best.value == result.best.validation.figure(monitor)


def test_a_seed_gives_the_same_trials_whether_made_at_once_or_in_parts(tmp_path: Path) -> None:
    whole = _tune(tmp_path / "whole", trials=7)
    assert len({json.dumps(trial.values) for trial in whole.trials}) == 7
    for count in (2, 5, 7):
        parts = _tune(tmp_path / "parts", trials=count)
        assert len(parts.trials) == count
    assert _essence(parts) == _essence(whole)
    assert (tmp_path / "parts" / "recipe.toml").read_text() == (tmp_path / "whole" / "recipe.toml").read_text()
    assert _tune(tmp_path / "other", fit={"seed": 1}).trials[1].values != whole.trials[1].values


class Interrupting(Callback):
    """Presses Ctrl-C once, amid a trial."""

    def __init__(self, after: int) -> None:
        self._after = after
        self._evaluations = 0

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        self._evaluations += 1
        if self._evaluations == self._after:
            signal.raise_signal(signal.SIGINT)


def test_a_tuning_that_is_interrupted_amid_a_trial_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = _tune(tmp_path / "whole", fit={"epochs": 4})
    cut = _tune(tmp_path / "cut", fit={"epochs": 4}, callbacks=[Interrupting(after=10)])
    assert cut.signal == signal.SIGINT
    assert len(cut.trials) == 2
    assert cut.recipe is not None
    assert cut.recipe.is_file()
    told: list[str] = []
    again = _tune(tmp_path / "cut", fit={"epochs": 4}, report=told.append)
    assert again.signal is None
    assert _essence(again) == _essence(whole)
    assert again.seconds > cut.seconds
    assert sum(line.startswith("Trial 2: ") for line in told) == 1


def test_an_exception_amid_a_trial_loses_none_that_has_ended(tmp_path: Path) -> None:
    class Failing(Interrupting):
        def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
            self._evaluations += 1
            if self._evaluations == self._after:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _tune(tmp_path, callbacks=[Failing(after=6)])
    assert len((tmp_path / "trials.jsonl").read_text().splitlines()) == 2
    assert json.loads((tmp_path / "tuning.json").read_text())["seconds"] > 0
    assert len(_tune(tmp_path).trials) == 6


def test_models_that_are_too_large_are_not_trained(tmp_path: Path) -> None:
    max_size = 14_500
    result = _tune(tmp_path, trials=10, max_size=max_size)
    too_large = [trial for trial in result.trials if trial.reason.startswith("too large")]
    assert too_large
    assert all(trial.state == "pruned" and not trial.evaluations and trial.size > max_size for trial in too_large)  # type: ignore[operator]
    assert all(trial.size <= max_size for trial in result.trials if trial.state == "complete")  # type: ignore[operator]
    assert result.model is not None
    assert result.best is not None
    size = sum(file.stat().st_size for file in result.model.iterdir())
    assert size <= max_size
    assert abs(size - result.best.size) < 5_000  # type: ignore[operator]


def test_of_no_model_small_enough_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "_MAX_WASTED", 8)
    with pytest.raises(TrainingError, match=r"none of 8 trials is complete; the last one: too large: \d\.\d\d MB"):
        _tune(tmp_path, trials=20, max_size=100)


def test_the_time_budget_is_kept_and_more_time_goes_on(tmp_path: Path) -> None:
    began = time.monotonic()
    endless = {"epochs": 100_000}
    with pytest.raises(
        TrainingError,
        match=r"no trial is complete, and the time budget of 0:00:05 is used up",
    ):
        _tune(tmp_path, fit=endless, trials=None, time_budget=5.0)
    assert time.monotonic() - began < 5.0
    step = json.loads((tmp_path / "trial-0000" / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    with pytest.raises(TrainingError):
        _tune(tmp_path, fit=endless, trials=None, time_budget=10.0)
    assert json.loads((tmp_path / "trial-0000" / "metrics.jsonl").read_text().splitlines()[-1])["step"] > step
    with pytest.raises(TrainingError, match="time budget of 0:00:05 is used up"):
        _tune(tmp_path, fit=endless, trials=None, time_budget=5.0)


def test_a_trial_that_fails_is_kept_with_its_reason_and_the_next_one_comes(tmp_path: Path) -> None:
    result = _tune(tmp_path, encoder="switched", trials=10, fixed=FIXED | {"blind"})
    reasons = {
        (trial.values["model.encoder_options.refused"], trial.values["model.encoder_options.broken"]): trial
        for trial in result.trials
    }
    assert reasons[False, False].state == "complete"
    assert "not finite" in reasons[False, True].reason
    assert reasons[True, False].reason == "ConfigError: this does not go together"
    assert {trial.state for trial in result.trials} == {"complete", "failed"}


def test_a_start_that_cannot_be_trained_ends_it_at_once(tmp_path: Path) -> None:
    start = _start("switched").updated({"model": {"encoder_options": {"refused": True}}}, source="test")
    with pytest.raises(ConfigError, match="this does not go together"):
        tune([start], tmp_path, data=toy_splits(), max_trials=3)
    assert len(_tune(tmp_path, trials=1).trials) == 1  # nothing is there that would be in the way


def test_a_trial_that_is_behind_is_stopped(tmp_path: Path) -> None:
    result = _tune(tmp_path, encoder="switched", trials=12, fit={"epochs": 5}, fixed=FIXED | {"broken", "refused"})
    pruned = [trial for trial in result.trials if trial.state == "pruned"]
    assert pruned
    assert all(trial.values["model.encoder_options.blind"] for trial in pruned)
    assert all(trial.reason.startswith("behind the median after") and len(trial.evaluations) < 5 for trial in pruned)
    assert all(trial.value is None for trial in pruned)


def test_a_trial_that_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "_MAX_RATIO", 0)
    monkeypatch.setattr(study, "_SHORT_SECONDS", 0.0)
    result = _tune(tmp_path, trials=3)
    assert [trial.state for trial in result.trials] == ["complete", "pruned", "pruned"]
    assert result.trials[1].reason == "too slow: more than 0 s"


def test_encoders_are_chosen_among(tmp_path: Path) -> None:
    starts = [_start("mean-pool"), _start("lstm")]
    result = tune(starts, tmp_path, data=toy_splits(), time_budget=None, max_trials=8)
    assert [trial.encoder for trial in result.trials[:2]] == ["mean-pool", "lstm"]
    assert {trial.encoder for trial in result.trials[2:]} == {"mean-pool", "lstm"}
    for trial in result.trials:
        assert ("model.encoder_options.hidden_size" in trial.values) == (trial.encoder == "lstm")


def test_the_test_split_is_not_looked_at(tmp_path: Path) -> None:
    result = _tune(tmp_path, trials=2)
    assert result.model is not None
    assert "test" not in json.loads((result.model / "metrics.json").read_text())
    without = Splits.from_pairs(toy_pairs(32), validation=toy_pairs(16, seed=1))
    again = _tune(tmp_path / "without", trials=2, data=without)
    assert [trial.value for trial in again.trials] == [trial.value for trial in result.trials]


def test_only_the_best_run_is_kept_in_files_that_execute_nothing(tmp_path: Path) -> None:
    result = _tune(tmp_path)
    assert result.best is not None
    assert [path.name for path in tmp_path.glob("trial-*")] == [f"trial-{result.best.number:04d}"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".jsonl", ".toml", ".safetensors", ".md", ""}
    assert [path.name for path in files if not path.suffix] == ["lock", "lock"]


def test_other_settings_do_not_go_on_with_it(tmp_path: Path) -> None:
    _tune(tmp_path / "tuning", trials=2)
    with pytest.raises(ConfigError, match=r"settings \(starts\.0\.fit\.epochs was 2, and is 3\)"):
        _tune(tmp_path / "tuning", fit={"epochs": 3})
    with pytest.raises(ConfigError, match=r"other settings \(data was"):
        _tune(tmp_path / "tuning", data=toy_splits(70))
    assert len(_tune(tmp_path / "tuning", fit={"epochs": 3}, trials=1, overwrite=True).trials) == 1
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError, match="does not hold a search"):
            _tune(tmp_path / "other", overwrite=overwrite)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [lines[0], "{"],
        lambda lines: [lines[1]],
        lambda lines: [lines[0], lines[0]],
        lambda lines: [lines[0].replace('"fit.lr":', '"fit.lx":')],
        lambda lines: [lines[0].replace('"fit.batch_size":8', '"fit.batch_size":9')],
    ],
)
def test_damaged_records_are_one_clear_error(tmp_path: Path, damage: Any) -> None:
    _tune(tmp_path, trials=2)
    records = tmp_path / "trials.jsonl"
    before = records.read_text()
    records.write_text("\n".join(damage(before.splitlines())) + "\n")
    assert records.read_text() != before
    with pytest.raises(CheckpointError, match="start over with --force"):
        _tune(tmp_path, trials=4)


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    splits = toy_splits()
    with pytest.raises(UsageError, match="needs a number of trials"):
        tune([_start()], tmp_path, data=splits, time_budget=None)
    with pytest.raises(UsageError, match="needs settings"):
        tune([], tmp_path, data=splits)
    with pytest.raises(UsageError, match="given twice"):
        tune([_start(), _start()], tmp_path, data=splits)
    with pytest.raises(UsageError, match="differ in more than the model"):
        tune([_start(), _start("lstm", epochs=9)], tmp_path, data=splits)
    with pytest.raises(UsageError, match=r"fit\.max_time limits one training"):
        tune([_start(max_time=60)], tmp_path, data=splits)


def test_what_mattered_is_told_where_there_are_enough_trials(tmp_path: Path) -> None:
    assert _tune(tmp_path, trials=2).importances is None
    pytest.importorskip("sklearn")
    found = _tune(tmp_path, trials=16).importances
    assert found is not None
    assert sum(found.values()) == pytest.approx(1, abs=0.01)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_without_optuna_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'seqcls\[tune\]'"):
        _tune(tmp_path / "tuning")
    assert not (tmp_path / "tuning").exists()


@pytest.mark.parametrize(
    ("text", "size"),
    [("500", 500), ("500B", 500), ("2MB", 2_000_000), ("1.5 MiB", 1_572_864), ("10kb", 10_000), ("1G", 10**9)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "MB", "2 apples", "-2MB", "0MB", "2iB", "1e6"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write a size as"):
        bytes_of(text)


def test_a_trial_is_read_back_as_it_was_written() -> None:
    trial = Trial(
        number=3, state="complete", encoder="lstm", values={"a": 1, "b": 0.5, "c": True, "d": None, "e": "x"}, value=0.1
    )
    again = Trial.model_validate_json(trial.model_dump_json())
    assert again == trial
    assert [type(value) for value in again.values.values()] == [int, float, bool, type(None), str]
