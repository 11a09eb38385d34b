from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seqcls import Trainer, registry
from seqcls.config.auto import DataShape, fit_to_data
from seqcls.config.old_names import renamed
from seqcls.config.options import describe
from seqcls.config.recipe_files import load_recipe, recipe_names
from seqcls.config.settings import Config
from seqcls.data.rules import DEFAULT_RULES
from seqcls.errors import UnknownNameError
from seqcls.storage.resolved_options import resolve_options

# What the recipes of seqcls 0.1 trained, in its names of settings: for each recipe the settings with every option of every
# plugin, and the options that it gave to each encoder, embedding and data set.
OF_0_1: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "recipes_of_0.1.json").read_text("utf-8"))
# In 0.1, `bilstm` was another name of `bilstm-mean-pool`, which pooled by mean+max where no recipe said otherwise.
ALIAS = {"bilstm-mean-pool": "bilstm"}
# Options that encoders have got since, with the value that means what 0.1 did.
NEW_OPTIONS = {"mean-pool": {"normalized": False}}
CHOICES = [
    (recipe, kind, name)
    for recipe, known in OF_0_1.items()
    for kind in ("encoder", "embedding", "dataset")
    for name in known[kind]
]


def _resolved(recipe: str, **names: str) -> dict[str, Any]:
    """Return the settings of a recipe that 0.1 had, with every option of every plugin and the values for IMDB."""
    config = resolve_options(load_recipe(recipe, **names))
    settings = fit_to_data(config, DataShape("text", examples=22_500, classes=2, mean_length=230)).model_dump(mode="json")
    if settings["data"]["tokenizer"] == "auto":
        settings["data"]["tokenizer"] = DEFAULT_RULES
    for option, value in NEW_OPTIONS.get(settings["model"]["encoder"], {}).items():
        assert settings["model"]["encoder_options"].pop(option) == value
    old = renamed(OF_0_1[recipe]["config"])
    return {section: {name: settings[section][name] for name in values} for section, values in old.items()}


def _trained_by_0_1(recipe: str, kind: str, name: str) -> dict[str, Any]:
    config = renamed(OF_0_1[recipe]["config"])
    section = "data" if kind == "dataset" else "model"
    return {**config, section: {**config[section], kind: name, f"{kind}_options": OF_0_1[recipe][kind][name]}}


@pytest.mark.parametrize(("recipe", "kind", "name"), CHOICES)
def test_a_recipe_trains_what_it_trained_in_0_1(recipe: str, kind: str, name: str) -> None:
    expected = _trained_by_0_1(recipe, kind, name)
    if recipe == "default" and expected["model"]["encoder"] == "bilstm-mean-pool":
        name = ALIAS.get(name, name)
        expected["model"]["encoder"] = "bilstm"
    assert _resolved(recipe, **{kind: name}) == expected


@pytest.mark.parametrize("recipe", OF_0_1)
def test_a_recipe_has_the_encoder_it_had_in_0_1(recipe: str) -> None:
    expected = renamed(OF_0_1[recipe]["config"])
    expected["model"]["encoder"] = "bilstm" if recipe == "default" else expected["model"]["encoder"]
    assert _resolved(recipe) == expected


def test_the_tutorial_trains_its_network_under_the_short_name_too() -> None:
    expected = _trained_by_0_1("tutorial", "encoder", "bilstm-mean-pool")
    expected["model"]["encoder"] = "bilstm"
    assert _resolved("tutorial", encoder="bilstm") == expected


def test_bilstm_mean_pool_pools_the_mean_unless_told_otherwise() -> None:
    for config in (Config().replace(encoder="bilstm-mean-pool"), load_recipe("default", encoder="bilstm-mean-pool")):
        assert resolve_options(config).model.encoder_options["pooling"] == "mean"


@pytest.mark.parametrize("recipe", ["tutorial", "fasttext"])
def test_a_recipe_for_one_network_writes_out_every_option_of_it(recipe: str) -> None:
    model = load_recipe(recipe).model
    for kind in ("encoder", "embedding"):
        plugin = registry.REGISTRIES[kind].get(getattr(model, kind))
        assert set(getattr(model, f"{kind}_options")) == {option.name for option in describe(plugin)}


def test_the_recipe_default_is_the_defaults_of_the_code() -> None:
    assert load_recipe("default") == Config()
    assert Trainer(callbacks=[]).config == Trainer(config=Config(), callbacks=[]).config


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
