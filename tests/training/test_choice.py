from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy import toy_pairs, toy_splits

from seqcls import AutoTrainer, Callback, Classifier, Config, DataConfig, FitState, Splits, Trainer
from seqcls.config.auto import DataShape
from seqcls.errors import CheckpointError, ConfigError, DataError, OutputExistsError
from seqcls.training import choice
from seqcls.training.callbacks.console import ComparisonTable
from seqcls.training.candidates import Candidate, candidates_for

LINEAR = Candidate("linear", {"encoder": "linear"})
NETWORK = Candidate("n-grams and lstm", {"encoder": "lstm", "encoder_options": {"hidden_size": 4}, "wide": True})
SMALL = {"epochs": 2, "batch_size": 8, "lr": 0.01, "device": "cpu"}


@pytest.fixture(autouse=True)
def _few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "candidates_for", lambda *_: [LINEAR, NETWORK])


def trainer(splits: Splits, output: Path, **arguments: object) -> AutoTrainer:
    return AutoTrainer(splits, **{"callbacks": [], "output": output, **SMALL, **arguments})


def without_validation(count: int = 64) -> Splits:
    return Splits.from_pairs(toy_pairs(count), test=toy_pairs(20, seed=2))


def test_the_best_candidate_is_kept_and_trained_again_on_all_examples(tmp_path: Path) -> None:
    result = trainer(toy_splits(), tmp_path / "run").fit()
    assert [row.name for row in result.compared] == ["linear", "n-grams and lstm"]
    (best,) = [row for row in result.compared if row.is_chosen]
    assert best.validation.loss == min(row.validation.loss for row in result.compared)
    assert result.validation.as_dict() == best.validation.as_dict()  # from before the second training
    assert (result.run_dir, result.model_dir) == (tmp_path / "run", tmp_path / "run" / "model")
    description = json.loads((result.model_dir / "config.json").read_text())
    assert description["config"]["data"]["train_on"] == "all"
    assert result.test.count == 20
    assert result.load().predict(["a superb room", "an awful meal"]) == ["good", "bad"]
    written = json.loads((tmp_path / "run" / "choice.json").read_text())
    assert [row["name"] for row in written["compared"] if row["is_chosen"]] == [best.name]
    assert not (tmp_path / "run" / "candidates").exists()


def test_a_model_that_had_the_validation_split_is_not_scored_there(tmp_path: Path) -> None:
    trainer(without_validation(), tmp_path / "run").fit()
    classifier = Classifier.from_pretrained(tmp_path / "run")
    with pytest.raises(DataError, match="trained on all examples"):
        classifier.evaluate(without_validation(), split="validation")


def test_the_second_training_has_the_examples_of_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "candidates_for", lambda *_: [LINEAR])
    novel = [(f"novel n{number}", "good") for number in range(40)]  # only validation says what "novel" means
    splits = Splits.from_pairs(toy_pairs(64), validation=[*toy_pairs(40, seed=1), *novel], test=[("novel", "good")])
    probabilities = {}
    for refit in (True, False):
        result = trainer(splits, tmp_path / f"run-{refit}", refit=refit, calibrate=False).fit()
        probabilities[refit] = result.load().predict_proba(["novel"])[0][splits.label_names.index("good")]
    assert probabilities[False] < 0.7 < probabilities[True]


def test_without_refit_the_best_run_is_kept_as_it_was(tmp_path: Path) -> None:
    result = trainer(toy_splits(), tmp_path / "run", refit=False).fit()
    (best,) = [row for row in result.compared if row.is_chosen]
    settings = {**SMALL, **(LINEAR if best.name == "linear" else NETWORK).settings}
    alone = Trainer(toy_splits(), **settings, callbacks=[], output=tmp_path / "alone").fit()
    assert result.test.as_dict() == alone.test.as_dict()
    assert Classifier.from_pretrained(tmp_path / "run").evaluate(toy_splits(), split="validation").count == 16


def test_few_examples_are_cross_validated(tmp_path: Path) -> None:
    result = trainer(without_validation(), tmp_path / "run").fit()
    assert {row.folds for row in result.compared} == {5}
    assert {row.validation.count for row in result.compared} == {64}  # each example is asked once
    assert result.test.accuracy > 0.9


def test_three_examples_per_label_are_enough(tmp_path: Path) -> None:
    result = trainer(Splits.from_pairs(toy_pairs(6)), tmp_path / "run").fit()
    assert result.validation.count == 6
    assert result.model_dir is not None


def test_groups_are_never_divided(tmp_path: Path) -> None:
    splits = without_validation(40)
    grouped = replace(splits, train=replace(splits.train, groups=[f"g{n // 4}" for n in range(40)]))
    for part in grouped.folds(5, seed=0):
        assert not set(part.train.groups) & set(part.validation.groups)
    assert trainer(grouped, tmp_path / "run").fit().validation.count == 40


def test_several_labels_and_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(text, [label, "long"] if len(text) > 30 else [label]) for text, label in toy_pairs(64)]
    result = trainer(Splits.from_pairs(pairs), tmp_path / "labels").fit()
    assert result.validation.f1 > 0.7
    monkeypatch.setattr(choice, "candidates_for", lambda *_: [Candidate("lstm", {"encoder": "lstm"})])
    rng = np.random.default_rng(0)
    sequences = [(rng.normal(label, 0.3, (rng.integers(3, 6), 2)), str(label)) for label in [0, 1] * 20]
    result = trainer(Splits.from_pairs(sequences), tmp_path / "numbers").fit()
    assert [row.folds for row in result.compared] == [3]
    assert result.validation.accuracy > 0.9


class InterruptAt(Callback):
    """Sends SIGINT at a step of the training whose run directory has a name."""

    def __init__(self, name: str, step: int) -> None:
        self._name, self._step = name, step

    def on_step_end(self, state: FitState) -> None:
        if state.run.name == self._name and state.step == self._step:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("name", "step"), [("n-grams-and-lstm", 3), ("all-examples", 5)])
def test_an_interrupted_choice_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, step: int
) -> None:
    monkeypatch.setattr(choice, "candidates_for", lambda *_: [NETWORK])
    splits = toy_splits()
    whole = trainer(splits, tmp_path / "whole").fit()
    stopped = trainer(splits, tmp_path / "run", callbacks=[InterruptAt(name, step)]).fit()
    assert (stopped.signal, stopped.model_dir, stopped.run_dir) == (signal.SIGINT, None, tmp_path / "run")
    with pytest.raises(ConfigError, match="data="):
        AutoTrainer.resume(tmp_path / "run", callbacks=[])
    resumed = AutoTrainer.resume(tmp_path / "run", data=splits, callbacks=[]).fit()
    assert resumed.test.as_dict() == whole.test.as_dict()
    assert resumed.validation.as_dict() == whole.validation.as_dict()
    with pytest.raises(CheckpointError, match="no unfinished choice"):
        AutoTrainer.resume(tmp_path / "run", data=splits)


def test_a_choice_that_was_killed_while_it_was_kept_is_kept_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trainer(toy_splits(), tmp_path / "whole").fit()
    place, calls = choice.place_copy, []

    def dies(source: Path, target: Path) -> None:
        calls.append(target.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        place(source, target)

    monkeypatch.setattr(choice, "place_copy", dies)
    with pytest.raises(KeyboardInterrupt):
        trainer(toy_splits(), tmp_path / "run").fit()
    monkeypatch.setattr(choice, "place_copy", place)
    resumed = AutoTrainer.resume(tmp_path / "run", data=toy_splits(), callbacks=[]).fit()
    assert resumed.test.as_dict() == whole.test.as_dict()
    assert {child.name for child in (tmp_path / "run").iterdir()} == {child.name for child in (tmp_path / "whole").iterdir()}


def test_a_finished_choice_is_not_resumed_as_a_run(tmp_path: Path) -> None:
    trainer(toy_splits(), tmp_path / "run").fit()
    with pytest.raises(CheckpointError, match="trained on all examples"):
        Trainer.resume(tmp_path / "run", data=toy_splits(), epochs=4)


def test_candidates_without_time_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = trainer(toy_splits(), tmp_path / "run", max_time=0.5, callbacks=None).fit()
    assert [row.name for row in result.compared] == ["linear"]
    assert "n-grams and lstm: no time is left" in capsys.readouterr().err
    assert result.test is not None


def test_the_table_shows_each_candidate_with_its_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(toy_splits(), tmp_path / "run", callbacks=None).fit()
    lines = capsys.readouterr().err.splitlines()
    assert "16 examples" in lines[0]
    assert any(line.startswith("linear ") and " to " in line for line in lines)
    assert any("again on all 80 examples" in line for line in lines)
    assert all(len(line) <= 80 for line in lines)
    assert ComparisonTable("loss", show=False).say("nothing") is None


def test_an_existing_run_is_kept(tmp_path: Path) -> None:
    trainer(toy_splits(), tmp_path / "run").fit()
    with pytest.raises(OutputExistsError):
        trainer(toy_splits(), tmp_path / "run").fit()
    assert trainer(toy_splits(), tmp_path / "run", overwrite=True).fit().model_dir is not None


def test_the_candidates_fit_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    many = DataShape(kind="text", examples=10_000, classes=5, mean_length=12.0, character_ngrams=5)
    few, long = replace(many, examples=100), replace(many, mean_length=300.0)

    def names(shape: DataShape, **settings: Any) -> list[str]:
        return [candidate.name for candidate in candidates_for(shape, DataConfig(**settings))]

    for is_installed, linear, networks in (
        (True, ["linear", "linear, words alone", "linear with static vectors"], ["wide bilstm, static vectors"]),
        (False, ["linear", "linear, words alone"], ["wide cnn"]),
    ):
        monkeypatch.setattr("seqcls.training.candidates.find_spec", lambda _, found=is_installed: found or None)
        assert names(many) == linear + networks
        assert names(few) == linear
        assert names(long) == linear[:2]
        assert names(many, tokenizer="bpe") == ["linear", "linear, words alone", "wide cnn"]
        assert names(many, character_ngrams=3) == [name for name in linear + networks if name != "linear, words alone"]
        assert names(replace(long, character_ngrams=0)) == ["linear"]
    assert names(replace(few, kind="features")) == ["bilstm"]


class Recorder(Callback):
    """Keeps the longest n-gram of characters of each training, by the name of its run directory."""

    def __init__(self) -> None:
        self.longest: dict[str, Any] = {}

    def on_fit_start(self, state: FitState) -> None:
        self.longest[state.run.name] = state.config.data.character_ngrams


@pytest.mark.parametrize(("first", "second"), [("auto", 0), (0, 4)])
def test_the_others_have_the_ngrams_of_the_better_linear_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: Any, second: int
) -> None:
    # The endings alone tell the label: words alone know nothing.
    pairs = [(f"w{number}{('ing', 'ed')[number % 2]}", ("now", "then")[number % 2]) for number in range(200)]
    splits = Splits.from_pairs(pairs[:160], validation=pairs[160:])
    linear = [
        Candidate(f"linear {longest}", {"encoder": "linear", "character_ngrams": longest}) for longest in (first, second)
    ]
    monkeypatch.setattr(choice, "candidates_for", lambda *_: [*linear, NETWORK])
    recorder = Recorder()
    trainer(splits, tmp_path / "run", refit=False, callbacks=[recorder]).fit()
    assert recorder.longest["n-grams-and-lstm"] == (5 if first == "auto" else second)


def test_a_setting_that_is_given_counts_in_every_training(tmp_path: Path) -> None:
    result = trainer(toy_splits(), tmp_path / "run", config=Config().replace(seed=7), epochs=1).fit()
    saved = json.loads((result.model_dir / "config.json").read_text())["config"]["fit"]
    assert (saved["seed"], saved["epochs"]) == (7, 1)
