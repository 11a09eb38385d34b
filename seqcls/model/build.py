"""From settings to the network: names become embeddings and encoders, and these become a `Network`."""

from __future__ import annotations

from typing import Any

from seqcls import registry
from seqcls.config import options
from seqcls.config.auto import VECTOR_SIZE, dropout_without_data
from seqcls.config.settings import ModelConfig
from seqcls.data.encoding import EncodedData
from seqcls.data.ngrams import NgramVocabulary
from seqcls.errors import ConfigError
from seqcls.model.embeddings.base import Embedding, NoEmbedding
from seqcls.model.encoders.base import Encoder
from seqcls.model.network import Network
from seqcls.model.wide import WidePath


def build_model(
    config: ModelConfig,
    *,
    vocab_size: int,
    num_classes: int,
    ngrams: NgramVocabulary | None = None,
    encoder: Encoder | None = None,
) -> Network:
    """Build the network around ``encoder``, or around the one that the settings name.

    Args:
        config: The settings of the model. Dropout that is still "auto" is that for plenty of data.
        vocab_size: The number of different token ids, or the size of a feature vector.
        num_classes: The number of labels.
        ngrams: The n-grams of the wide path; None for a network without one.
        encoder: A built encoder; not for an ensemble.

    Raises:
        ConfigError: An option is unknown or has a wrong value, the encoder's input size is not the embedding size, or the
            networks of an ensemble would all be the same.
        UnknownNameError: The settings name an encoder or embedding that is not registered.
        PluginError: It cannot be imported.
    """
    config = config.model_copy(update=dropout_without_data(config))
    if config.ensemble > 1:
        return _build_ensemble(config, vocab_size=vocab_size, num_classes=num_classes, ngrams=ngrams, encoder=encoder)
    encoder, size = encoder or build_encoder(config), vector_size(config)
    if encoder.input_size != size:
        raise ConfigError(
            f"the encoder takes vectors of size {encoder.input_size}, but model.embedding_size is {size}; make them equal"
        )
    if not encoder.output_size and ngrams is None:
        raise ConfigError(f"the encoder {config.encoder} reads n-grams of texts alone, and there are none; use --wide")
    has_sequence = encoder.output_size > 0
    embedding = build_embedding(config, vocab_size=vocab_size) if has_sequence else NoEmbedding()
    wide = None if ngrams is None else WidePath(len(ngrams), ngrams.num_words, num_classes)
    return Network(embedding, encoder, vocab_size=vocab_size, num_classes=num_classes, config=config, wide=wide)


def _build_ensemble(
    config: ModelConfig, *, vocab_size: int, num_classes: int, ngrams: NgramVocabulary | None, encoder: Encoder | None
) -> Network:
    if encoder is not None:
        raise ConfigError("an ensemble needs several encoders: register yours, and give its name")
    single = config.model_copy(update={"ensemble": 1})
    network = build_model(single, vocab_size=vocab_size, num_classes=num_classes, ngrams=ngrams)
    if network.is_linear:
        raise ConfigError("every network of this ensemble would be the same linear model; use --ensemble 1")
    for _ in range(1, config.ensemble):  # the wide path is that of the first one
        network.others.append(build_model(single, vocab_size=vocab_size, num_classes=num_classes))
    return network


def build_encoder(config: ModelConfig) -> Encoder:
    """Build the encoder that the settings name; raises like `build_model`."""
    encoder_class: type[Encoder] = registry.encoders.get(config.encoder)
    return encoder_class(vector_size(config), **encoder_options(config))


def build_embedding(config: ModelConfig, *, vocab_size: int) -> Embedding:
    """Build the embedding that the settings name; raises like `build_model`."""
    embedding_class: type[Embedding] = registry.embeddings.get(config.embedding)
    return embedding_class(vocab_size, vector_size(config), **embedding_options(config))


def vector_size(config: ModelConfig) -> int:
    """Return the size of the vector of each token; nothing is read to find out what "auto" is for an embedding."""
    return VECTOR_SIZE if config.embedding_size == "auto" else config.embedding_size


def own_size(config: ModelConfig) -> int | None:
    """Return the size that the embedding has of its own; None if it takes any.

    Raises:
        UnknownNameError, PluginError, ConfigError: As `build_model`.
        DataError, CheckpointError, HubError, MissingExtraError: Vectors that have a size of their own cannot be read.
    """
    embedding_class: type[Embedding] = registry.embeddings.get(config.embedding)
    return embedding_class.own_size(config.embedding_options)


def own_tokenizer(config: ModelConfig) -> str | None:
    """Return the tokenizer that the embedding needs; None if it takes any; raises like `build_model`."""
    embedding_class: type[Embedding] = registry.embeddings.get(config.embedding)
    return embedding_class.own_tokenizer(config.embedding_options)


def encoder_options(config: ModelConfig) -> dict[str, Any]:
    """Return the encoder's options, checked and converted; raises like `build_model`."""
    encoder = registry.encoders.get(config.encoder)
    return options.validate(encoder, config.encoder_options, what=f"encoder {config.encoder}")


def embedding_options(config: ModelConfig) -> dict[str, Any]:
    """Return the embedding's options, checked and converted; raises like `build_model`."""
    embedding = registry.embeddings.get(config.embedding)
    return options.validate(embedding, config.embedding_options, what=f"embedding {config.embedding}")


def check_embedding(config: ModelConfig, data: EncodedData) -> None:
    """Raise a ConfigError if the embedding takes words but the data are numbers, or the other way round."""
    kind, expected_kind = data.preprocessor.kind, registry.embeddings.get(config.embedding).kind
    if kind != expected_kind:
        names, remedy = {"text": "words", "features": "numbers"}, {"text": "word", "features": "features"}[kind]
        mismatch = f"takes {names[expected_kind]}, but the data are {names[kind]}"
        raise ConfigError(f"the embedding {config.embedding} {mismatch}; use --embedding {remedy}")


def describe_plugins(config: ModelConfig) -> dict[str, dict[str, str | None]]:
    """Return the name, target, distribution and version of encoder and embedding, as a model directory records them."""
    return {
        "encoder": _describe(registry.encoders, config.encoder),
        "embedding": _describe(registry.embeddings, config.embedding),
    }


def _describe(plugins: registry.Registry[Any], name: str) -> dict[str, str | None]:
    if name in plugins.builtins:  # recorded by name alone, so that moving a file breaks no saved model
        info = plugins.info(name)
        return {"name": name, "target": None, "distribution": info.provider, "version": info.version}
    infos = {info.name: info for info in plugins.plugins() if info.provider != registry.SESSION}
    if name not in infos:
        return {"name": name, "target": name, "distribution": None, "version": None}
    info = infos[name]
    return {"name": info.name, "target": info.target, "distribution": info.provider, "version": info.version}
