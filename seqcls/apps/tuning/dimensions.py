"""The values that may be tried in place of one value. Nothing here knows the settings or Optuna."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

from seqcls.config.values import OptionValue

_SMALLEST_SIZE = 4  # a smaller integer counts something, such as layers
_LARGE_SIZE = 1000  # from here on, a size, such as that of a table, only shrinks
_MAX_DROPOUT = 0.6


class Suggester(Protocol):
    """Chooses values; a trial of Optuna does."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Return one of ``choices``."""

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """Return an integer, both ends included."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """Return a number, both ends included."""


@dataclass(frozen=True)
class Choice:
    """One of a few unordered values.

    Attributes:
        start: The value to start from.
        values: All values, ``start`` included.
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
    """One of a few integers in ascending order; a trial chooses its position, so that neighbours are close."""

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
    """A number between two ends, on a logarithmic scale if ``is_log``; rounded to three digits, for people to read."""

    start: float
    low: float
    high: float
    is_log: bool = False

    def suggest(self, trial: Suggester, name: str) -> OptionValue:
        """Let ``trial`` choose a value."""
        value = trial.suggest_float(name, self.low, self.high, log=self.is_log)
        return value if value == self.start else min(max(float(f"{value:.3g}"), self.low), self.high)

    def parameter(self, value: OptionValue) -> OptionValue:
        """Return what `suggest` got from the trial when it chose ``value``, up to rounding."""
        return value


Dimension = Choice | Sizes | Interval


def dimension_of(
    start: OptionValue, literals: Collection[OptionValue], is_valid: Callable[[OptionValue], bool]
) -> Dimension | None:
    """Return the values that may be tried in place of ``start``; None if they are not known, or no other is valid.

    Args:
        start: The value to start from.
        literals: All possible values, if the annotation lists them.
        is_valid: Returns whether a value is accepted.
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
    if is_valid(0.0) and is_valid(_MAX_DROPOUT) and not is_valid(2.0):
        return Interval(start, 0.0, max(_MAX_DROPOUT, start))
    low = next((start / factor for factor in (10, 3) if is_valid(start / factor)), start)
    high = next((start * factor for factor in (10, 3) if is_valid(start * factor)), start)
    return Interval(start, low, high, is_log=True) if 0 < low < high else None


def _sizes(start: int) -> list[int]:
    if start < _SMALLEST_SIZE:
        return list(range(1, start + 3))
    scales = (
        (start // 4, start // 2, start) if start >= _LARGE_SIZE else (start // 4, start // 2, start, 2 * start, 4 * start)
    )
    return [size for size in scales if size > 0]
