"""From settings to what training reads: data set → splits → preprocessor → encoded splits, from the cache where it can."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from seqcls import registry
from seqcls.config import options
from seqcls.config.auto import vocabulary_size
from seqcls.config.settings import DataConfig
from seqcls.data.cache import FORMAT_VERSION, EncodedCache
from seqcls.data.chunks import text_size
from seqcls.data.datasets.base import Dataset
from seqcls.data.encoding import EncodedData, encode_splits
from seqcls.data.ngrams import NgramVocabulary
from seqcls.data.preprocessor import Preprocessor
from seqcls.data.rules import DEFAULT_RULES, RULES
from seqcls.data.scaler import FeatureScaler
from seqcls.data.splits import Splits
from seqcls.data.static_vectors import WORDLLAMA, has_form_of_source, read_static_tokenizer
from seqcls.data.tokenizer import TextTokenizer
from seqcls.errors import ConfigError
from seqcls.system.paths import cache_home

LITTLE_TEXT = 3_000_000
"""Up to so many characters, the wide path reads n-grams of characters, and those that occur once."""
MOST_WIDE_WEIGHTS = 1 << 24
"""The most weights of the wide path, one per n-gram and class: their training takes some 15 times this in floats."""

# Stands for the name of a data set where the splits were passed as objects.
SPLITS = "splits"


def prepare_data(
    config: DataConfig,
    source: Dataset | Splits | None = None,
    *,
    on_load: Callable[[Splits], None] | None = None,
) -> EncodedData:
    """Split the data, fit the preprocessor on the training split alone, and encode every labelled split.

    Data of a `Dataset` are kept in the cache folder under a key made of its fingerprint and the settings; splits that are
    passed as objects are encoded in memory.

    Args:
        config: The settings.
        source: A built data set or splits; None builds the data set that the settings name.
        on_load: Called with the splits as they were loaded, unless the cache has them encoded.
    """

    def divide(loaded: Splits) -> Splits:
        if on_load is not None:
            on_load(loaded)
        return load_splits(config, loaded)

    if isinstance(source, Splits):
        splits = divide(source)
        return encode_splits(fit_preprocessor(splits, config), splits)
    dataset = source or build_dataset(config)
    cache, key = EncodedCache(cache_home() / "encoded"), _cache_key(dataset, config)
    if (cached := cache.open(key)) is not None:
        return cached
    splits = divide(dataset.load())
    return cache.store(key, fit_preprocessor(splits, config), splits)


def load_splits(config: DataConfig, source: Dataset | Splits | None = None) -> Splits:
    """Return the splits that training sees.

    Validation is held out from train if the data come without a validation split. With ``config.train_on`` "all" there is
    none: its examples are in train.
    """
    splits = load_raw(config, source)
    if config.train_on == "all":
        return splits.with_all_in_training()
    if splits.validation is None:
        return splits.with_validation(fraction=config.validation_fraction, seed=config.split_seed)
    return splits


def load_raw(config: DataConfig, source: Dataset | Splits | None = None) -> Splits:
    """Return the splits as the data set has them."""
    return source if isinstance(source, Splits) else (source or build_dataset(config)).load()


def build_dataset(config: DataConfig) -> Dataset:
    """Build the data set that the settings name.

    Raises:
        UnknownNameError, PluginError: The name is not known, or its plugin does not load.
        ConfigError: An option is unknown, or of the wrong type or range.
    """
    dataset_class: type[Dataset] = registry.datasets.get(config.dataset)
    return dataset_class(**dataset_options(config))


def dataset_options(config: DataConfig) -> dict[str, Any]:
    """Return the data set's options, checked and converted; raises like `build_dataset`."""
    dataset = registry.datasets.get(config.dataset)
    return options.validate(dataset, config.dataset_options, what=f"data set {config.dataset}")


def fit_preprocessor(splits: Splits, config: DataConfig) -> Preprocessor:
    """Fit what encodes the splits on the training split: the tokenizer of the settings, or, for numbers, a scaler."""
    if splits.train.kind != "text":
        if config.wide:
            raise ConfigError(
                "the wide path reads n-grams of texts, but the data are numbers; use --no-wide, and an encoder"
            )
        return FeatureScaler.fit(splits.train.sequences)
    tokenizer = make_tokenizer(splits.train.texts, config)
    if config.wide:
        tokenizer.ngrams = _fit_ngrams(splits, config)
    return tokenizer


def _fit_ngrams(splits: Splits, config: DataConfig) -> NgramVocabulary:
    """Choose the n-grams of the wide path: of little text, all; of much text, those of words that occur twice."""
    texts = splits.train.texts
    is_little = text_size(texts) <= LITTLE_TEXT
    characters = config.character_ngrams
    if characters == "auto":
        characters = 5 if is_little else 0
    num_classes = len(splits.label_names)
    return NgramVocabulary.fit(
        texts,
        max_words=config.word_ngrams,
        max_characters=characters,
        min_count=1 if is_little else 2,
        max_size=max(1, MOST_WIDE_WEIGHTS // (1 if num_classes == 2 else num_classes)),
    )


def make_tokenizer(texts: Sequence[str], config: DataConfig) -> TextTokenizer:
    """Fit the tokenizer of the settings on the training texts, or read it from the file or the vectors that they name."""
    name = DEFAULT_RULES if config.tokenizer == "auto" else config.tokenizer
    if name in RULES:
        return TextTokenizer.fit(
            texts,
            vocab_size=vocabulary_size(len(texts)) if config.vocab_size == "auto" else config.vocab_size,
            rules=name,
            max_length=config.max_length,
            truncating=config.truncating,
        )
    read = TextTokenizer.load if Path(name).is_file() else read_static_tokenizer
    return read(name, max_length=config.max_length, truncating=config.truncating)


def is_usable(tokenizer: str) -> bool:
    """Return whether the setting ``tokenizer`` names rules, or a file or vectors on this machine."""
    if tokenizer == WORDLLAMA:
        return find_spec(WORDLLAMA) is not None
    return tokenizer in ("auto", *RULES) or Path(tokenizer).is_file()


def check_tokenizer(tokenizer: str) -> None:
    """Raise ConfigError if the setting ``tokenizer`` names neither rules nor what can be a file or static vectors."""
    if tokenizer not in ("auto", *RULES) and not Path(tokenizer).is_file() and not has_form_of_source(tokenizer):
        raise ConfigError(f"tokenizer is {tokenizer!r}, which is not a file; give {', '.join(RULES)}, or a tokenizer.json")


def _cache_key(dataset: Dataset, config: DataConfig) -> str:
    settings = config.model_dump(mode="json", exclude={"dataset", "dataset_options"})  # the fingerprint covers these
    if config.vocab_size == "auto":  # the rule stands for the size: the number of training texts is not known yet
        settings["vocab_size"] = [vocabulary_size(10**power) for power in range(10)]
    if config.tokenizer not in ("auto", *RULES):
        settings["tokenizer"] = make_tokenizer([], config).to_json()
    name = f"{type(dataset).__module__}:{type(dataset).__qualname__}"
    return hashlib.sha256(
        json.dumps([FORMAT_VERSION, name, dataset.fingerprint(), settings], sort_keys=True).encode()
    ).hexdigest()[:32]
