"""Settings with the names of built objects in them, and every option checked, before anything is loaded."""

from __future__ import annotations

from typing import Any

from seqcls import registry
from seqcls.config import options
from seqcls.config.data_paths import is_data_path
from seqcls.config.settings import Config, FitConfig, ModelConfig
from seqcls.data.datasets.base import Dataset
from seqcls.data.prepare import SPLITS, dataset_options, is_usable
from seqcls.data.rules import RULES
from seqcls.data.splits import Splits
from seqcls.errors import ConfigError
from seqcls.model.build import embedding_options, encoder_options
from seqcls.model.encoders.base import Encoder


def name_objects(config: Config, encoder: str | Encoder | None, data: str | Dataset | Splits | None) -> Config:
    """Return the settings with the names of the given encoder and data, and the options that built ones were given."""
    if isinstance(encoder, str):
        config = config.updated({"model": {"encoder": registry.encoders.resolve(encoder)}}, source="Trainer")
    elif encoder is not None:
        name = _registered_name(registry.encoders, type(encoder))
        every_option = options.with_defaults(type(encoder), encoder.options)  # no registry gives its class later
        named = {"encoder": name, "embedding_size": encoder.input_size, "encoder_options": every_option}
        config = config.without_options("model").updated({"model": named}, source="Trainer")
    if isinstance(data, str):
        name = data if is_data_path(data) else registry.datasets.resolve(data)
        config = config.updated({"data": {"dataset": name}}, source="Trainer")
    elif isinstance(data, Splits):
        config = config.without_options("data").updated({"data": {"dataset": SPLITS}}, source="Trainer")
    elif data is not None:
        named = {"dataset": _registered_name(registry.datasets, type(data)), "dataset_options": data.options}
        config = config.without_options("data").updated({"data": named}, source="Trainer")
    if _gives_features(config, data) and config.model.embedding == ModelConfig().embedding:
        config = config.updated({"model": {"embedding": "features", "embedding_options": {}}}, source="Trainer")
    if not is_usable(config.data.tokenizer):
        raise ConfigError(
            f"tokenizer is {config.data.tokenizer!r}, which is no file; give {', '.join(RULES)}, or a tokenizer.json"
        )
    # Options are checked, and strings from flags converted, before anything is loaded.
    checked: dict[str, dict[str, object]] = {
        "model": {
            "embedding": registry.embeddings.resolve(config.model.embedding),
            "embedding_options": embedding_options(config.model),
        },
        "data": {},
    }
    if encoder is None or isinstance(encoder, str):
        checked["model"]["encoder_options"] = encoder_options(config.model)
    if data is None or isinstance(data, str):
        checked["data"]["dataset_options"] = dataset_options(config.data)
    checked["fit"] = _named_callbacks(config.fit)
    return config.updated(checked, source="Trainer")


def _gives_features(config: Config, data: str | Dataset | Splits | None) -> bool:
    if isinstance(data, Splits):
        return data.train.kind == "features"
    dataset = registry.datasets.get(config.data.dataset) if data is None or isinstance(data, str) else data
    return bool(dataset.kind == "features")


def _named_callbacks(config: FitConfig) -> dict[str, object]:
    names = list(dict.fromkeys(map(registry.callbacks.resolve, config.callbacks)))
    for name in config.callback_options:
        if name not in names:
            raise ConfigError(f"there are options of the callback {name!r}, which does not run; add --callback {name}")
    checked = {
        name: options.validate(registry.callbacks.get(name), given, what=f"callback {name}")
        for name, given in config.callback_options.items()
    }
    return {"callbacks": names, "callback_options": checked}


def _registered_name(known: registry.Registry[Any], plugin: type) -> str:
    target = f"{plugin.__module__}:{plugin.__qualname__}"
    return next((info.name for info in known.plugins() if info.target == target), target)
