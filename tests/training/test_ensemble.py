"""Ensembles: each network learns as if it were alone, and the logits are the mean of all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy import toy_pairs, toy_splits

from seqcls import AutoTrainer, Classifier, Splits, Trainer
from seqcls.config.settings import ModelConfig
from seqcls.errors import ConfigError
from seqcls.model.build import build_model
from seqcls.model.encoders.lstm import LSTM
from seqcls.storage.model_directory import load_model_directory
from seqcls.storage.run_directory import RunDirectory
from seqcls.training import choice
from seqcls.training.candidates import Candidate

SETTINGS: dict[str, Any] = {
    "encoder_options": {"hidden_size": 4},
    "embedding_size": 8,
    "epochs": 2,
    "batch_size": 8,
    "device": "cpu",
    "callbacks": [],
}
NO_NOISE = {"word_dropout": 0.0, "embedding_dropout": 0.0, "output_dropout": 0.0}
TEXTS = ["a superb room", "an awful meal", "", "quiet " * 30]


def fit(folder: Path, **settings: Any) -> Classifier:
    Trainer(toy_splits(), encoder="lstm", output=folder, **{**SETTINGS, **settings}).fit()
    return Classifier.from_pretrained(folder)


@pytest.mark.parametrize("clip_norm", [None, 1e9])
def test_each_network_learns_as_if_it_were_alone(tmp_path: Path, clip_norm: float | None) -> None:
    """The first of two networks has the initial weights of a network of the same seed, and the same batches."""
    settings = {**NO_NOISE, "clip_norm": clip_norm, "calibrate": False}
    single = fit(tmp_path / "single", **settings)._saved.weights
    both = fit(tmp_path / "both", ensemble=2, **settings)._saved.weights
    assert both.keys() == single.keys() | {f"others.0.{name}" for name in single}
    for name, weight in single.items():
        torch.testing.assert_close(both[name], weight, rtol=1e-4, atol=1e-5)
    name = "encoder.recurrence.layers.0.0.weight_hh_l0"
    assert not torch.allclose(both[name], both[f"others.0.{name}"], atol=0.01)


def test_the_logits_are_the_mean_of_those_of_the_networks(tmp_path: Path) -> None:
    together = fit(tmp_path / "run", ensemble=3)
    saved = load_model_directory(tmp_path / "run" / "model")
    logits = []
    for prefix in ("", "others.0.", "others.1."):
        model = build_model(
            saved.config.model.model_copy(update={"ensemble": 1}),
            vocab_size=saved.preprocessor.input_size,
            num_classes=2,
        )
        of_one = {name: saved.weights[f"{prefix}{name}"] for name in model.state_dict()}
        model.load_state_dict(of_one)
        sequences = together.encode(TEXTS)
        inputs, lengths = sequences.pad(np.arange(len(TEXTS)))
        with torch.no_grad():
            logits.append(model.eval()(torch.from_numpy(inputs), torch.from_numpy(lengths)))
    expected = (torch.stack(logits).mean(dim=0) / together.temperature).softmax(dim=-1)
    np.testing.assert_allclose(together.predict_proba(TEXTS), expected.numpy(), atol=1e-6)


def test_a_run_resumes_bit_by_bit(tmp_path: Path) -> None:
    settings = {"ensemble": 2, "schedule": "constant"}
    whole = fit(tmp_path / "whole", epochs=3, **settings)
    fit(tmp_path / "parts", **settings)
    Trainer.resume(tmp_path / "parts", data=toy_splits(), epochs=3).fit()
    resumed = Classifier.from_pretrained(tmp_path / "parts")
    np.testing.assert_array_equal(resumed.predict_proba(TEXTS), whole.predict_proba(TEXTS))


def test_the_figures_of_training_are_means_over_networks(tmp_path: Path) -> None:
    fit(tmp_path / "single", lr=1e-12)
    fit(tmp_path / "many", lr=1e-12, ensemble=4)
    single, many = (RunDirectory(tmp_path / name).evaluations()[-1].train for name in ("single", "many"))
    assert many.loss == pytest.approx(single.loss, rel=0.05)  # ln 2, as of any network that has not learned yet
    assert 0 <= many.accuracy <= 1


def test_a_choice_makes_ensembles_of_networks_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linear = Candidate("linear", {"encoder": "linear", "ensemble": 1})
    network = Candidate("network", {"encoder": "lstm", "encoder_options": {"hidden_size": 4}, "wide": True})
    monkeypatch.setattr(choice, "candidates_for", lambda *_: [linear, network])
    settings = {name: value for name, value in SETTINGS.items() if name != "encoder_options"}
    auto = AutoTrainer(toy_splits(), output=tmp_path / "run", ensemble=2, **settings)
    plans = auto.plans()
    assert {name: plan.config.model.ensemble for name, plan in plans.items()} == {"linear": 1, "network": 2}
    assert [row.name for row in auto.fit().compared] == ["linear", "network"]


def test_networks_that_would_all_be_the_same_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="same linear model"):
        Trainer(toy_splits(), encoder="linear", ensemble=2, output=tmp_path / "run", device="cpu").fit()
    with pytest.raises(ConfigError, match="register"):
        Trainer(toy_splits(), encoder=LSTM(8), embedding_size=8, ensemble=2, output=tmp_path / "run", device="cpu").fit()
    assert not (tmp_path / "run").exists()


def test_networks_have_different_initial_weights() -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig(ensemble=3, embedding_size=8), vocab_size=20, num_classes=2)
    tables = [member.embedding.table.weight for member in model.members]
    assert len({table[1, 0].item() for table in tables}) == 3


def test_several_labels_and_weights(tmp_path: Path) -> None:
    pairs = [(text, [label, "long"] if len(text) > 30 else [label]) for text, label in toy_pairs(64)]
    splits = Splits.from_pairs(pairs, validation=pairs)
    splits = replace(splits, train=replace(splits.train, weights=np.linspace(0, 1, 64)))
    Trainer(splits, encoder="lstm", ensemble=2, output=tmp_path / "run", **SETTINGS).fit()
    assert Classifier.from_pretrained(tmp_path / "run").predict_proba(TEXTS).shape == (4, len(splits.label_names))
