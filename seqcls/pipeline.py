"""Names become objects here: settings → data set → encoded splits, and settings → encoder → model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from seqcls import options, registry
from seqcls.cache import EncodedCache, EncodedData, UnencodedData
from seqcls.config import Config, DataConfig, FitConfig, ModelConfig
from seqcls.datasets.base import Dataset, Splits
from seqcls.embeddings.base import Embedding
from seqcls.encoders.base import Encoder
from seqcls.errors import ConfigError
from seqcls.features import FeatureScaler
from seqcls.model import SequenceClassifier
from seqcls.paths import cache_home, is_data_path
from seqcls.sequences import Unencoded
from seqcls.text import RULES, TextTokenizer

# Stands for a data set name where the splits were given as objects.
SPLITS = "splits"


def build_dataset(config: DataConfig) -> Dataset:
    """Build the data set that the settings name.

    Raises:
        UnknownNameError, PluginError: The name is not known, or its plugin does not load.
        ConfigError: An option is unknown, or of the wrong type or range.
    """
    dataset_class: type[Dataset] = registry.datasets.get(config.dataset)
    return dataset_class(**_dataset_options(config))


def build_encoder(config: ModelConfig) -> Encoder:
    """Build the encoder that the settings name; raises like `build_dataset`."""
    encoder_class: type[Encoder] = registry.encoders.get(config.encoder)
    return encoder_class(config.embedding_size, **_encoder_options(config))


def build_embedding(config: ModelConfig, *, vocab_size: int) -> Embedding:
    """Build the embedding that the settings name; raises like `build_dataset`."""
    embedding_class: type[Embedding] = registry.embeddings.get(config.embedding)
    return embedding_class(vocab_size, config.embedding_size, **_embedding_options(config))


def check_embedding(config: ModelConfig, data: EncodedData) -> None:
    """Raise a ConfigError if the embedding takes words where the data are numbers, or the other way round."""
    given = "ids" if isinstance(data.tokenizer, TextTokenizer) else "features"
    takes = registry.embeddings.get(config.embedding).takes
    if takes != given:
        what, fitting = {"ids": "words", "features": "numbers"}, {"ids": "word", "features": "features"}[given]
        mismatch = f"takes {what[takes]}, but the data are {what[given]}"
        raise ConfigError(f"the embedding {config.embedding} {mismatch}; use --embedding {fitting}")


def build_model(
    config: ModelConfig, *, vocab_size: int, num_classes: int, encoder: Encoder | None = None
) -> SequenceClassifier:
    """Build the model around a built encoder, or around the one that the settings name.

    Raises:
        ConfigError: The encoder's input size is not the embedding size.
    """
    encoder = encoder or build_encoder(config)
    if encoder.input_size != config.embedding_size:
        raise ConfigError(
            f"the encoder takes vectors of size {encoder.input_size}, but model.embedding_size is "
            f"{config.embedding_size}; make them equal"
        )
    embedding = build_embedding(config, vocab_size=vocab_size)
    return SequenceClassifier(embedding, encoder, vocab_size=vocab_size, num_classes=num_classes, config=config)


def prepare_data(
    config: DataConfig,
    source: Dataset | Splits | None = None,
    *,
    on_load: Callable[[Splits], None] | None = None,
) -> EncodedData:
    """Split, fit the tokenizer on the training split alone, and encode every labelled split.

    What comes from a `Dataset` is kept in the cache folder under a key made of its fingerprint and the settings; splits
    given as objects are encoded in memory.

    Args:
        config: The settings.
        source: A built data set or splits; None builds the data set that the settings name.
        on_load: Called with the splits as they were loaded; not called where the cache has them encoded.
    """

    def read(splits: Splits) -> UnencodedData:
        if on_load is not None:
            on_load(splits)
        return _with_tokenizer(load_splits(config, splits), config)

    if isinstance(source, Splits):
        return read(source).encode()
    dataset = source or build_dataset(config)
    cache, key = EncodedCache(cache_home() / "encoded"), _cache_key(dataset, config)
    return cache.open(key) or cache.store(key, read(dataset.load()))


def is_usable(tokenizer: str) -> bool:
    """Return whether the setting names rules, or a file that is there."""
    return tokenizer in RULES or Path(tokenizer).is_file()


def load_raw(config: DataConfig, source: Dataset | Splits | None = None) -> Splits:
    """Return the splits as the data set has them."""
    return source if isinstance(source, Splits) else (source or build_dataset(config)).load()


def load_splits(config: DataConfig, source: Dataset | Splits | None = None) -> Splits:
    """Return the splits; validation is held out from train if the data brings none."""
    splits = load_raw(config, source)
    if splits.validation is None:
        return splits.with_validation(fraction=config.validation_fraction, seed=config.split_seed)
    return splits


def _with_tokenizer(splits: Splits, config: DataConfig) -> UnencodedData:
    is_text = splits.train.is_text
    tokenizer = make_tokenizer(splits.train.texts, config) if is_text else FeatureScaler.fit(splits.train.sequences)
    unencoded = {name: Unencoded(tokenizer, split.sequences, split.labels) for name, split in splits.labelled().items()}
    return UnencodedData(tokenizer, unencoded, splits.label_names)


def make_tokenizer(texts: Sequence[str], config: DataConfig) -> TextTokenizer:
    """Fit the tokenizer of the settings on the training texts, or read it from the file that they name."""
    if config.tokenizer in RULES:
        return TextTokenizer.fit(
            texts,
            num_words=config.num_words,
            rules=config.tokenizer,
            max_length=config.max_length,
            truncating=config.truncating,
        )
    return TextTokenizer.load(config.tokenizer, max_length=config.max_length, truncating=config.truncating)


def _cache_key(dataset: Dataset, config: DataConfig) -> str:
    settings = config.model_dump(mode="json", exclude={"dataset", "dataset_options"})  # the fingerprint covers these
    if config.tokenizer not in RULES:
        settings["tokenizer"] = make_tokenizer([], config).to_json()
    name = f"{type(dataset).__module__}:{type(dataset).__qualname__}"
    return hashlib.sha256(json.dumps([name, dataset.fingerprint(), settings], sort_keys=True).encode()).hexdigest()[:32]


def name_objects(config: Config, encoder: str | Encoder | None, data: str | Dataset | Splits | None) -> Config:
    """Return the settings with the names of the given encoder and data, and the options that built ones were given."""
    if isinstance(encoder, str):
        config = config.updated({"model": {"encoder": registry.encoders.resolve(encoder)}}, source="Trainer")
    elif encoder is not None:
        name = _registered_name(registry.encoders, type(encoder))
        named = {"encoder": name, "embedding_size": encoder.input_size, "encoder_options": encoder.options}
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
            "embedding_options": _embedding_options(config.model),
        },
        "data": {},
    }
    if encoder is None or isinstance(encoder, str):
        checked["model"]["encoder_options"] = _encoder_options(config.model)
    if data is None or isinstance(data, str):
        checked["data"]["dataset_options"] = _dataset_options(config.data)
    checked["fit"] = _named_callbacks(config.fit)
    return config.updated(checked, source="Trainer")


def _gives_features(config: Config, data: str | Dataset | Splits | None) -> bool:
    if isinstance(data, Splits):
        return not data.train.is_text
    dataset = registry.datasets.get(config.data.dataset) if data is None or isinstance(data, str) else data
    return bool(dataset.gives == "features")


def describe_plugins(config: ModelConfig) -> dict[str, dict[str, str | None]]:
    """Return where encoder and embedding come from, as a model directory records it: distribution and version."""
    return {
        "encoder": _describe(registry.encoders, config.encoder),
        "embedding": _describe(registry.embeddings, config.embedding),
    }


def _describe(plugins: registry.Registry[Any], name: str) -> dict[str, str | None]:
    known = {info.name: info for info in plugins.list() if info.provider != registry.SESSION}
    if name not in known:
        return {"name": name, "target": name, "distribution": None, "version": None}
    info = known[name]
    return {"name": info.name, "target": info.target, "distribution": info.provider, "version": info.version}


def _dataset_options(config: DataConfig) -> dict[str, Any]:
    dataset = registry.datasets.get(config.dataset)
    return options.validate(dataset, config.dataset_options, what=f"data set {config.dataset}")


def _embedding_options(config: ModelConfig) -> dict[str, Any]:
    embedding = registry.embeddings.get(config.embedding)
    # The two sizes come from the settings and the data.
    return options.validate(embedding, config.embedding_options, what=f"embedding {config.embedding}")


def _encoder_options(config: ModelConfig) -> dict[str, Any]:
    encoder = registry.encoders.get(config.encoder)
    return options.validate(encoder, config.encoder_options, what=f"encoder {config.encoder}")


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
    return next((info.name for info in known.list() if info.target == target), target)
