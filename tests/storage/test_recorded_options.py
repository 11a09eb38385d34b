"""A model directory records every option, so that a default that changes later never changes a model."""

from __future__ import annotations

import enum
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from defaults import change_defaults
from toy import LastStep, toy_config, toy_splits

from seqcls import Classifier, Config, NumpyClassifier, Trainer, registry
from seqcls.config import options
from seqcls.data.scaler import FeatureScaler
from seqcls.data.tokenizer import TextTokenizer
from seqcls.errors import CheckpointError
from seqcls.model.build import build_model
from seqcls.storage.description import read_description
from seqcls.storage.model_directory import load_model_directory, save_model_directory
from seqcls.storage.resolved_options import resolve_options
from seqcls.storage.upgrade import _OPTIONS_OF_0_1, FORMAT_VERSION, read_format

TEXTS = ["a superb film", "awful and dull", "", "superb superb dull film of a film"]
NUMBERS = [np.linspace(-1, 1, 3 * steps, dtype=np.float32).reshape(steps, 3) for steps in (1, 2, 7)]
MODELS = [
    *(("encoder", name) for name in registry.encoders.builtins if name != "linear"),
    *(("embedding", n) for n in registry.embeddings.builtins),
]


def _save(path: Path, config: Config) -> list[Any]:
    """Save a model with random weights, and return inputs for it."""
    preprocessor = (
        FeatureScaler.fit(NUMBERS)
        if config.model.embedding == "features"
        else TextTokenizer.from_words(["film", "a", "superb", "dull"])
    )
    torch.manual_seed(0)
    model = build_model(config.model, vocab_size=preprocessor.input_size, num_classes=2)
    save_model_directory(
        path, config=config, label_names=("bad", "good"), preprocessor=preprocessor, weights=model.state_dict(), metrics={}
    )
    return NUMBERS if config.model.embedding == "features" else TEXTS


def _probabilities(path: Path, inputs: list[Any]) -> tuple[Any, Any]:
    torchs = Classifier.from_pretrained(path, device="cpu").predict_proba(inputs)
    return np.asarray(torchs), NumpyClassifier.from_pretrained(path).predict_proba(inputs)


@pytest.mark.parametrize(("kind", "name"), MODELS)
def test_a_new_default_changes_no_saved_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str) -> None:
    model: dict[str, Any] = {"encoder": "mean-pool", "embedding_size": 4, kind: name}
    if name == "pretrained":
        model["embedding_options"] = {"path": "vectors.txt"}
    inputs = _save(tmp_path / "model", Config().updated({"model": model}, source="test"))
    before = _probabilities(tmp_path / "model", inputs)
    change_defaults(monkeypatch, registry.REGISTRIES[kind].get(name))
    after = _probabilities(tmp_path / "model", inputs)
    np.testing.assert_array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])


@pytest.mark.parametrize(("kind", "name"), MODELS)
def test_every_option_of_a_model_is_recorded(kind: str, name: str) -> None:
    model = {"embedding_options": {"path": "vectors.txt"}} if name == "pretrained" else {}
    resolved = resolve_options(Config().updated({"model": {kind: name, **model}}, source="test")).model
    recorded = {"encoder": resolved.encoder_options, "embedding": resolved.embedding_options}[kind]
    assert set(recorded) == {option.name for option in options.describe(registry.REGISTRIES[kind].get(name))}


def test_options_of_data_sets_and_callbacks_are_recorded_too() -> None:
    changes = {
        "data": {"dataset": "reviews", "dataset_options": {"test_size": 7}},
        "fit": {"callbacks": ["tensorboard"]},
    }
    resolved = resolve_options(Config().updated(changes, source="test"))
    recorded = resolved.data.dataset_options
    assert recorded == {**recorded, "train_size": 20_000, "test_size": 7, "seed": 0}
    assert resolved.fit.callback_options == {"tensorboard": {"every_steps": 10}}


def test_an_alias_is_recorded_as_the_name_it_stands_for(tmp_path: Path) -> None:
    with registry.isolated():
        registry.encoders.register("last-step", aliases=("last",))(LastStep)
        _save(tmp_path / "model", Config().updated({"model": {"encoder": "last", "embedding_size": 4}}, source="test"))
    description = json.loads((tmp_path / "model" / "config.json").read_bytes())
    assert description["config"]["model"]["encoder"] == description["plugins"]["encoder"]["name"] == "last-step"


class Wide(LastStep):
    """An encoder that nobody registers, with a default that no settings file can hold."""

    def __init__(
        self, input_size: int, *, size: int = 3, shape: tuple[int, ...] = (1, 2), scale: float | None = None
    ) -> None:
        super().__init__(input_size, size=size)


def test_an_unregistered_encoder_records_its_options_too(tmp_path: Path) -> None:
    run = (
        Trainer(Wide(8, size=4), toy_splits(), config=toy_config(epochs=1), callbacks=[], output=tmp_path / "run")
        .fit()
        .run_dir
    )
    assert load_model_directory(run / "model").config.model.encoder_options == {"size": 4, "scale": None}


def _old(**model: Any) -> dict[str, Any]:
    plugins = {kind: {"name": model.get(kind), "distribution": "seqcls"} for kind in ("encoder", "embedding")}
    return {"format_version": 1, "plugins": plugins, "config": {"data": {}, "model": model, "fit": {}}}


def test_version_1_means_the_defaults_of_0_1() -> None:
    old = _old(encoder="min-gru", encoder_options={"hidden_size": 3}, embedding="word", embedding_options={})
    model = read_format(old, Path("config.json"))["config"]["model"]
    assert model["encoder_options"] == {
        "hidden_size": 3, "num_layers": 2, "bidirectional": False, "dropout": 0.0, "pooling": "last"
    }  # fmt: skip
    assert model["embedding_options"] == {"std": 0.1}
    assert old["config"]["model"]["encoder_options"] == {"hidden_size": 3}


def test_version_1_means_the_aliases_of_0_1() -> None:
    old = _old(encoder="bilstm", encoder_options={})
    old["plugins"]["encoder"] = {"name": "bilstm", "target": "bilstm", "distribution": None, "version": None}
    new = read_format(old, Path("config.json"))
    assert new["config"]["model"]["encoder"] == new["plugins"]["encoder"]["name"] == "bilstm-mean-pool"
    assert new["plugins"]["encoder"]["distribution"] == "seqcls"


def test_the_current_version_is_taken_as_it_is() -> None:
    values = {**_old(encoder="lstm", encoder_options={}), "format_version": FORMAT_VERSION}
    assert read_format(values, Path("config.json")) == values


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"config": None, "plugins": 3},
        {"config": {"model": [], "data": None, "fit": "x"}},
        {"config": {"model": {"encoder": ["lstm"], "encoder_options": 3}, "fit": {"callbacks": 5, "callback_options": 1}}},
        {"config": {"model": {"encoder": "lstm", "encoder_options": None}, "fit": {"callbacks": [["tensorboard"]]}}},
        {"config": {"model": {"encoder": "bilstm"}}, "plugins": {"encoder": 5}},
    ],
)
def test_malformed_descriptions_are_left_for_the_check_that_follows(values: dict[str, Any]) -> None:
    read_format({**values, "format_version": 1}, Path("config.json"))


def test_a_setting_under_its_old_name_and_its_new_one_is_refused() -> None:
    old = _old(encoder="lstm", encoder_options={})
    old["config"]["data"] = {"num_words": 9, "vocab_size": 8}
    with pytest.raises(CheckpointError, match=r"config\.json cannot be used: num_words"):
        read_format(old, Path("config.json"))


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in _OPTIONS_OF_0_1.items() for name in names])
def test_the_options_of_0_1_are_still_options(kind: str, name: str) -> None:
    plugin = registry.REGISTRIES[kind].get(name)
    required = {option.name: option for option in options.describe(plugin) if option.required}
    given = {name: options.literals(plugin)[name][0] if options.literals(plugin)[name] else "x" for name in required}
    options.validate(plugin, {**given, **_OPTIONS_OF_0_1[kind][name]}, what=name)


def test_reading_an_old_model_warns_of_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        old = _old(encoder="lstm", encoder_options={})
        old["config"] |= {"data": {"num_words": 9}, "fit": {"beta2": 0.5, "report": False}}
        config = read_format(old, tmp_path / "config.json")["config"]
    assert (config["data"], config["fit"]) == ({"vocab_size": 9}, {"betas": [0.9, 0.5]})


class Level(enum.IntEnum):
    LOW = 1


class Levelled(LastStep):
    """An encoder with a default that no file can hold as it is."""

    def __init__(self, input_size: int, *, size: int = 4, level: Level = Level.LOW) -> None:
        super().__init__(input_size, size=size)
        self.level = level


def test_a_default_that_a_file_cannot_hold_is_left_to_the_class(tmp_path: Path) -> None:
    registry.encoders.register("levelled")(Levelled)
    config = toy_config().replace(encoder="levelled", encoder_options={})
    result = Trainer(toy_splits(), config=config, callbacks=[], output=tmp_path / "run").fit()
    classifier = Classifier.from_pretrained(result.run_dir)
    assert classifier.config.model.encoder_options == {"size": 4}
    assert classifier.predict(["superb"])


def test_a_description_that_is_nested_too_deeply_is_refused_at_any_depth() -> None:
    valid = json.dumps({"format_version": FORMAT_VERSION, "config": {}})
    for depth in range(100, 1100, 7):
        nested = valid[:-1] + ', "x": ' + "[" * depth + "]" * depth + "}"
        with pytest.raises(CheckpointError):
            read_description(nested.encode(), Path("config.json"))
