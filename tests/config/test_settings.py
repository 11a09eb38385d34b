from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest

from seqcls.config.settings import SECTIONS, Config, all_settings, merge, resumable_settings
from seqcls.errors import ConfigError


def test_no_two_sections_share_a_name_of_a_setting() -> None:
    fields = [name for section in (Config().data, Config().model, Config().fit) for name in type(section).model_fields]
    assert len(fields) == len(set(fields)) == len(all_settings())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fit": {"epoch": 3}}, "here: unknown setting fit.epoch; did you mean fit.epochs"),
        ({"training": {}}, "here: unknown setting training"),
        ({"fit": {"epochs": 2.5}}, "here: fit.epochs is 2.5"),
        ({"fit": {"epochs": "many"}}, "here: fit.epochs is 'many'"),
        ({"fit": {"lr": float("nan")}}, "here: fit.lr is nan"),
        ({"fit": {"lr": "1e999"}}, "here: fit.lr is '1e999'"),
        ({"fit": {"betas": (0.9, 1.0)}}, "here: fit.betas is 1.0"),
        ({"fit": {"schedule": "step"}}, "here: fit.schedule is 'step'"),
        ({"fit": {"seed": -1}}, "here: fit.seed is -1"),
        ({"fit": {"seed": 2**64}}, "here: fit.seed is"),
        ({"fit": {"epochs": None}}, "here: fit.epochs is None"),
        ({"data": {"vocab_size": 2}}, "here: data.vocab_size is 2"),
        ({"data": {"dataset_options": {"a": [1]}}}, "here: data.dataset_options is"),
        ({"fit": 3}, "here: fit is 3"),
    ],
)
def test_a_wrong_setting_is_named_with_its_source_and_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Config().updated(changes, source="here")
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"fit\.epochs.*fit\.lr"):
        Config().updated({"fit": {"epochs": 0, "lr": 0}}, source="here")


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().fit.epochs = 3  # type: ignore[misc]


def test_merging_goes_into_tables_and_changes_neither_side() -> None:
    base, changes = {"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 4}, "c": {"z": 5}}
    assert merge(base, changes) == {"a": {"x": 1, "y": 4}, "b": 3, "c": {"z": 5}}
    assert (base, changes) == ({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 4}, "c": {"z": 5}})


def test_settings_are_read_without_torch() -> None:
    code = "import sys, seqcls.config.recipe_files as c; c.load_recipe('tutorial').to_toml(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_replace_finds_the_section_of_each_setting() -> None:
    config = Config().replace(epochs=3, lr="1e-3", max_length=None, output_dropout=0.1)
    assert (config.fit.epochs, config.fit.lr, config.data.max_length, config.model.output_dropout) == (3, 1e-3, None, 0.1)
    assert Config().replace() == Config()


def test_replace_refuses_an_unknown_name_with_close_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting 'epoch'; did you mean epochs"):
        Config().replace(epoch=3)
    with pytest.raises(ConfigError, match=r"^fit\.epochs is 0: "):
        Config().replace(epochs=0)


def test_replace_replaces_a_table_and_updated_merges_it() -> None:
    config = Config().replace(encoder_options={"hidden_size": 4, "num_layers": 1}, class_weights={"a": 1, "b": 2})
    replaced = config.replace(encoder_options={"hidden_size": 8}, class_weights={"a": 3})
    assert replaced.model.encoder_options == {"hidden_size": 8}
    assert replaced.fit.class_weights == {"a": 3}
    merged = config.updated({"model": {"encoder_options": {"hidden_size": 8}}})
    assert merged.model.encoder_options == {"hidden_size": 8, "num_layers": 1}


def test_a_different_plugin_starts_without_the_options_of_the_old_one() -> None:
    config = Config().replace(encoder="lstm", encoder_options={"hidden_size": 4}, embedding_options={"std": 0.5})
    other = config.replace(encoder="gru")
    assert (other.model.encoder_options, other.model.embedding_options) == ({}, {"std": 0.5})
    assert config.replace(encoder="lstm").model.encoder_options == {"hidden_size": 4}
    assert config.replace(encoder="gru", encoder_options={"pooling": "max"}).model.encoder_options == {"pooling": "max"}
    assert config.replace(encoder="my.module:Class").model.encoder_options == {}
    files = Config().replace(dataset="a.csv", dataset_options={"text_column": "t"})
    assert files.data.dataset_options == {"path": "a.csv", "text_column": "t"}
    assert files.replace(dataset="b.csv").data.dataset_options == {"path": "b.csv"}


@pytest.mark.parametrize("weights", [None, "balanced", "weights.json", {"spam": 4.0, 'a label = of, many "words"': 1.0}])
def test_class_weights_are_a_word_a_file_or_a_table(weights: Any) -> None:
    config = Config().replace(class_weights=weights)
    assert config.fit.class_weights == weights
    assert Config().updated(tomllib.loads(config.to_toml())) == config
    assert Config.model_validate(json.loads(json.dumps(config.model_dump(mode="json")))) == config


@pytest.mark.parametrize("weights", [3, {"spam": 0}, {"spam": -1.0}, {"spam": "many"}, {"spam": float("nan")}])
def test_wrong_class_weights_are_refused(weights: Any) -> None:
    with pytest.raises(ConfigError, match=r"fit\.class_weights is"):
        Config().replace(class_weights=weights)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"class_weights": 3}, "fit.class_weights is 3: input should be a valid string or a valid dictionary"),
        ({"class_weights": {"spam": 0}}, "fit.class_weights is 0: input should be greater than 0"),
        ({"dataset_options": {"a": [1]}}, "data.dataset_options is [1]: input should be a valid boolean or "),
        ({"betas": [2, 3]}, "fit.betas is 2: input should be less than 1; fit.betas is 3: "),
    ],
)
def test_a_setting_of_several_types_has_one_message_per_wrong_value(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Config().replace(**settings)
    assert str(raised.value).startswith(message)


def test_what_a_resumed_run_may_change_is_said_at_each_setting() -> None:
    assert {"epochs", "device", "max_time", "callbacks", "callback_options", "patience"} <= set(resumable_settings())
    assert not {"lr", "seed", "batch_size", "class_weights", "encoder", "vocab_size"} & set(resumable_settings())


def test_every_setting_has_a_first_sentence_that_is_its_help() -> None:
    for section in SECTIONS.values():
        for name, field in section.model_fields.items():
            assert field.description, name
            sentence = re.match(r".*?\.(?=\s|$)", field.description)
            assert sentence, name
            assert len(sentence[0]) <= 125, name
