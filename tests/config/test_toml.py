from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqcls.config.recipe_files import load_recipe
from seqcls.config.settings import Config, all_settings
from seqcls.config.toml import load_toml
from seqcls.errors import ConfigError

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
