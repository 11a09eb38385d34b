"""What a data set is: splits of (sequence, label) examples, label names, groups, and a fingerprint."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, ClassVar, Literal, Self, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from seqcls.data.stored_texts import StoredTexts
from seqcls.errors import DataError

Label = int | str | Sequence[str]
L = TypeVar("L", int, str, int | str)

USUAL_COLUMNS = {
    "text": ("text", "review", "sentence", "content", "message", "document", "comment", "body", "tweet", "sms", "title"),
    "label": ("label", "sentiment", "class", "target", "category", "labels", "tag", "topic", "y"),
    "group": (),
}
"""Names that columns are known by, the first that is there."""

SPLIT_NAMES = {"train": "train", "training": "train", "test": "test"}
SPLIT_NAMES |= dict.fromkeys(("validation", "valid", "val", "dev"), "validation")
"""Names of files, folders and tables, and the splits they mean."""


@dataclass(frozen=True, eq=False)
class Split(Sequence[tuple["str | NDArray[Any]", "int | tuple[int, ...] | None"]]):
    """Examples of one split, in a fixed order: (sequence, label), or (sequence, labels) where one may have several.

    Attributes:
        sequences: N texts, or N sequences of numbers, float [T, D] each with its own T.
        labels: int64 [N], indices into ``Splits.label_names``; or, where a sequence may have several labels, uint8 [N, K],
            1 for each it has; None where the split is unlabelled.
        groups: N group names (a movie, a patient); a validation split never shares one with training.
    """

    sequences: Sequence[Any]
    labels: NDArray[Any] | None = None
    groups: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name, values in (("labels", self.labels), ("groups", self.groups)):
            if values is not None and len(values) != len(self.sequences):
                what = "texts" if self.is_text else "sequences"
                raise DataError(f"a split has {len(self.sequences)} {what} but {len(values)} {name}; give one per text")

    @property
    def is_text(self) -> bool:
        """Whether the sequences are texts, and not numbers."""
        return not len(self.sequences) or isinstance(self.sequences[0], str)

    @property
    def texts(self) -> Sequence[str]:
        """The sequences, if they are texts; DataError if they are numbers."""
        if not self.is_text:
            raise DataError("the data are sequences of numbers, where texts are needed")
        return self.sequences

    def __len__(self) -> int:
        return len(self.sequences)

    @overload
    def __getitem__(self, index: int) -> tuple[str | NDArray[Any], int | tuple[int, ...] | None]: ...
    @overload
    def __getitem__(self, index: slice) -> Split: ...
    def __getitem__(self, index: int | slice) -> tuple[str | NDArray[Any], int | tuple[int, ...] | None] | Split:
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        return self.sequences[index], self._label(index)

    def __iter__(self) -> Iterator[tuple[Any, int | tuple[int, ...] | None]]:
        return ((sequence, self._label(index)) for index, sequence in enumerate(self.sequences))

    def _label(self, index: int) -> int | tuple[int, ...] | None:
        if self.labels is None:
            return None
        label = self.labels[index]
        return int(label) if self.labels.ndim == 1 else tuple(map(int, np.flatnonzero(label)))

    def take(self, indices: Iterable[int]) -> Split:
        """Return the examples at ``indices``, in that order."""
        chosen, stored = np.fromiter(indices, dtype=np.int64), self.sequences
        return Split(
            stored.take(chosen) if isinstance(stored, StoredTexts) else [stored[index] for index in chosen],
            labels=None if self.labels is None else self.labels[chosen],
            groups=None if self.groups is None else [self.groups[index] for index in chosen],
        )

    def hold_out(self, *, fraction: float, seed: int) -> tuple[Split, Split]:
        """Return all but about a ``fraction``, and that: seeded, stratified by label, whole groups only."""
        assert self.labels is not None
        held_out = choose_validation(self.labels, groups=self.groups, fraction=fraction, seed=seed)
        return self.take(np.flatnonzero(~held_out)), self.take(np.flatnonzero(held_out))


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
            if split.labels.ndim != 1 + self.is_multi_label or not _are_in_range(split.labels, len(self.label_names)):
                raise DataError(
                    f"the {name} split has labels outside 0..{len(self.label_names) - 1} "
                    f"(label names: {list(self.label_names)})"
                )

    @property
    def is_multi_label(self) -> bool:
        """Whether a text may have several labels, or none."""
        return self.train.labels is not None and self.train.labels.ndim == 2

    def labelled(self) -> dict[str, Split]:
        """Return the splits that are present and carry labels, by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}

    @classmethod
    def from_pairs(
        cls,
        train: Iterable[tuple[Any, Label]],
        *,
        validation: Iterable[tuple[Any, Label]] | None = None,
        test: Iterable[tuple[Any, Label]] | None = None,
    ) -> Splits:
        """Build splits from (text, label) pairs; labels are strings or integers, their names sorted.

        Where every label is a list (or tuple) of strings, a text may have any number of labels.

        Raises:
            DataError: An item is not a (text, label) pair, or a label in validation or test never occurs in train.
        """
        pairs = {"train": list(train)}
        pairs |= {name: list(items) for name, items in (("validation", validation), ("test", test)) if items is not None}
        for name, items in pairs.items():
            for index, item in enumerate(items):
                check_pair(item, f"{name}[{index}]")
        labels = [label for items in pairs.values() for _, label in items]
        is_multi = bool(labels) and all(isinstance(label, list | tuple) for label in labels)
        if not is_multi and any(isinstance(label, list | tuple) for label in labels):
            raise DataError("some labels are lists and some are not; give each text a list, or none")
        sets = {name: [_as_set(label) for _, label in items] for name, items in pairs.items()}
        kinds = {isinstance(text, str) for items in pairs.values() for text, _ in items}
        if len(kinds) > 1:
            raise DataError("some sequences are texts and some are numbers; give only one kind")
        label_names = sort_labels(set(chain.from_iterable(sets["train"])))
        index_of = {label: index for index, label in enumerate(label_names)}
        for name, found in sets.items():
            unseen = sorted({str(label) for label in chain.from_iterable(found) if label not in index_of})
            if unseen:
                raise DataError(f"labels {unseen} occur in {name} but never in train (which has {label_names})")
        splits = {}
        for name, found in sets.items():
            indices = [tuple(index_of[label] for label in labels) for labels in found]
            splits[name] = Split(
                [text for text, _ in pairs[name]], pack_labels(indices, len(index_of) if is_multi else None)
            )
        return cls(**splits, label_names=tuple(map(str, label_names)))

    @classmethod
    def of(cls, data: object, *, text_column: str | None = None, label_column: str | None = None) -> Splits:
        """Build splits from what Python has: (text, label) pairs, or a `Dataset` or `DatasetDict` of Hugging Face.

        Args:
            data: Pairs, from any iterable; or a table whose rows are mappings, or a mapping of tables by split name.
            text_column: Column of the text; by default the first with a usual name.
            label_column: Column of the label.

        Raises:
            DataError: It is none of these, or lacks a column.
        """
        if isinstance(data, Mapping):
            tables = {SPLIT_NAMES[name]: table for name, table in data.items() if name in SPLIT_NAMES}
            if "train" not in tables:
                raise DataError(f"there is no split named train; there are {list(data)}")
            return cls.from_pairs(**{name: _as_pairs(table, text_column, label_column) for name, table in tables.items()})
        return cls.from_pairs(_as_pairs(data, text_column, label_column))

    def with_validation(self, *, fraction: float, seed: int) -> Splits:
        """Move a ``fraction`` of train into a validation split: seeded, stratified by label, whole groups only."""
        if self.validation is not None:
            raise DataError("the data set has a validation split already")
        train, validation = self.train.hold_out(fraction=fraction, seed=seed)
        return replace(self, train=train, validation=validation)

    def fingerprint(self) -> str:
        """Return a hash of every text, label and group."""
        digest = hashlib.sha256(repr(self.label_names).encode())
        for name, split in self.labelled().items():
            digest.update(f"{name} {len(split)}".encode())
            for index, (text, label) in enumerate(split):
                group = split.groups[index] if split.groups is not None else None
                what = text if isinstance(text, str) else (np.shape(text), np.asarray(text).tobytes())
                digest.update(repr((what, label, group)).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def _as_pairs(table: Any, text_column: str | None, label_column: str | None) -> Iterable[tuple[Any, Label]]:
    columns = getattr(table, "column_names", None)
    if not isinstance(columns, list):
        if not isinstance(table, Iterable) or isinstance(table, str | bytes):
            raise DataError(f"a {type(table).__name__} is no data; give (text, label) pairs, Splits, a data set, or a path")
        return table
    text, label = find_column(columns, "text", text_column), find_column(columns, "label", label_column)
    names = getattr(table.features.get(label), "names", None)  # of a ClassLabel; -1 stands for no label
    for number, row in enumerate(table):
        if row[text] is None or row[label] is None or (names and row[label] == -1):
            raise DataError(f"row {number} has no {'text' if row[text] is None else 'label'}")
    return ((row[text], names[row[label]] if names else row[label]) for row in table)


def find_column(columns: Sequence[str], role: str, wanted: str | None) -> str:
    """Return the column of the text or label: the one that is asked for, else the first with a usual name.

    Raises:
        DataError: There is none.
    """
    folded = {name.casefold(): name for name in reversed(columns)}
    if wanted is not None:
        column = wanted if wanted in columns else folded.get(wanted.casefold())
    else:
        column = next((folded[name] for name in USUAL_COLUMNS[role] if name in folded), None)
    if column is None:
        what = f"no column {wanted!r}" if wanted is not None else f"no column that is known to hold the {role}"
        raise DataError(f"{what}; there are {list(columns)}")
    return column


def pack_labels(indices: Sequence[tuple[int, ...]], num_labels: int | None) -> NDArray[Any]:
    """Return the labels of N texts as int64 [N], or, if ``num_labels`` is given, as uint8 [N, num_labels]."""
    counts = np.fromiter(map(len, indices), dtype=np.int64, count=len(indices))
    flat = np.fromiter(chain.from_iterable(indices), dtype=np.int64, count=int(counts.sum()))
    if num_labels is None:
        return flat
    labels = np.zeros((len(indices), num_labels), dtype=np.uint8)
    labels[np.repeat(np.arange(len(indices)), counts), flat] = 1
    return labels


def _as_set(label: Label) -> tuple[int | str, ...]:
    return (label,) if isinstance(label, int | str) else tuple(dict.fromkeys(label))


def _are_in_range(labels: NDArray[Any], count: int) -> bool:
    if labels.ndim == 2:
        return labels.shape[1] == count and bool((labels <= 1).all())
    return not len(labels) or 0 <= int(labels.min()) <= int(labels.max()) < count


def sort_labels(labels: Iterable[L]) -> list[L]:
    """Sort the names of labels: integers, and strings that are all integers, as numbers (2 before 10); others as strings."""
    names = list(labels)
    if all(isinstance(name, str) and re.fullmatch(r"[+-]?\d{1,18}", name) for name in names):
        return sorted(names, key=lambda name: (int(name), str(name)))
    return sorted(names, key=lambda name: (isinstance(name, str), name))


def check_pair(item: object, where: str) -> tuple[Any, Label]:
    """Return ``item`` if it is a (text, label) or (numbers, label) pair; DataError names ``where`` it stands otherwise."""
    if not (isinstance(item, tuple | list) and len(item) == 2):
        raise DataError(f"{where} is {item!r:.80}; give (text, label) pairs")
    text, label = item
    if not isinstance(text, str) and not hasattr(text, "__len__"):
        raise DataError(f"{where} has a {type(text).__name__} as text; give a str, or numbers [T, D]")
    is_list = isinstance(label, list | tuple) and all(isinstance(name, str) for name in label)
    if not (isinstance(label, int | str) or is_list) or isinstance(label, bool):
        raise DataError(f"{where} has the label {label!r:.80}; give an int or a str, or a list of str")
    return text, label


def choose_validation(
    labels: NDArray[Any], *, groups: Sequence[str] | None, fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Choose examples to hold out: about ``fraction`` of each class, and whole groups only.

    Groups are visited in seeded random order and taken while no class they hold exceeds its share; with no groups, each
    example is its own group, so that the shares come out exact to one example a class. Where a text may have several labels,
    each label is a class, and so is having none.

    Args:
        labels: int64 [N], or uint8 [N, K].
        groups: N names, or None.
        fraction: Share to hold out.
        seed: Seed of the order.

    Returns:
        bool [N], True where the example is held out.

    Raises:
        DataError: Nothing, or everything, would be held out.
    """
    if not 0 < fraction < 1:
        raise DataError(f"the validation fraction is {fraction}; give a number between 0 and 1")
    if groups is None and labels.ndim == 1:
        held_out, num_groups = _choose_singly(labels, fraction, seed), len(labels)
    else:
        group_of = np.arange(len(labels)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        held_out, num_groups = _choose_groups(labels, group_of, fraction, seed), int(group_of.max()) + 1
    if not held_out.any() or held_out.all():
        raise DataError(
            f"{len(labels)} training examples in {num_groups} groups are too few to hold out {fraction:.0%} "
            "for validation; give a validation split or more data"
        )
    return held_out


def _choose_singly(labels: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.bool_]:
    order = np.random.default_rng(seed).permutation(len(labels))
    held_out = np.zeros(len(labels), dtype=bool)
    for label, wanted in enumerate(np.round(np.bincount(labels) * fraction).astype(np.int64)):
        held_out[order[labels[order] == label][:wanted]] = True
    return held_out


def _choose_groups(labels: NDArray[Any], group_of: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.bool_]:
    if labels.ndim == 2:
        classes = np.hstack([labels, ~labels.any(axis=1, keepdims=True)]).astype(np.int64)
    else:
        classes = np.eye(int(labels.max()) + 1, dtype=np.int64)[labels]
    num_groups = int(group_of.max()) + 1
    counts = np.zeros((num_groups, classes.shape[1]), dtype=np.int64)
    np.add.at(counts, group_of, classes)
    wanted = np.round(counts.sum(axis=0) * fraction).astype(np.int64)
    taken = np.zeros_like(wanted)
    chosen = np.zeros(num_groups, dtype=bool)
    for group in np.random.default_rng(seed).permutation(num_groups):
        if np.all(taken + counts[group] <= wanted):
            taken += counts[group]
            chosen[group] = True
    held_out: NDArray[np.bool_] = chosen[group_of]
    return held_out


class Dataset(ABC):
    """A named source of splits. The keyword arguments of ``__init__`` are its options.

    Attributes:
        gives: Whether the sequences are texts, or numbers.
        options: Those that it was given, kept here by the base class so that a saved run can build it again.
    """

    gives: ClassVar[Literal["text", "features"]] = "text"
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
