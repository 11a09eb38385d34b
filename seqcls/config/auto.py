"""Settings that fit the data: what "auto" becomes, as a pure function of the size and the shape of the training split.

The numbers and the measurements behind them are explained in docs/guides/auto.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from seqcls.config.settings import Config, ModelConfig
from seqcls.config.values import Auto
from seqcls.errors import ConfigError

T = TypeVar("T")
NumberT = TypeVar("NumberT", int, float)

STEPS = 1400
"""Optimizer steps of a run on two classes, where the epochs are chosen; half of them with pretrained vectors."""

VECTOR_SIZE = 64
"""The size of the vectors of an embedding that has no size of its own."""

_MOST_DROPOUT = {"word_dropout": 0.3, "embedding_dropout": 0.5, "output_dropout": 0.5}
_DROPOUT_OF_FEATURES = {"word_dropout": 0.0, "embedding_dropout": 0.0, "output_dropout": 0.1}


@dataclass(frozen=True)
class DataShape:
    """The size and the shape of a training split.

    Attributes:
        kind: Whether the sequences are texts or features.
        examples: The number of examples.
        classes: The number of labels.
        mean_length: The mean length of a sequence, in tokens or time steps.
        character_ngrams: The longest n-gram of characters that the wide path reads; 0 for none.
    """

    kind: Literal["text", "features"]
    examples: int
    classes: int
    mean_length: float
    character_ngrams: int = 0


def chosen(value: T | Auto) -> T:
    """Return the value of a setting that is a number by now.

    Raises:
        ConfigError: It is still "auto": the settings were not fitted to data.
    """
    if value == "auto":
        raise ConfigError('a setting is still "auto", which is chosen to fit the training data; give a number')
    return value


def vocabulary_size(examples: int) -> int:
    """Return the largest size of the vocabulary, data.vocab_size, for a number of training texts.

    It is needed before the texts are encoded, so that it depends on nothing else. By Heaps' law the vocabulary of a text
    grows with the square root of its length.
    """
    return 1000 * round(30 * _within(1.0, math.sqrt(examples / 500_000), 4.0))


def fit_to_data(config: Config, shape: DataShape) -> Config:
    """Return the settings with a value for every "auto"; values that were given stay, and the others go by them."""
    fit, growth = config.fit, _growth(shape.classes)
    batch_size = _batch_size(shape.examples) if fit.batch_size == "auto" else fit.batch_size
    steps_per_epoch = math.ceil(math.ceil(shape.examples / batch_size) / fit.accumulate_batches)
    steps = STEPS * growth * (0.5 if config.model.embedding in ("static", "pretrained") else 1.0)
    epochs = _within(3, round(steps / steps_per_epoch), 100) if fit.epochs == "auto" else fit.epochs
    fitting: dict[str, Any] = {
        "data.vocab_size": vocabulary_size(shape.examples),
        "data.character_ngrams": shape.character_ngrams,
        "model.embedding_size": VECTOR_SIZE,
        **{f"model.{name}": value for name, value in _dropout(shape).items()},
        "fit.epochs": epochs,
        "fit.batch_size": batch_size,
        "fit.lr": round(2e-3 * growth, 4) if shape.kind == "text" else 2e-3,
        "fit.patience": _patience(epochs),
        "fit.eval_every_steps": _steps_between_evaluations(steps_per_epoch),
    }
    return config.with_chosen({name: fitting[name] for name in config.open_settings()})


def describe_chosen(config: Config) -> str:
    """Return the values that were chosen to fit the data in one line: "epochs 20, batch_size 32"."""
    values = config.model_dump(mode="json")
    parts = [(key, values[section][key]) for section, _, key in (name.partition(".") for name in config.chosen)]
    if config.model.encoder == "linear":  # no step is made, and no sequence read
        parts = [(key, value) for key, value in parts if key == "character_ngrams"]
    return ", ".join(f"{key} {'none' if value is None else value}" for key, value in parts)


def dropout_without_data(config: ModelConfig) -> dict[str, float]:
    """Return the dropout settings that are "auto", by name, with the values for many texts."""
    return {name: value for name, value in _MOST_DROPOUT.items() if getattr(config, name) == "auto"}


def _growth(classes: int) -> float:
    """Return a factor on the number of steps and on the learning rate, which rises from 1 for 2 classes to 2 for 64."""
    return _within(1.0, math.pow(classes / 2, 0.2), 2.0)


def _batch_size(examples: int) -> int:
    """Return the power of 2 below half the square root of the number of examples."""
    return 1 << math.floor(math.log2(_within(8.0, math.sqrt(examples) / 2, 64.0)))


def _dropout(shape: DataShape) -> dict[str, float]:
    """Return the dropout settings: the most from 10,000 texts of each label on, half of it up to 1,000."""
    if shape.kind == "features":
        return _DROPOUT_OF_FEATURES
    strength = _within(0.5, 0.5 * (math.log10(shape.examples / shape.classes) - 2), 1.0)
    return {name: round(strength * most, 2) for name, most in _MOST_DROPOUT.items()}


def _patience(epochs: int) -> int | None:
    """Return the evaluations to wait for a better one; None for a run that is short anyway."""
    return None if epochs <= 6 else max(6, math.ceil(epochs / 2))


def _steps_between_evaluations(steps_per_epoch: int) -> int | None:
    """Return how often to evaluate within an epoch; None where its end comes after 1,000 steps at most."""
    parts = math.ceil(steps_per_epoch / 1000)
    return None if parts == 1 else math.ceil(steps_per_epoch / parts)


def _within(low: NumberT, value: NumberT, high: NumberT) -> NumberT:
    return min(max(low, value), high)
