from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqcls.config.pairs import parse_named_pairs, parse_pairs, parse_settings
from seqcls.config.settings import Config
from seqcls.errors import ConfigError


def test_pairs_are_split_at_the_first_equals_sign() -> None:
    assert parse_pairs(["a=1", "b=x=y", "c="], flag="--encoder-option") == {"a": "1", "b": "x=y", "c": ""}


@given(st.dictionaries(st.from_regex(r"[a-z_]+", fullmatch=True), st.text()))
def test_every_value_survives_a_pair(values: dict[str, str]) -> None:
    assert parse_pairs([f"{key}={value}" for key, value in values.items()], flag="--x") == values


@pytest.mark.parametrize("pair", ["hidden_size", "", "=5", " = 5"])
def test_a_pair_without_key_or_equals_sign_is_refused(pair: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"--encoder-option {pair!r} is not of the form key=value")):
        parse_pairs([pair], flag="--encoder-option")


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="--encoder-option gives a twice: '1' and '2'"):
        parse_pairs(["a=1", "a=2"], flag="--encoder-option")


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


def test_pairs_of_several_names_are_grouped() -> None:
    pairs = ["tensorboard.every_steps=3", "other.a=x.y=z"]
    assert parse_named_pairs(pairs, flag="--x") == {"tensorboard": {"every_steps": "3"}, "other": {"a": "x.y=z"}}
    with pytest.raises(ConfigError, match=r"--x 'a=1' is not of the form name\.key=value"):
        parse_named_pairs(["a=1"], flag="--x")
