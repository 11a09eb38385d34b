"""What may be tried around given settings: read from the signatures of encoder and embedding, those of plugins too.

Nothing here knows an encoder, nor Optuna. A candidate is one that the plugin, or the settings, accept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from seqcls import registry
from seqcls.config import options
from seqcls.config.settings import Config
from seqcls.config.values import OptionValue
from seqcls.errors import ConfigError

# Settings that are searched beside the options of encoder and embedding. Not the number of epochs: trials of different
# length could not be compared on their way.
_SETTINGS = (
    "model.embedding_size",
    "model.word_dropout",
    "model.embedding_dropout",
    "model.output_dropout",
    "fit.lr",
    "fit.batch_size",
)
_VOCABULARY = "data.vocab_size"  # searched where the size counts: each value costs encoding the data again
_FEW = 4  # below it an integer counts something, such as layers; from it on it is a size
_LARGE = 1000  # from it on a size, such as that of a table, only shrinks
_MOST_DROPOUT = 0.6


class Suggester(Protocol):
    """What chooses values: a trial of Optuna."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Return one of ``choices``."""

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """Return an integer, both ends included."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """Return a number, both ends included."""


@dataclass(frozen=True)
class Choice:
    """One of a few values without an order.

    Attributes:
        start: The value that tuning starts from.
        values: All of them.
    """

    start: OptionValue
    values: tuple[OptionValue, ...]

    def suggest(self, trial: Suggester, name: str) -> OptionValue:
        """Let ``trial`` choose a value."""
        chosen: OptionValue = trial.suggest_categorical(name, self.values)
        return chosen

    def parameter(self, value: OptionValue) -> OptionValue:
        """Return what `suggest` got from the trial when it chose ``value``."""
        return value


@dataclass(frozen=True)
class Sizes:
    """One of a few integers in ascending order; a trial chooses its place, so that neighbours are close."""

    start: int
    values: tuple[int, ...]

    def suggest(self, trial: Suggester, name: str) -> OptionValue:
        """Let ``trial`` choose a value."""
        return self.values[trial.suggest_int(name, 0, len(self.values) - 1)]

    def parameter(self, value: OptionValue) -> OptionValue:
        """Return what `suggest` got from the trial when it chose ``value``."""
        return self.values.index(value)


@dataclass(frozen=True)
class Interval:
    """A number between two ends, by its logarithm where ``is_log``; of three digits, for people to read."""

    start: float
    low: float
    high: float
    is_log: bool = False

    def suggest(self, trial: Suggester, name: str) -> OptionValue:
        """Let ``trial`` choose a value."""
        value = trial.suggest_float(name, self.low, self.high, log=self.is_log)
        return value if value == self.start else min(max(float(f"{value:.3g}"), self.low), self.high)

    def parameter(self, value: OptionValue) -> OptionValue:
        """Return what `suggest` got from the trial when it chose ``value``, but for the digits left away."""
        return value


Dimension = Choice | Sizes | Interval


@dataclass(frozen=True)
class Space:
    """The settings to start from, and what may be tried around them.

    Attributes:
        start: The settings.
        dimensions: By the name of the setting, such as fit.lr or model.encoder_options.hidden_size.
    """

    start: Config
    dimensions: Mapping[str, Dimension]

    @property
    def starts(self) -> dict[str, OptionValue]:
        """The values to start from, by name."""
        return {name: dimension.start for name, dimension in self.dimensions.items()}

    def with_values(self, values: Mapping[str, OptionValue]) -> Config:
        """Return the settings with other values of the dimensions; ConfigError if they do not go together."""
        config = self.start
        for name, value in values.items():
            config = config.updated(_nested(name, value), source="tuning")
        return config


def search_space(start: Config, *, fixed: Collection[str] = (), with_vocabulary: bool = False) -> Space:
    """Return what may be tried around ``start``.

    Booleans and literals take all their values; sizes a quarter to four times theirs, large ones a quarter to the whole;
    counts the numbers next to theirs; probabilities 0 to 0.6; other positive numbers a tenth to ten times theirs, by the
    logarithm. What has no such values, such as a text or None, keeps what it has.

    Args:
        start: The settings, whose encoder and embedding are registered.
        fixed: Names of settings, or of options, that keep their values: fit.lr, hidden_size.
        with_vocabulary: Whether the size of the vocabulary may shrink.

    Raises:
        UnknownNameError, PluginError: The encoder or the embedding is not known, or does not load.
        ConfigError: An option is unknown, or of the wrong type or range.
    """
    is_text = registry.embeddings.get(start.model.embedding).kind == "text"
    dimensions: dict[str, Dimension] = {}
    for name in (*_SETTINGS, *((_VOCABULARY,) if with_vocabulary and is_text else ())):
        section, _, key = name.partition(".")
        value = getattr(getattr(start, section), key)
        if key not in fixed and name not in fixed and (is_text or key != "word_dropout"):
            dimension = dimension_of(value, (), partial(_fits, start, name))
            dimensions |= {} if dimension is None else {name: dimension}
    for kind in ("encoder", "embedding"):
        for key, dimension in _option_dimensions(start, kind):
            name = f"model.{kind}_options.{key}"
            if key not in fixed and name not in fixed:
                dimensions[name] = dimension
    return Space(start, dimensions)


def dimension_of(
    start: OptionValue, literals: Collection[OptionValue], is_valid: Callable[[OptionValue], bool]
) -> Dimension | None:
    """Return what may be tried in the place of a value; None if that is not known, or nothing else is valid.

    Args:
        start: The value.
        literals: All the values that there are, where they are listed.
        is_valid: Whether a value is accepted.
    """
    if isinstance(start, bool):
        return Choice(start, (False, True))
    if start in literals:
        return Choice(start, tuple(literals)) if len(literals) > 1 else None
    if isinstance(start, int) and start > 0:
        sizes = tuple(size for size in _sizes(start) if size == start or is_valid(size))
        return Sizes(start, sizes) if len(sizes) > 1 else None
    if not isinstance(start, float) or start < 0:
        return None
    if is_valid(0.0) and is_valid(_MOST_DROPOUT) and not is_valid(2.0):
        return Interval(start, 0.0, max(_MOST_DROPOUT, start))
    low = next((start / factor for factor in (10, 3) if is_valid(start / factor)), start)
    high = next((start * factor for factor in (10, 3) if is_valid(start * factor)), start)
    return Interval(start, low, high, is_log=True) if 0 < low < high else None


def _sizes(start: int) -> list[int]:
    if start < _FEW:
        return list(range(1, start + 3))
    scales = (start // 4, start // 2, start) if start >= _LARGE else (start // 4, start // 2, start, 2 * start, 4 * start)
    return [size for size in scales if size > 0]


def _option_dimensions(start: Config, kind: str) -> Iterator[tuple[str, Dimension]]:
    """Yield what may be tried for each option of the encoder, or of the embedding."""
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
        found = dimension_of(value, literals[option.name], partial(is_valid, option.name))
        if found is not None:
            yield option.name, found


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
