"""Settings with every option of the plugins that they name, as config.json records them."""

from __future__ import annotations

from typing import Any

from seqcls import registry
from seqcls.config.options import with_defaults
from seqcls.config.settings import Config
from seqcls.errors import MissingExtraError, PluginError, UnknownNameError


def resolve_options(config: Config) -> Config:
    """Return the settings with the registered names of plugins and all of their options, defaults included.

    A plugin that is not registered, or cannot be imported, keeps the options that it has.
    """
    encoder, encoder_options = _resolved("encoder", config.model.encoder, config.model.encoder_options)
    embedding, embedding_options = _resolved("embedding", config.model.embedding, config.model.embedding_options)
    dataset, dataset_options = _resolved("dataset", config.data.dataset, config.data.dataset_options)
    callbacks = [_resolved("callback", name, config.fit.callback_options.get(name, {})) for name in config.fit.callbacks]
    resolved = {
        "data": {"dataset": dataset, "dataset_options": dataset_options},
        "model": {
            "encoder": encoder,
            "encoder_options": encoder_options,
            "embedding": embedding,
            "embedding_options": embedding_options,
        },
        "fit": {"callback_options": {name: options for name, options in callbacks if options}},
    }
    return config.updated(resolved, source="options")


def _resolved(kind: str, name: str, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    plugins = registry.REGISTRIES[kind]
    try:
        known = plugins.resolve(name)
        return known, with_defaults(plugins.get(known), values)
    except (UnknownNameError, PluginError, MissingExtraError):
        return name, values
