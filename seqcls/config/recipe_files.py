"""Recipes: named settings files that come with seqcls, in the folder recipes/."""

from __future__ import annotations

import tomllib
from importlib import resources

from seqcls import registry
from seqcls.config.data_paths import dataset_of_path, is_data_path
from seqcls.config.settings import Config
from seqcls.errors import UnknownNameError


def recipe_names() -> list[str]:
    """Return the names of the recipes."""
    files = resources.files("seqcls.config.recipes").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load_recipe(
    name: str, *, encoder: str | None = None, dataset: str | None = None, embedding: str | None = None
) -> Config:
    """Return the settings of a recipe for the given encoder, data set and embedding, or by default for the recipe's own.

    A recipe is a settings file that may also hold tables [encoders.NAME], [datasets.NAME] and [embeddings.NAME], which hold
    the options of the plugin of that name.

    Raises:
        UnknownNameError: No recipe, encoder, data set or embedding has that name.
    """
    if name not in recipe_names():
        raise UnknownNameError(f"unknown recipe {name!r}; there are: {', '.join(recipe_names())}")
    text = resources.files("seqcls.config.recipes").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    settings = tomllib.loads(text)
    options = {kind: settings.pop(kind, {}) for kind in ("encoders", "datasets", "embeddings")}
    config = Config().updated(settings, source=f"recipe {name}")
    encoder = registry.encoders.resolve(encoder or config.model.encoder)
    path = dataset if dataset and is_data_path(dataset) else None
    dataset = dataset_of_path(path) if path else registry.datasets.resolve(dataset or config.data.dataset)
    embedding = registry.embeddings.resolve(embedding or config.model.embedding)
    chosen = {
        "data": {"dataset": path or dataset, "dataset_options": options["datasets"].get(dataset, {})},
        "model": {
            "encoder": encoder,
            "encoder_options": options["encoders"].get(encoder, {}),
            "embedding": embedding,
            "embedding_options": options["embeddings"].get(embedding, {}),
        },
    }
    return config.updated(chosen, source=f"recipe {name}")
