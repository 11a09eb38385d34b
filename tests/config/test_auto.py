from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqcls.config.auto import DataShape, chosen, describe_chosen, fit_to_data, vocabulary_size
from seqcls.config.settings import Config
from seqcls.errors import ConfigError

IMDB = DataShape("text", examples=22_500, classes=2, mean_length=230.0)
SHAPES = st.builds(
    DataShape,
    kind=st.sampled_from(["text", "features"]),
    examples=st.integers(1, 10**8),
    classes=st.integers(2, 10**5),
    mean_length=st.floats(1, 1e6),
)


def _settings(shape: DataShape, **given: Any) -> dict[str, Any]:
    """Return all settings of the model and the training by name."""
    config = fit_to_data(Config().replace(**given), shape)
    return {**config.model.model_dump(), **config.fit.model_dump()}


@given(SHAPES)
def test_every_shape_of_data_gets_settings_that_can_be_used(shape: DataShape) -> None:
    config = fit_to_data(Config(), shape)
    assert config.open_settings() == []
    assert set(config.chosen) == set(Config().open_settings())
    assert Config().updated(tomllib.loads(config.to_toml())).model_dump() == config.model_dump()


@given(SHAPES)
def test_small_data_are_seen_in_hundreds_of_steps_and_large_data_at_least_three_times(shape: DataShape) -> None:
    settings = _settings(shape)
    steps = settings["epochs"] * (shape.examples / settings["batch_size"])
    assert 3 <= settings["epochs"] <= 100
    assert steps > 600 or settings["epochs"] == 100


@given(SHAPES, st.integers(2, 100))
def test_more_examples_never_mean_more_epochs_or_smaller_batches(shape: DataShape, factor: int) -> None:
    few = _settings(shape)
    many = _settings(DataShape(shape.kind, factor * shape.examples, shape.classes, shape.mean_length))
    assert many["epochs"] <= few["epochs"]
    assert many["batch_size"] >= few["batch_size"]
    assert many["embedding_dropout"] >= few["embedding_dropout"]


def test_long_reviews_train_as_they_always_have() -> None:
    expected = {"epochs": 4, "batch_size": 64, "lr": 2e-3, "patience": None, "eval_every_steps": None}
    dropout = {"word_dropout": 0.3, "embedding_dropout": 0.5, "output_dropout": 0.5}
    assert expected.items() | dropout.items() <= _settings(IMDB).items()
    assert fit_to_data(Config(), IMDB).data.vocab_size == 30_000


def test_numbers_are_hardly_dropped() -> None:
    settings = _settings(DataShape("features", examples=243, classes=9, mean_length=16.0))
    assert settings["word_dropout"] == 0
    assert settings["embedding_dropout"] <= 0.1
    assert settings["output_dropout"] <= 0.3


def test_a_given_number_stays_and_the_others_go_by_it() -> None:
    settings = _settings(IMDB, batch_size=256, word_dropout=0.0, patience=None)
    assert (settings["batch_size"], settings["word_dropout"], settings["patience"]) == (256, 0, None)
    assert settings["epochs"] > 4
    config = fit_to_data(Config().replace(epochs=7), IMDB)
    assert config.fit.epochs == 7
    assert "fit.epochs" not in config.chosen


def test_accumulated_batches_count_as_one_step() -> None:
    assert _settings(IMDB, accumulate_batches=4)["epochs"] == 4 * _settings(IMDB)["epochs"]


def test_a_settings_file_marks_what_was_chosen() -> None:
    text = fit_to_data(Config().replace(epochs=7), IMDB).to_toml()
    assert "epochs = 7\n" in text
    assert "batch_size = 64  # auto\n" in text
    assert "patience = 6  # auto\n" in text
    assert 'device = "auto"\n' in text


def test_what_was_chosen_is_said_in_one_line() -> None:
    text = describe_chosen(fit_to_data(Config().replace(lr=1e-3), IMDB))
    assert text.startswith("vocab_size 30000, embedding_size 64, word_dropout 0.3, ")
    assert "epochs 4, batch_size 64, patience none" in text
    assert "lr" not in text


def test_a_number_that_replaces_a_chosen_one_is_the_users() -> None:
    config = fit_to_data(Config(), IMDB)
    for changed in (config.replace(epochs=9), config.updated({"fit": {"epochs": 9}})):
        assert changed.fit.epochs == 9
        assert "fit.epochs" not in changed.chosen
        assert "fit.lr" in changed.chosen


def test_the_settings_as_given_have_auto_again() -> None:
    given = Config().replace(epochs=7, embedding_dropout=0.0)
    assert fit_to_data(given, IMDB).as_given() == given
    assert given.as_given() == given


def test_fitting_twice_changes_nothing() -> None:
    config = fit_to_data(Config(), IMDB)
    assert fit_to_data(config, DataShape("features", examples=10, classes=2, mean_length=3.0)) == config


def test_a_setting_that_is_still_auto_is_refused_as_a_number() -> None:
    assert chosen(Config().replace(patience=None).fit.patience) is None
    with pytest.raises(ConfigError, match="give a number"):
        chosen(Config().fit.epochs)


@pytest.mark.parametrize("name", Config().open_settings())
def test_flags_and_files_may_say_auto(name: str) -> None:
    section, _, key = name.partition(".")
    assert getattr(getattr(Config().updated({section: {key: "auto"}}), section), key) == "auto"
    with pytest.raises(ConfigError, match=f"here: {name} is 'automatic': .*'auto'"):
        Config().updated({section: {key: "automatic"}}, source="here")


@given(st.integers(1, 10**8), st.integers(2, 100))
def test_the_vocabulary_grows_with_the_texts_up_to_a_limit(examples: int, factor: int) -> None:
    assert 30_000 <= vocabulary_size(examples) <= vocabulary_size(factor * examples) <= 120_000
