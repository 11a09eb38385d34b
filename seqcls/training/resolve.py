"""Settings that name the objects a trainer was given, with every option checked before anything is loaded or built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seqcls import registry
from seqcls.config import options
from seqcls.config.data_paths import read_data_path
from seqcls.config.recipe_files import load_recipe
from seqcls.config.settings import Config, DataConfig, FitConfig, ModelConfig
from seqcls.data.datasets.base import Dataset
from seqcls.data.prepare import SPLITS, check_tokenizer, dataset_options
from seqcls.data.rules import DEFAULT_RULES
from seqcls.data.splits import Splits
from seqcls.errors import ConfigError
from seqcls.model.build import embedding_options, encoder_options, own_size, own_tokenizer, vector_size
from seqcls.model.encoders.base import Encoder
from seqcls.training.callbacks.base import Callback


def settings_of(
    source: str | Dataset | Splits | None,
    encoder: str | Encoder | None,
    config: Config | None,
    callbacks: Sequence[Callback | str],
    settings: Mapping[str, Any],
) -> Config:
    """Return the checked settings of a run: those of ``config`` or the default recipe, overridden by all else."""
    if config is None:
        config = load_recipe(
            "default",
            encoder=encoder if isinstance(encoder, str) else None,
            dataset=source if isinstance(source, str) else settings.get("dataset"),
            embedding=settings.get("embedding"),
        )
    names = [callback for callback in callbacks if isinstance(callback, str)]
    changes = {**settings, "callbacks": [*config.fit.callbacks, *names]} if names else settings
    return name_objects(config.replace(**changes), encoder, source)


def name_objects(config: Config, encoder: str | Encoder | None, data: str | Dataset | Splits | None) -> Config:
    """Return the settings with the names and the options of the given encoder and data.

    Args:
        config: The settings; those about a given object are replaced.
        encoder: A registered name or a built encoder; None keeps the encoder of the settings.
        data: A registered name, a path, a built data set or splits; None keeps the data set of the settings.

    Raises:
        UnknownNameError, PluginError: A name is not known, or its plugin does not load.
        ConfigError: An option is unknown, or of the wrong type or range, or the tokenizer does not exist.
    """
    check_tokenizer(config.data.tokenizer)
    data_settings = _data_settings(config.data, data)
    kind = kind_of(data_settings["dataset"], data)
    model = config.model.model_copy(update=_encoder_settings(config.model, encoder))
    model = model.model_copy(update=_embedding_settings(model, kind))
    # What does not change is left out, so that a value which was chosen to fit the data still counts as chosen.
    changes = {name: value for name, value in model.model_dump().items() if value != getattr(config.model, name)}
    if model.encoder == "linear":
        changes["wide"] = True  # there is nothing else
    return config.replace(
        **data_settings,
        **changes,
        **_callback_settings(config.fit),
        tokenizer=_tokenizer(config.data.tokenizer, model),
    )


def _data_settings(config: DataConfig, data: str | Dataset | Splits | None) -> dict[str, Any]:
    if isinstance(data, Splits):
        return {"dataset": SPLITS, "dataset_options": {}}
    if isinstance(data, Dataset):
        return {"dataset": _registered_name(registry.datasets, type(data)), "dataset_options": data.options}
    name, values = read_data_path(data or config.dataset, config.dataset_options)
    named = config.model_copy(update={"dataset": registry.datasets.resolve(name), "dataset_options": values})
    return {"dataset": named.dataset, "dataset_options": dataset_options(named)}


def kind_of(dataset: str, data: str | Dataset | Splits | None) -> str:
    """Return whether the sequences are "text" or "features"."""
    if isinstance(data, Splits):
        return data.train.kind
    kind: str = (data if isinstance(data, Dataset) else registry.datasets.get(dataset)).kind
    return kind


def _encoder_settings(config: ModelConfig, encoder: str | Encoder | None) -> dict[str, Any]:
    if isinstance(encoder, Encoder):
        name = _registered_name(registry.encoders, type(encoder))
        every_option = options.with_defaults(type(encoder), encoder.options)  # no registry gives its class later
        return {"encoder": name, "embedding_size": encoder.input_size, "encoder_options": every_option}
    named = config.model_copy(update={"encoder": registry.encoders.resolve(encoder or config.encoder)})
    return {"encoder": named.encoder, "encoder_options": encoder_options(named)}


def _embedding_settings(config: ModelConfig, kind: str) -> dict[str, Any]:
    """Name the embedding, and give it a size; sequences of numbers take `features` in the place of the default."""
    if kind == "features" and config.embedding == ModelConfig().embedding:
        named = config.model_copy(update={"embedding": "features", "embedding_options": {}})
    else:
        named = config.model_copy(update={"embedding": registry.embeddings.resolve(config.embedding)})
    size = own_size(named) if named.embedding_size == "auto" else None
    return {
        "embedding": named.embedding,
        "embedding_options": embedding_options(named),
        "embedding_size": size or vector_size(named),
    }


def _tokenizer(given: str, model: ModelConfig) -> str:
    """Return the tokenizer that the embedding needs, or the given one."""
    own = own_tokenizer(model)
    if given == "auto":
        return own or DEFAULT_RULES
    if own not in (None, given):
        raise ConfigError(
            f"the embedding {model.embedding} has vectors of the tokens of {own}, but tokenizer is {given!r}; "
            "leave --tokenizer out"
        )
    return given


def _callback_settings(config: FitConfig) -> dict[str, Any]:
    names = list(dict.fromkeys(map(registry.callbacks.resolve, config.callbacks)))
    for name in config.callback_options:
        if name not in names:
            raise ConfigError(f"there are options of the callback {name!r}, which does not run; add --callback {name}")
    checked = {
        name: options.validate(registry.callbacks.get(name), values, what=f"callback {name}")
        for name, values in config.callback_options.items()
    }
    return {"callbacks": names, "callback_options": checked}


def _registered_name(plugins: registry.Registry[Any], plugin: type) -> str:
    """Return the name of a class, or "module:Class" if it is not registered."""
    target = f"{plugin.__module__}:{plugin.__qualname__}"
    return next((info.name for info in plugins.plugins() if info.target == target), target)
