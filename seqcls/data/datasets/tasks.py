"""The generated data set `tasks`: problems by which the literature measures what a recurrent network can remember.

Each problem is a function that writes sequences of a given label; nothing here knows how a sequence is read.
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
"""From a random stream, a label, a number of rows and a length to words [rows, length], all rows of that label."""

# Raise this with every change of what is drawn: caches and published results depend on the texts.
TASKS_VERSION = 1
ROWS = 256  # drawn at a time; part of what decides the texts

SYMBOLS = np.array(["a", "b", "c", "d"])
BITS = np.array(["0", "1"])
DIGITS = np.array([str(digit) for digit in range(10)])
ORDERS = ("xx", "xy", "yx", "yy")
MARK = "m"
# The pairs of marked digits by label: sums below 10, and from 10 on.
PAIRS = tuple(
    np.array([(a, b) for a in range(10) for b in range(10) if (a + b >= 10) == is_large]) for is_large in (False, True)
)


class TasksDataset(Dataset):
    """Sequence problems that take memory: first-symbol, temporal-order, parity, adding; needs no download.

    A sequence is a text of exactly ``length`` short words. Words are counted from 0, and whatever is drawn is drawn
    uniformly.

    - ``first-symbol``: words from a, b, c, d; the label is the first of them and the rest is noise. It has four classes.
      This is the latch problem of Bengio, Simard and Frasconi 1994 ("Learning long-term dependencies with gradient
      descent is difficult"): only the first values tell the class. There the noise is smaller than the signal; here it
      is made of the same symbols, so that nothing but its place tells the first one.
    - ``temporal-order``: distractors from a, b, c, d, but for two words that are x or y each; the label is these two in
      their order: xx, xy, yx or yy. This is experiment 6a of Hochreiter and Schmidhuber 1997 ("Long short-term memory",
      section 5.6). The places scale with the length L: the first is drawn from L // 10 to L // 5, the second from L // 2
      to 3 L // 5, both ends included; for L = 100 those are the paper's 10 to 20 and 50 to 60. The paper's symbols of
      start and end are left out, since a classifier knows where a text ends, and all sequences have one length.
    - ``parity``: bits, labelled by whether the number of ones is even or odd. Every bit counts: one flip turns the label
      (Bengio et al. 1994; Hochreiter and Schmidhuber 1996, "Bridging long time lags by weight guessing and long short
      term memory", on what it proves and what not).
    - ``adding``: digits of which two are marked, "m7" for "7"; the label is whether these two sum to at least 10, and the
      other digits are noise. This is experiment 4 of Hochreiter and Schmidhuber 1997 (section 5.4) as a classification.
      One mark is in the first L // 2 words and one in the others, as in Arjovsky, Shah and Bengio 2016 ("Unitary
      evolution recurrent neural networks"). Here the order does not matter: a bag of words can solve it.

    Classes are balanced to one example in each split. Each class of each split has a random stream of its own. No text
    occurs twice, be it in one split or in two. Test is drawn first and train last, so that another ``train_size`` only
    lengthens or shortens train. The texts depend on the options alone: what is used of NumPy are the raw integers of
    ``PCG64``, which NumPy guarantees to stay the same.

    A text longer than the setting ``max_length`` is cut: raise it with ``length``.

    Args:
        task: The problem.
        length: Number of words of a text.
        train_size: Number of training texts.
        validation_size: Number of validation texts.
        test_size: Number of test texts.
        seed: Seed of the generator: another seed gives other texts.

    Raises:
        ConfigError: An option is out of range, or there are too few texts of this length: less than twice what is asked for.
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
        self._check_that_there_are_enough()

    def load(self) -> Splits:
        """Draw the sequences."""
        streams = SeedSequence(self.seed).spawn(3)
        seen: set[str] = set()
        test = self._draw_split(streams[0], self.test_size, seen)
        validation = self._draw_split(streams[1], self.validation_size, seen)
        train = self._draw_split(streams[2], self.train_size, seen)
        return Splits(train=train, validation=validation, test=test, label_names=_PROBLEMS[self.task].label_names)

    def fingerprint(self) -> str:
        """Return a hash of the options and the version of the drawing; draws nothing."""
        return hashlib.sha256(f"tasks {TASKS_VERSION} {sorted(self._identity.items())}".encode()).hexdigest()

    def _check_that_there_are_enough(self) -> None:
        problem = _PROBLEMS[self.task]
        sizes = (self.train_size, self.validation_size, self.test_size)
        needed = sum(math.ceil(size / len(problem.label_names)) for size in sizes)
        provided = problem.count(self.length)
        if 2 * needed > provided:
            raise ConfigError(
                f"data set tasks: {self.task} has {provided} sequences of length {self.length} in its smallest class, and "
                f"twice the {needed} that are asked for would be enough; give a larger length or smaller sizes"
            )

    def _draw_split(self, stream: SeedSequence, size: int, seen: set[str]) -> Split:
        """Draw ``size`` texts that are not in ``seen``, labels taking turns; adds them to ``seen``."""
        num_classes = len(_PROBLEMS[self.task].label_names)
        classes = [self._distinct_texts(label, PCG64(own), seen) for label, own in enumerate(stream.spawn(num_classes))]
        texts = [next(texts) for texts in islice(cycle(classes), size)]
        return Split(texts, np.arange(size, dtype=np.int64) % num_classes)

    def _distinct_texts(self, label: int, bits: PCG64, seen: set[str]) -> Iterator[str]:
        """Yield texts of a label without end; one that came before is left out."""
        while True:
            for words in _PROBLEMS[self.task].draw(bits, label, ROWS, self.length).tolist():
                text = " ".join(words)
                if text not in seen:
                    seen.add(text)
                    yield text


def relevant_places(length: int) -> tuple[range, range]:
    """Return where the two relevant symbols of ``temporal-order`` can stand."""
    return range(length // 10, length // 5 + 1), range(length // 2, 3 * length // 5 + 1)


def _draw_first_symbol(bits: PCG64, label: int, rows: int, length: int) -> Words:
    words = SYMBOLS[_integers(bits, len(SYMBOLS), rows, length)]
    words[:, 0] = SYMBOLS[label]
    return words


def _draw_temporal_order(bits: PCG64, label: int, rows: int, length: int) -> Words:
    words = SYMBOLS[_integers(bits, len(SYMBOLS), rows, length)]
    for places, symbol in zip(relevant_places(length), ORDERS[label], strict=True):
        words[np.arange(rows), places.start + _integers(bits, len(places), rows)] = symbol
    return words


def _draw_parity(bits: PCG64, label: int, rows: int, length: int) -> Words:
    values = _integers(bits, 2, rows, length)
    values[:, -1] = (values[:, :-1].sum(axis=1) + label) % 2
    return BITS[values]


def _draw_adding(bits: PCG64, label: int, rows: int, length: int) -> Words:
    words = DIGITS[_integers(bits, len(DIGITS), rows, length)].astype("<U2")
    addends = PAIRS[label][_integers(bits, len(PAIRS[label]), rows)]  # [rows, 2]
    for places, digits in zip((range(length // 2), range(length // 2, length)), addends.T, strict=True):
        words[np.arange(rows), places.start + _integers(bits, len(places), rows)] = np.char.add(MARK, DIGITS[digits])
    return words


def _integers(bits: PCG64, bound: int, *shape: int) -> NDArray[np.int64]:
    """Draw integers from 0 to ``bound`` - 1, from the upper 53 bits of the raw ones."""
    raw = bits.random_raw(math.prod(shape)).reshape(shape)
    return ((raw >> np.uint64(11)) * 2.0**-53 * bound).astype(np.int64)


@dataclass(frozen=True)
class _Problem:
    """A problem: the names of its labels, how many texts of a length its smallest class has, and how they are drawn."""

    label_names: tuple[str, ...]
    count: Callable[[int], int]
    draw: Drawing


_PROBLEMS: dict[str, _Problem] = {
    "first-symbol": _Problem(("a", "b", "c", "d"), lambda length: 4 ** (length - 1), _draw_first_symbol),
    "temporal-order": _Problem(
        ORDERS,
        lambda length: math.prod(map(len, relevant_places(length))) * 4 ** (length - 2),
        _draw_temporal_order,
    ),
    "parity": _Problem(("even", "odd"), lambda length: 2 ** (length - 1), _draw_parity),
    "adding": _Problem(
        ("below-10", "10-or-more"),
        lambda length: len(PAIRS[1]) * (length // 2) * ((length + 1) // 2) * 10 ** (length - 2),
        _draw_adding,
    ),
}
