from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqcls.config.settings import Config, all_settings, load_recipe, load_toml, merge, parse_settings, recipe_names
from seqcls.errors import ConfigError, UnknownNameError

OPTION_VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text().filter(lambda text: text.lower() != "none"),
)
CHANGES = st.fixed_dictionaries(
    {
        "data": st.fixed_dictionaries({"dataset": st.text(), "max_length": st.none() | st.integers(1, 10**6)}),
        "model": st.fixed_dictionaries({"encoder_options": st.dictionaries(st.text(), OPTION_VALUES, max_size=4)}),
        "fit": st.fixed_dictionaries({"lr": st.floats(1e-9, 10), "seed": st.integers(0, 2**63 - 1)}),
    }
)


@given(changes=CHANGES)
def test_settings_written_as_toml_are_read_back_the_same(changes: dict[str, Any]) -> None:
    name = changes["data"]["dataset"]
    if name.lower() == "none":  # the word for "no value"; no data set can be called so
        return
    config = Config().updated(changes, source="test")
    assert Config().updated(tomllib.loads(config.to_toml()), source="test") == config


def test_the_written_form_holds_every_setting() -> None:
    written = tomllib.loads(load_recipe("tutorial").to_toml())
    assert {name for section in written.values() for name in section} == set(all_settings())


def test_no_two_sections_share_a_name_of_a_setting() -> None:
    fields = [name for section in (Config().data, Config().model, Config().fit) for name in type(section).model_fields]
    assert len(fields) == len(set(fields)) == len(all_settings())


def test_the_tutorial_recipe_is_the_tutorials() -> None:
    config = load_recipe("tutorial")
    data, model, fit = config.data, config.model, config.fit
    assert (data.vocab_size, data.max_length, data.truncating) == (10_000, 200, "post")
    assert (model.encoder, model.embedding_size) == ("bilstm-mean-pool", 128)
    assert {"hidden_size": 128, "num_layers": 2, "dropout": 0.2}.items() <= model.encoder_options.items()
    assert (fit.batch_size, fit.eval_batch_size, fit.optimizer, fit.lr) == (64, 200, "adam", 1e-3)
    assert (fit.schedule, fit.betas, fit.clip_norm, fit.ema_decay) == ("constant", (0.9, 0.999), None, None)
    assert (model.word_dropout, model.embedding_dropout, model.output_dropout) == (0, 0.2, 0)
    assert load_recipe("tutorial", dataset="imdb").data.dataset_options == {"validation": "tutorial"}


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("encoder", [None, "lstm", "bilstm", "torch-rnn"])
@pytest.mark.parametrize("dataset", [None, "imdb", "reviews"])
def test_every_recipe_gives_each_encoder_and_data_set_its_own_options_only(
    name: str, encoder: str | None, dataset: str | None
) -> None:
    from seqcls.data.prepare import build_dataset
    from seqcls.model.build import build_encoder

    config = load_recipe(name, encoder=encoder, dataset=dataset)
    build_encoder(config.model)
    build_dataset(config.data)


def test_an_unknown_recipe_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="unknown recipe 'tutoriel'; there are: default, fasttext, tutorial"):
        load_recipe("tutoriel")


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


def test_pairs_find_their_section() -> None:
    pairs = ["epochs=3", "data.max_length=none", "model.embedding_size=8", "dataset=a=b"]
    assert parse_settings(pairs, flag="--set") == {
        "fit": {"epochs": "3"},
        "data": {"max_length": "none", "dataset": "a=b"},
        "model": {"embedding_size": "8"},
    }
    config = Config().updated(parse_settings(pairs, flag="--set"), source="--set")
    assert (config.fit.epochs, config.data.max_length, config.model.embedding_size) == (3, None, 8)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("epochs", "write NAME=VALUE"),
        ("=3", "unknown setting ''"),
        ("shedule=cosine", "did you mean schedule"),
        ("data.epochs=3", "unknown setting 'data.epochs'; did you mean fit.epochs"),
        ("zzz=3", "--print-config"),
    ],
)
def test_a_pair_that_names_no_setting_is_refused(pair: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_settings([pair], flag="--set")
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        (b"[fit", "no.toml is not valid TOML"),
        (b"\xff", "cannot read"),
        (b"x = " + b"[" * 100_000, "no.toml is not valid TOML"),
        (b"x = " + b"9" * 5_000, "no.toml is not valid TOML"),
    ],
)
def test_a_settings_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "no.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"no\.toml") as raised:
        load_toml(path)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "text", ["[fit]\n" + ".".join(["lr"] * 3_000) + " = 1", "data.dataset = 'a.csv'\ndata.dataset_options = [1]"]
)
def test_settings_of_a_wrong_form_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"lr is|dataset_options is"):
        Config().updated(load_toml(tmp_path / "a.toml"), source="a.toml")


def test_merging_goes_into_tables_and_changes_neither_side() -> None:
    base, changes = {"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 4}, "c": {"z": 5}}
    assert merge(base, changes) == {"a": {"x": 1, "y": 4}, "b": 3, "c": {"z": 5}}
    assert (base, changes) == ({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 4}, "c": {"z": 5}})


def test_settings_are_read_without_torch() -> None:
    code = "import sys, seqcls.config.settings as c; c.load_recipe('tutorial').to_toml(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
