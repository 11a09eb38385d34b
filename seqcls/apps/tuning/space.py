"""Which settings are searched: some of the model and the training, and the options in the signatures of the plugins.

Nothing here knows a particular encoder. A value is tried only if the plugin, or the settings, accept it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from seqcls import registry
from seqcls.apps.tuning.dimensions import Dimension, dimension_of
from seqcls.config import options
from seqcls.config.auto import chosen
from seqcls.config.old_names import current_name
from seqcls.config.settings import Config
from seqcls.config.values import OptionValue
from seqcls.errors import ConfigError

# Settings that are searched besides the options of encoder and embedding. The number of epochs is not one of them: trials of
# different lengths could not be compared before their end.
_SETTINGS = (
    "model.embedding_size",
    "model.word_dropout",
    "model.embedding_dropout",
    "model.output_dropout",
    "fit.lr",
    "fit.batch_size",
)
_VOCABULARY = "data.vocab_size"  # searched only if the size counts: for each value the data must be encoded again


@dataclass(frozen=True)
class Space:
    """The settings to start from, and the values that may be tried around them.

    Attributes:
        start: The settings to start from.
        dimensions: The values to try, by the name of the setting, such as fit.lr or model.encoder_options.hidden_size.
    """

    start: Config
    dimensions: Mapping[str, Dimension]

    @property
    def starts(self) -> dict[str, OptionValue]:
        """The values to start from, by name."""
        return {name: dimension.start for name, dimension in self.dimensions.items()}

    def with_values(self, values: Mapping[str, OptionValue]) -> Config:
        """Return the settings with other values of the dimensions.

        Raises:
            ConfigError: The values do not go together.
        """
        config = self.start
        for name, value in values.items():
            config = config.updated(_nested(name, value), source="tuning")
        return config


def search_space(start: Config, *, fixed: Collection[str] = (), with_vocabulary: bool = False) -> Space:
    """Return the values that may be tried around ``start``.

    Booleans and literals take all their values; sizes a quarter to four times theirs, large ones a quarter to the whole;
    counts the numbers next to theirs; probabilities 0 to 0.6; other positive numbers a tenth to ten times theirs, on a
    logarithmic scale. Values of other kinds, such as a text or None, stay as they are.

    Args:
        start: The settings, fitted to the data, whose encoder and embedding are registered.
        fixed: Names of settings, or of options, that keep their values: fit.lr, hidden_size.
        with_vocabulary: Whether to try smaller vocabularies.

    Raises:
        UnknownNameError, PluginError: The encoder or the embedding is not known, or does not load.
        ConfigError: An option is unknown, or of the wrong type or range; or a setting to search is still "auto".
    """
    fixed = {current_name(name) for name in fixed}
    is_text = registry.embeddings.get(start.model.embedding).kind == "text"
    dimensions: dict[str, Dimension] = {}
    for name in (*_SETTINGS, *((_VOCABULARY,) if with_vocabulary and is_text else ())):
        section, _, key = name.partition(".")
        value = chosen(getattr(getattr(start, section), key))
        if key not in fixed and name not in fixed and (is_text or key != "word_dropout"):
            dimension = dimension_of(value, (), partial(_fits, start, name))
            dimensions |= {} if dimension is None else {name: dimension}
    for kind in ("encoder", "embedding"):
        for key, dimension in _option_dimensions(start, kind):
            name = f"model.{kind}_options.{key}"
            if key not in fixed and name not in fixed:
                dimensions[name] = dimension
    return Space(start, dimensions)


def _option_dimensions(start: Config, kind: str) -> Iterator[tuple[str, Dimension]]:
    """Yield the name and the values of each option of the encoder, or of the embedding, that can be searched."""
    name = getattr(start.model, kind)
    plugin = registry.REGISTRIES[kind].get(name)
    given = options.validate(plugin, getattr(start.model, f"{kind}_options"), what=f"{kind} {name}")

    def is_valid(key: str, value: OptionValue) -> bool:
        try:
            options.validate(plugin, {**given, key: value}, what=name)
        except ConfigError:
            return False
        return True

    literals: dict[str, tuple[Any, ...]] = options.literals(plugin)
    for option in options.describe(plugin):
        value: Any = given.get(option.name, option.default)
        dimension = dimension_of(value, literals[option.name], partial(is_valid, option.name))
        if dimension is not None:
            yield option.name, dimension


def _fits(start: Config, name: str, value: OptionValue) -> bool:
    try:
        start.updated(_nested(name, value), source="tuning")
    except ConfigError:
        return False
    return True


def _nested(name: str, value: OptionValue) -> dict[str, Any]:
    """Return {"fit": {"lr": value}} for fit.lr."""
    nested: Any = value
    for part in reversed(name.split(".")):
        nested = {part: nested}
    result: dict[str, Any] = nested
    return result
