from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from typing import Any

import pytest

from seqcls.config.old_names import renamed
from seqcls.config.pairs import parse_settings
from seqcls.config.settings import Config, DataConfig, FitConfig
from seqcls.errors import ConfigError
from seqcls.system.deprecation import RenamedWarning

OLD: dict[str, dict[str, Any]] = {
    "data": {"num_words": 500},
    "fit": {"bucket": False, "accumulate": 2, "beta2": 0.99, "baseline": False, "report": True, "epochs": 3},
}
NEW: dict[str, dict[str, Any]] = {
    "data": {"vocab_size": 500},
    "fit": {"bucket_by_length": False, "accumulate_batches": 2, "betas": [0.9, 0.99], "epochs": 3},
}


def test_settings_saved_by_an_earlier_version_are_read_silently() -> None:
    assert renamed(OLD) == NEW
    assert renamed(NEW) == NEW
    assert renamed({"fit": 3, "model": {"encoder_options": {"bucket": 1}}}) == {
        "fit": 3,
        "model": {"encoder_options": {"bucket": 1}},
    }


@pytest.mark.parametrize("name", ["num_words", "bucket", "accumulate", "beta2", "baseline", "report"])
def test_an_old_name_is_accepted_with_a_warning_that_names_the_new_one(name: str) -> None:
    section = next(section for section, settings in OLD.items() if name in settings)
    old = {section: {name: OLD[section][name]}}
    new = renamed(old)
    said = next(iter(new[section]), f"--no-{name}")
    with pytest.warns(DeprecationWarning, match=f"{name} .*{said}") as warned:
        config = Config().updated(old, source="test")
    assert config == Config().updated(new, source="test")
    assert [record.filename for record in warned] == [__file__]
    with pytest.warns(RenamedWarning, match=said):
        assert parse_settings([f"{name}={old[section][name]}"], flag="--set").keys() == {section}


def test_the_sections_accept_old_names_as_keyword_arguments() -> None:
    old: dict[str, Any] = {"num_words": 4}
    with pytest.warns(RenamedWarning, match="vocab_size") as warned:
        assert DataConfig(**old) == DataConfig(vocab_size=4)
    assert warned[0].filename == __file__
    with pytest.warns(RenamedWarning, match="betas"):
        assert FitConfig(beta2=0.5).betas == (0.9, 0.5)


def test_a_setting_under_both_of_its_names_is_refused() -> None:
    with pytest.raises(ConfigError, match="num_words is the old name of vocab_size"):
        Config().updated({"data": {"num_words": 5, "vocab_size": 6}}, source="test")


@pytest.mark.parametrize(("pair", "source"), [("beta2=0.5", "old"), ("fit.betas=0.9, 0.5", "new")])
def test_betas_are_read_from_a_flag(pair: str, source: str) -> None:
    if source == "old":
        with pytest.warns(RenamedWarning):
            changes = parse_settings([pair], flag="--set")
    else:
        changes = parse_settings([pair], flag="--set")
    config = Config().updated(changes, source="--set")
    assert config.fit.betas == (0.9, 0.5)
    assert "betas = [0.9, 0.5]\n" in config.to_toml()
    assert Config().updated(tomllib.loads(config.to_toml()), source="file") == config
    assert json.loads(json.dumps(config.model_dump(mode="json")))["fit"]["betas"] == [0.9, 0.5]


@pytest.mark.parametrize("value", ["0.9", "0.9,0.9,0.9", "0.9,1", "a,b", 0.9, [0.9, {}]])
def test_betas_are_a_pair_of_rates(value: object) -> None:
    with pytest.raises(ConfigError, match=r"here: fit\.betas is"):
        Config().updated({"fit": {"betas": value}}, source="here")


def test_the_command_line_shows_an_old_name_as_one_line(tmp_path: Any) -> None:
    (tmp_path / "old.toml").write_text("[fit]\nbaseline = false\nbeta2 = 0.99\n")
    command = [sys.executable, "-m", "seqcls", "fit", "-c", "old.toml", "--set", "num_words=50", "--print-config"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    settings = tomllib.loads(done.stdout)
    assert (settings["data"]["vocab_size"], settings["fit"]["betas"]) == (50, [0.9, 0.99])
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("warning: the setting ") for line in lines)
