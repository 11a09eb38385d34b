"""From settings to the network: names become embeddings, encoders and models."""

from __future__ import annotations

from typing import Any

from seqcls import registry
from seqcls.config import options
from seqcls.config.settings import ModelConfig
from seqcls.data.encoding import EncodedData
from seqcls.errors import ConfigError
from seqcls.model.embeddings.base import Embedding
from seqcls.model.encoders.base import Encoder
from seqcls.model.network import Network


def build_encoder(config: ModelConfig) -> Encoder:
    """Build the encoder that the settings name; raises like `build_dataset`."""
    encoder_class: type[Encoder] = registry.encoders.get(config.encoder)
    return encoder_class(config.embedding_size, **encoder_options(config))


def build_embedding(config: ModelConfig, *, vocab_size: int) -> Embedding:
    """Build the embedding that the settings name; raises like `build_dataset`."""
    embedding_class: type[Embedding] = registry.embeddings.get(config.embedding)
    return embedding_class(vocab_size, config.embedding_size, **embedding_options(config))


def check_embedding(config: ModelConfig, data: EncodedData) -> None:
    """Raise a ConfigError if the embedding takes words where the data are numbers, or the other way round."""
    kind, expected_kind = data.preprocessor.kind, registry.embeddings.get(config.embedding).kind
    if kind != expected_kind:
        names, fitting = {"text": "words", "features": "numbers"}, {"text": "word", "features": "features"}[kind]
        mismatch = f"takes {names[expected_kind]}, but the data are {names[kind]}"
        raise ConfigError(f"the embedding {config.embedding} {mismatch}; use --embedding {fitting}")


def build_model(config: ModelConfig, *, vocab_size: int, num_classes: int, encoder: Encoder | None = None) -> Network:
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
    return Network(embedding, encoder, vocab_size=vocab_size, num_classes=num_classes, config=config)


def describe_plugins(config: ModelConfig) -> dict[str, dict[str, str | None]]:
    """Return where encoder and embedding come from, as a model directory records it: distribution and version."""
    return {
        "encoder": _describe(registry.encoders, config.encoder),
        "embedding": _describe(registry.embeddings, config.embedding),
    }


def _describe(plugins: registry.Registry[Any], name: str) -> dict[str, str | None]:
    known = {info.name: info for info in plugins.plugins() if info.provider != registry.SESSION}
    if name not in known:
        return {"name": name, "target": name, "distribution": None, "version": None}
    info = known[name]
    # What is built in is known by its name alone, so that a file that moves breaks no saved model.
    target = None if name in plugins.builtins else info.target
    return {"name": info.name, "target": target, "distribution": info.provider, "version": info.version}


def embedding_options(config: ModelConfig) -> dict[str, Any]:
    """Return the embedding's options, checked and converted; raises like `build_embedding`."""
    embedding = registry.embeddings.get(config.embedding)
    # The two sizes come from the settings and the data.
    return options.validate(embedding, config.embedding_options, what=f"embedding {config.embedding}")


def encoder_options(config: ModelConfig) -> dict[str, Any]:
    """Return the encoder's options, checked and converted; raises like `build_encoder`."""
    encoder = registry.encoders.get(config.encoder)
    return options.validate(encoder, config.encoder_options, what=f"encoder {config.encoder}")
