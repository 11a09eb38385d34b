"""Examples as they come from files, and how they are collected into splits."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqcls.data.labels import name_of, note_values, pack_labels, plain_label, sort_labels
from seqcls.data.splits import Split, Splits
from seqcls.data.stored_texts import StoredTexts
from seqcls.errors import DataError

Labels = tuple[str, ...]


class Example(NamedTuple):
    """A text with its labels, its group and its weight if there are columns of these, and where it stands.

    ``value`` is what holds the labels, if that is no text.
    """

    text: str
    labels: Labels
    group: str | None = None
    where: str = ""
    weight: float | None = None
    value: Any = None


def is_missing(value: object) -> bool:
    """Return whether a cell is empty."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def labels_of(value: object, delimiter: str | None) -> Labels | str | None:
    """Return the labels in a cell; None if it has none; a str that says what is wrong with it."""
    if isinstance(value, list | tuple):
        parts = [labels_of(part, None) for part in value]
        problem = next((part for part in parts if isinstance(part, str)), None)
        return problem or tuple(dict.fromkeys(chain.from_iterable(part for part in parts if isinstance(part, tuple))))
    if is_missing(value):
        return None if delimiter is None else ()
    value = plain_label(value)
    if isinstance(value, bool | int):
        return (name_of(value),)
    if isinstance(value, float):
        return f"the label {value!r} has a fraction; labels are names"
    if not isinstance(value, str):
        return f"the label is a {type(value).__name__}"
    if delimiter is not None:
        return tuple(dict.fromkeys(part.strip() for part in value.split(delimiter) if part.strip()))
    return (value.strip(),) if value.strip() else None


@dataclass(eq=False)
class Collected:
    """The examples of a split: texts on disk, labels as numbers of names, and where each name occurs first.

    Attributes:
        weights: float64 [N]; None if the examples have none.
        values: The labels that are int or bool, by their names.
    """

    texts: StoredTexts
    numbers: list[tuple[int, ...]]
    first_seen: dict[str, str]
    groups: list[str]
    weights: NDArray[np.float64] | None
    values: dict[str, bool | int]

    @classmethod
    def of(cls, examples: Iterable[Example]) -> Collected:
        """Collect examples as they come, their texts in a temporary file."""
        known: dict[Labels, tuple[int, ...]] = {}
        numbers: list[tuple[int, ...]] = []
        first_seen: dict[str, str] = {}
        number_of: dict[str, int] = {}
        groups: list[str] = []
        weights, values = array("d"), dict[str, bool | int]()

        def texts() -> Iterator[str]:
            for example in examples:
                if example.value is not None:
                    note_values(values, example.value)
                if example.labels not in known:
                    for name in example.labels:
                        first_seen.setdefault(name, example.where)
                    known[example.labels] = tuple(number_of.setdefault(name, len(number_of)) for name in example.labels)
                numbers.append(known[example.labels])  # one tuple for all examples with the same labels
                if example.group is not None:
                    groups.append(example.group)
                if example.weight is not None:
                    weights.append(example.weight)
                yield example.text

        stored = StoredTexts.write(texts())
        return cls(stored, numbers, first_seen, groups, np.array(weights, dtype=np.float64) if weights else None, values)

    def without_unknown(self, known: Collection[str]) -> tuple[Collected, list[str]]:
        """Return the examples whose labels are all known, and what is wrong with the labels of the others."""
        names = list(self.first_seen)
        unknown = {name: where for name, where in self.first_seen.items() if name not in known}
        problems = [f"{where}: the label {name!r} never occurs in training" for name, where in unknown.items()]
        if not problems:
            return self, []
        new_number = {old: new for new, old in enumerate(number for number, name in enumerate(names) if name in known)}
        rows = [row for row, numbers in enumerate(self.numbers) if all(number in new_number for number in numbers)]
        kept = replace(
            self,
            texts=self.texts.take(np.array(rows, dtype=np.int64)),
            numbers=[tuple(new_number[number] for number in self.numbers[row]) for row in rows],
            first_seen={name: where for name, where in self.first_seen.items() if name in known},
            groups=[self.groups[row] for row in rows] if self.groups else [],
            weights=None if self.weights is None else self.weights[rows],
        )
        return kept, problems

    def split(self, label_names: Sequence[str], *, is_multi_label: bool) -> Split:
        """Return the split, its labels as indices into ``label_names``."""
        index_of = {name: index for index, name in enumerate(label_names)}
        new_number = np.array([index_of[name] for name in self.first_seen], dtype=np.int64)
        if is_multi_label:
            indices = [tuple(new_number[list(numbers)].tolist()) for numbers in self.numbers]
            return Split(self.texts, pack_labels(indices, len(label_names)), self.groups or None, self.weights)
        numbers = np.fromiter((number for (number,) in self.numbers), dtype=np.int64, count=len(self.numbers))
        return Split(self.texts, new_number[numbers], self.groups or None, self.weights)


def join(collected: dict[str, Collected], *, is_multi_label: bool) -> Splits:
    """Join collected splits, labels numbered in the order of their names.

    Raises:
        DataError: There is no training example, or a label never occurs in training.
    """
    train = collected["train"]
    if not train.numbers:
        raise DataError("the training data have no rows")
    for name, split in collected.items():
        if not split.numbers:
            raise DataError(f"the {name} data have no row that can be used")
        unseen = [label for label in split.first_seen if label not in train.first_seen]
        if unseen:
            raise DataError(
                f"{split.first_seen[unseen[0]]}: the label {unseen[0]!r} occurs in {name}, but never in training, which has "
                f"{sort_labels(train.first_seen)[:20]}"
                + (f"; {len(unseen) - 1} more labels are unknown as well" if len(unseen) > 1 else "")
            )
    is_multi_label = is_multi_label or any(len(numbers) != 1 for split in collected.values() for numbers in split.numbers)
    names = sort_labels(train.first_seen)
    return Splits(
        **{name: split.split(names, is_multi_label=is_multi_label) for name, split in collected.items()},
        label_names=tuple(names),
        label_values=train.values,
    )
