"""From settings to encoded splits: data set → splits → tokenizer → cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from seqcls import registry
from seqcls.config import options
from seqcls.config.settings import DataConfig
from seqcls.data.cache import EncodedCache, EncodedData, UnencodedData
from seqcls.data.datasets.base import Dataset, Splits
from seqcls.data.scaler import FeatureScaler
from seqcls.data.sequences import Unencoded
from seqcls.data.tokenizer import RULES, TextTokenizer
from seqcls.system.paths import cache_home

# Stands for a data set name where the splits were given as objects.
SPLITS = "splits"


def build_dataset(config: DataConfig) -> Dataset:
    """Build the data set that the settings name.

    Raises:
        UnknownNameError, PluginError: The name is not known, or its plugin does not load.
        ConfigError: An option is unknown, or of the wrong type or range.
    """
    dataset_class: type[Dataset] = registry.datasets.get(config.dataset)
    return dataset_class(**dataset_options(config))


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
            num_words=config.vocab_size,
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


def dataset_options(config: DataConfig) -> dict[str, Any]:
    """Return the data set's options, checked and converted; raises like `build_dataset`."""
    dataset = registry.datasets.get(config.dataset)
    return options.validate(dataset, config.dataset_options, what=f"data set {config.dataset}")
