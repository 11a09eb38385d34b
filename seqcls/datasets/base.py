"""What a data set is: splits of (sequence, label) examples, label names, groups, and a fingerprint."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from seqcls.errors import DataError

Label = int | str


@dataclass(frozen=True, eq=False)
class Split(Sequence[tuple[str, int | None]]):
    """Examples of one split, in a fixed order.

    Attributes:
        texts: N texts.
        labels: int64 [N], indices into ``Splits.label_names``; None where the split is unlabelled.
        groups: N group names (a movie, a patient); a validation split never shares one with training.
    """

    texts: Sequence[str]
    labels: NDArray[np.int64] | None = None
    groups: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name, values in (("labels", self.labels), ("groups", self.groups)):
            if values is not None and len(values) != len(self.texts):
                raise DataError(f"a split has {len(self.texts)} texts but {len(values)} {name}; give one per text")

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, index: int) -> tuple[str, int | None]: ...
    @overload
    def __getitem__(self, index: slice) -> Split: ...
    def __getitem__(self, index: int | slice) -> tuple[str, int | None] | Split:
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        return self.texts[index], None if self.labels is None else int(self.labels[index])

    def __iter__(self) -> Iterator[tuple[str, int | None]]:
        return (self[index] for index in range(len(self)))

    def take(self, indices: Iterable[int]) -> Split:
        """Return the examples at ``indices``, in that order."""
        chosen = [int(index) for index in indices]
        return Split(
            texts=[self.texts[index] for index in chosen],
            labels=None if self.labels is None else self.labels[np.asarray(chosen, dtype=np.int64)],
            groups=None if self.groups is None else [self.groups[index] for index in chosen],
        )


@dataclass(frozen=True, eq=False)
class Splits:
    """The splits of a data set. ``train`` is labelled and not empty; the others may be missing."""

    train: Split
    validation: Split | None = None
    test: Split | None = None
    unlabelled: Split | None = None
    label_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.train):
            raise DataError("the training split is empty; give it at least one example of two classes")
        if len(self.label_names) < 2:
            raise DataError(f"a classifier needs at least two labels; the data has {list(self.label_names)}")
        if len(set(self.label_names)) < len(self.label_names):
            raise DataError(f"two labels have one name (are some integers and some strings?): {list(self.label_names)}")
        for name, split in self.labelled().items():
            if split.labels is None:
                raise DataError(f"the {name} split has no labels; only 'unlabelled' may do without")
            if len(split) and not 0 <= int(split.labels.min()) <= int(split.labels.max()) < len(self.label_names):
                raise DataError(
                    f"the {name} split has labels outside 0..{len(self.label_names) - 1} "
                    f"(label names: {list(self.label_names)})"
                )

    def labelled(self) -> dict[str, Split]:
        """Return the splits that are present and carry labels, by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}

    @classmethod
    def from_pairs(
        cls,
        train: Iterable[tuple[str, Label]],
        *,
        validation: Iterable[tuple[str, Label]] | None = None,
        test: Iterable[tuple[str, Label]] | None = None,
    ) -> Splits:
        """Build splits from (text, label) pairs; labels are strings or integers, their names sorted.

        Raises:
            DataError: An item is not a (text, label) pair, or a label in validation or test never occurs in train.
        """
        pairs = {"train": list(train)}
        pairs |= {name: list(items) for name, items in (("validation", validation), ("test", test)) if items is not None}
        for name, items in pairs.items():
            for index, item in enumerate(items):
                check_pair(item, f"{name}[{index}]")
        # Integers sort as numbers (2 before 10), strings as strings.
        label_names = sorted({label for _, label in pairs["train"]}, key=lambda label: (isinstance(label, str), label))
        index_of = {label: index for index, label in enumerate(label_names)}
        for name, items in pairs.items():
            unseen = sorted({str(label) for _, label in items if label not in index_of})
            if unseen:
                raise DataError(f"labels {unseen} occur in {name} but never in train (which has {label_names})")
        splits = {
            name: Split([text for text, _ in items], np.array([index_of[label] for _, label in items], dtype=np.int64))
            for name, items in pairs.items()
        }
        return cls(**splits, label_names=tuple(map(str, label_names)))

    def with_validation(self, *, fraction: float, seed: int) -> Splits:
        """Move a ``fraction`` of train into a validation split: seeded, stratified by label, whole groups only."""
        if self.validation is not None:
            raise DataError("the data set has a validation split already")
        labels = self.train.labels
        assert labels is not None  # checked in __post_init__
        held_out = choose_validation(labels, groups=self.train.groups, fraction=fraction, seed=seed)
        return replace(
            self, train=self.train.take(np.flatnonzero(~held_out)), validation=self.train.take(np.flatnonzero(held_out))
        )

    def fingerprint(self) -> str:
        """Return a hash of every text, label and group."""
        digest = hashlib.sha256(repr(self.label_names).encode())
        for name, split in self.labelled().items():
            digest.update(f"{name} {len(split)}".encode())
            for index, (text, label) in enumerate(split):
                group = split.groups[index] if split.groups is not None else None
                digest.update(repr((text, label, group)).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def check_pair(item: object, where: str) -> tuple[str, Label]:
    """Return ``item`` if it is a (text, label) pair; DataError names ``where`` it stands otherwise."""
    if not (isinstance(item, tuple | list) and len(item) == 2):
        raise DataError(f"{where} is {item!r:.80}; give (text, label) pairs")
    text, label = item
    if not isinstance(text, str):
        raise DataError(f"{where} has a {type(text).__name__} as text; give a str")
    if not isinstance(label, int | str) or isinstance(label, bool):
        raise DataError(f"{where} has the label {label!r:.80}; give an int or a str")
    return text, label


def choose_validation(
    labels: NDArray[np.int64], *, groups: Sequence[str] | None, fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Choose examples to hold out: about ``fraction`` of each class, and whole groups only.

    Groups are visited in seeded random order and taken while no class they hold exceeds its share; with no groups, each
    example is its own group, so that the shares come out exact to one example a class.

    Returns:
        bool [N], True where the example is held out.

    Raises:
        DataError: Nothing, or everything, would be held out.
    """
    if not 0 < fraction < 1:
        raise DataError(f"the validation fraction is {fraction}; give a number between 0 and 1")
    group_of = np.arange(len(labels)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    num_groups, num_classes = int(group_of.max()) + 1, int(labels.max()) + 1
    counts = np.zeros((num_groups, num_classes), dtype=np.int64)
    np.add.at(counts, (group_of, labels), 1)
    wanted = np.round(counts.sum(axis=0) * fraction).astype(np.int64)
    taken = np.zeros(num_classes, dtype=np.int64)
    chosen = np.zeros(num_groups, dtype=bool)
    for group in np.random.default_rng(seed).permutation(num_groups):
        if np.all(taken + counts[group] <= wanted):
            taken += counts[group]
            chosen[group] = True
    held_out: NDArray[np.bool_] = chosen[group_of]
    if not held_out.any() or held_out.all():
        raise DataError(
            f"{len(labels)} training examples in {num_groups} groups are too few to hold out {fraction:.0%} "
            "for validation; give a validation split or more data"
        )
    return held_out


class Dataset(ABC):
    """A named source of splits. The keyword arguments of ``__init__`` are its options.

    Attributes:
        options: Those that it was given, kept here by the base class so that a saved run can build it again.
    """

    options: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Note the options, whatever the subclass's ``__init__`` does with them."""
        del args
        dataset = super().__new__(cls)
        dataset.options = dict(kwargs)
        return dataset

    @abstractmethod
    def load(self) -> Splits:
        """Read the data.

        Raises:
            DataError: It is missing, damaged or incomplete.
        """

    def fingerprint(self) -> str:
        """Return a hash that changes when the data or an option changes.

        Override this where the source can be identified without reading all of it: then a cached, encoded copy opens
        without a call of ``load``.
        """
        return self.load().fingerprint()
