"""The data set `tasks`: generated problems with which the literature measures what a recurrent network can remember.

Each problem is a function that generates sequences of a given label.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Annotated, Literal

import numpy as np
from numpy.random import PCG64, SeedSequence
from numpy.typing import NDArray
from pydantic import Field

from seqcls.config.options import validate
from seqcls.data.datasets.base import Dataset
from seqcls.data.splits import Split, Splits
from seqcls.errors import ConfigError

Task = Literal["first-symbol", "temporal-order", "parity", "adding"]
Size = Annotated[int, Field(ge=4, le=200_000)]
Words = NDArray[np.str_]
Drawing = Callable[[PCG64, int, int, int], Words]
"""Draws words [rows, length] of one label, from a random stream, the label, the number of rows and the length."""

# Raise this with every change of the texts: caches and published results depend on them.
TASKS_VERSION = 1
ROWS = 256  # drawn at a time; another number would give other texts

SYMBOLS = np.array(["a", "b", "c", "d"])
BITS = np.array(["0", "1"])
DIGITS = np.array([str(digit) for digit in range(10)])
ORDERS = ("xx", "xy", "yx", "yy")
MARK = "m"
# The pairs of marked digits by label: sums below 10, and sums of at least 10.
PAIRS = tuple(
    np.array([(a, b) for a in range(10) for b in range(10) if (a + b >= 10) == is_large]) for is_large in (False, True)
)


class TasksDataset(Dataset):
    """Problems that take memory: first-symbol, temporal-order, parity, adding; no download is needed.

    A sequence is a text of exactly ``length`` short words. Words are counted from 0, and every draw is uniform.

    - ``first-symbol``: words from a, b, c, d; the label is the first word, and the rest is noise. There are four classes.
      This is the latch problem of Bengio, Simard and Frasconi 1994 ("Learning long-term dependencies with gradient
      descent is difficult"), where only the first values determine the class. There, the noise is smaller than the
      signal; here, it consists of the same symbols, so that only the position distinguishes the first one.
    - ``temporal-order``: distractors from a, b, c, d, and two words that are x or y; the label is these two in their
      order: xx, xy, yx or yy. This is experiment 6a of Hochreiter and Schmidhuber 1997 ("Long short-term memory",
      section 5.6). The positions scale with the length L: the first is drawn from L // 10 to L // 5, the second from
      L // 2 to 3 L // 5, both ends included; for L = 100 these are the paper's 10 to 20 and 50 to 60. The paper's symbols
      for start and end are omitted, since a classifier knows where a text ends, and all sequences have the same length.
    - ``parity``: bits, labelled by whether the number of ones is even or odd. Every bit counts: one flip changes the
      label (Bengio et al. 1994; Hochreiter and Schmidhuber 1996, "Bridging long time lags by weight guessing and long
      short term memory", on what this problem proves and what it does not).
    - ``adding``: digits, two of them marked, such as "m7"; the label is whether these two sum to at least 10, and the other
      digits are noise. This is experiment 4 of Hochreiter and Schmidhuber 1997 (section 5.4) as a classification. One
      mark is in the first L // 2 words and one in the others, as in Arjovsky, Shah and Bengio 2016 ("Unitary evolution
      recurrent neural networks"). The order does not matter here: a bag of words can solve it.

    In each split, the classes are balanced to one example. Each class of each split has its own random stream. No text
    occurs twice, within a split or across splits. Test is drawn first and train last, so that another ``train_size`` only
    lengthens or shortens train. The texts depend only on the options: of NumPy, only the raw integers of ``PCG64`` are
    used, which NumPy guarantees not to change.

    A text longer than the setting ``max_length`` is cut: raise ``max_length`` together with ``length``.

    Args:
        task: The problem.
        length: Number of words of a text.
        train_size: Number of training texts.
        validation_size: Number of validation texts.
        test_size: Number of test texts.
        seed: Seed of the generator; another seed gives other texts.

    Raises:
        ConfigError: An option is out of range, or fewer than twice as many texts of this length exist as are needed.
    """

    def __init__(
        self,
        *,
        task: Task,
        length: Annotated[int, Field(ge=5, le=10_000)] = 20,
        train_size: Size = 10_000,
        validation_size: Size = 1000,
        test_size: Size = 2000,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self._identity = {"task": task, "length": length, "seed": seed}
        self._identity |= {"train_size": train_size, "validation_size": validation_size, "test_size": test_size}
        validate(TasksDataset, self._identity, what="data set tasks")
        self.task = task
        self.length = length
        self.train_size = train_size
        self.validation_size = validation_size
        self.test_size = test_size
        self.seed = seed
        self._check_enough_texts_exist()

    def load(self) -> Splits:
        """Draw the sequences."""
        streams = SeedSequence(self.seed).spawn(3)
        seen: set[str] = set()
        test = self._draw_split(streams[0], self.test_size, seen)
        validation = self._draw_split(streams[1], self.validation_size, seen)
        train = self._draw_split(streams[2], self.train_size, seen)
        return Splits(train=train, validation=validation, test=test, label_names=_PROBLEMS[self.task].label_names)

    def fingerprint(self) -> str:
        """Return a hash of the options and the version of the generator, without drawing a text."""
        return hashlib.sha256(f"tasks {TASKS_VERSION} {sorted(self._identity.items())}".encode()).hexdigest()

    def _check_enough_texts_exist(self) -> None:
        problem = _PROBLEMS[self.task]
        sizes = (self.train_size, self.validation_size, self.test_size)
        needed = sum(math.ceil(size / len(problem.label_names)) for size in sizes)
        provided = problem.count(self.length)
        if 2 * needed > provided:
            raise ConfigError(
                f"data set tasks: {self.task} has {provided} sequences of length {self.length} in its smallest class, but "
                f"twice the {needed} that are needed must exist; give a larger length or smaller sizes"
            )

    def _draw_split(self, stream: SeedSequence, size: int, seen: set[str]) -> Split:
        """Draw ``size`` texts that are not in ``seen``, labels taking turns, and add them to ``seen``."""
        num_classes = len(_PROBLEMS[self.task].label_names)
        classes = [self._distinct_texts(label, PCG64(child), seen) for label, child in enumerate(stream.spawn(num_classes))]
        texts = [next(texts) for texts in islice(cycle(classes), size)]
        return Split(texts, np.arange(size, dtype=np.int64) % num_classes)

    def _distinct_texts(self, label: int, bits: PCG64, seen: set[str]) -> Iterator[str]:
        """Yield texts of a label forever, skipping those in ``seen``."""
        while True:
            for words in _PROBLEMS[self.task].draw(bits, label, ROWS, self.length).tolist():
                text = " ".join(words)
                if text not in seen:
                    seen.add(text)
                    yield text


def relevant_positions(length: int) -> tuple[range, range]:
    """Return the possible positions of the two relevant symbols of ``temporal-order``."""
    return range(length // 10, length // 5 + 1), range(length // 2, 3 * length // 5 + 1)


def _draw_first_symbol(bits: PCG64, label: int, rows: int, length: int) -> Words:
    words = SYMBOLS[_integers(bits, len(SYMBOLS), rows, length)]
    words[:, 0] = SYMBOLS[label]
    return words


def _draw_temporal_order(bits: PCG64, label: int, rows: int, length: int) -> Words:
    words = SYMBOLS[_integers(bits, len(SYMBOLS), rows, length)]
    for positions, symbol in zip(relevant_positions(length), ORDERS[label], strict=True):
        words[np.arange(rows), positions.start + _integers(bits, len(positions), rows)] = symbol
    return words


def _draw_parity(bits: PCG64, label: int, rows: int, length: int) -> Words:
    values = _integers(bits, 2, rows, length)
    values[:, -1] = (values[:, :-1].sum(axis=1) + label) % 2
    return BITS[values]


def _draw_adding(bits: PCG64, label: int, rows: int, length: int) -> Words:
    words = DIGITS[_integers(bits, len(DIGITS), rows, length)].astype("<U2")
    addends = PAIRS[label][_integers(bits, len(PAIRS[label]), rows)]  # [rows, 2]
    for positions, digits in zip((range(length // 2), range(length // 2, length)), addends.T, strict=True):
        words[np.arange(rows), positions.start + _integers(bits, len(positions), rows)] = np.char.add(MARK, DIGITS[digits])
    return words


def _integers(bits: PCG64, bound: int, *shape: int) -> NDArray[np.int64]:
    """Draw integers from 0 to ``bound`` - 1, from the upper 53 bits of raw integers."""
    raw = bits.random_raw(math.prod(shape)).reshape(shape)
    return ((raw >> np.uint64(11)) * 2.0**-53 * bound).astype(np.int64)


@dataclass(frozen=True)
class _Problem:
    """A problem: its labels, the number of texts of a given length in its smallest class, and how texts are drawn."""

    label_names: tuple[str, ...]
    count: Callable[[int], int]
    draw: Drawing


_PROBLEMS: dict[str, _Problem] = {
    "first-symbol": _Problem(("a", "b", "c", "d"), lambda length: 4 ** (length - 1), _draw_first_symbol),
    "temporal-order": _Problem(
        ORDERS,
        lambda length: math.prod(map(len, relevant_positions(length))) * 4 ** (length - 2),
        _draw_temporal_order,
    ),
    "parity": _Problem(("even", "odd"), lambda length: 2 ** (length - 1), _draw_parity),
    "adding": _Problem(
        ("below-10", "10-or-more"),
        lambda length: len(PAIRS[1]) * (length // 2) * ((length + 1) // 2) * 10 ** (length - 2),
        _draw_adding,
    ),
}
