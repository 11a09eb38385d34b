"""Splits: the examples of a data set with their labels and groups, and the names of the labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from seqcls.data.example_weights import as_weights
from seqcls.data.holdout import choose_folds, choose_held_out
from seqcls.data.labels import Label, are_in_range, names_of, note_values, pack_labels, sort_labels
from seqcls.data.pairs import check_pair, pairs_of
from seqcls.data.preprocessor import Kind
from seqcls.data.stored_texts import StoredTexts
from seqcls.data.usual_names import SPLIT_NAMES
from seqcls.errors import DataError
from seqcls.system.deprecation import warn_renamed


@dataclass(frozen=True, eq=False)
class Split(Sequence[tuple["str | NDArray[Any]", "int | tuple[int, ...] | None"]]):
    """The examples of one split, in a fixed order: (sequence, label), or (sequence, labels) if the data are multi-label.

    Attributes:
        sequences: N texts, or N arrays of numbers, float [T, D], each with its own T.
        labels: int64 [N], indices into ``Splits.label_names``; for multi-label data uint8 [N, K], 1 for each label that the
            sequence has; None if the split is unlabelled.
        groups: N names of what belongs together (a film, a patient); validation never shares a group with training.
        weights: float64 [N], how much each example counts in the training loss, at least 0; None if all count the same.
            Only those of the training split are used.
    """

    sequences: Sequence[Any]
    labels: NDArray[Any] | None = None
    groups: Sequence[str] | None = None
    weights: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.weights is not None:
            object.__setattr__(self, "weights", as_weights(self.weights))  # a list will do
        for name, values in (("labels", self.labels), ("groups", self.groups), ("weights", self.weights)):
            if values is not None and len(values) != len(self.sequences):
                noun = "texts" if self.kind == "text" else "sequences"
                raise DataError(f"a split has {len(self.sequences)} {noun} but {len(values)} {name}; give one per example")

    @property
    def kind(self) -> Kind:
        """Whether the sequences are texts, or arrays of numbers; an empty split counts as texts."""
        return "text" if not len(self.sequences) or isinstance(self.sequences[0], str) else "features"

    @property
    def is_text(self) -> bool:
        """Deprecated: whether ``kind`` is "text"."""
        warn_renamed('Split.is_text is now kind == "text"')
        return self.kind == "text"

    @property
    def texts(self) -> Sequence[str]:
        """The sequences of a split of texts; DataError if they are numbers."""
        if self.kind != "text":
            raise DataError("the data are sequences of numbers, but texts are needed")
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
        chosen, sequences = np.fromiter(indices, dtype=np.int64), self.sequences
        return Split(
            sequences.take(chosen) if isinstance(sequences, StoredTexts) else [sequences[index] for index in chosen],
            labels=None if self.labels is None else self.labels[chosen],
            groups=None if self.groups is None else [self.groups[index] for index in chosen],
            weights=None if self.weights is None else self.weights[chosen],
        )

    def joined(self, other: Split) -> Split:
        """Return the examples of this split and then those of the other one, which has labels if this one has."""
        is_stored = isinstance(self.sequences, StoredTexts) or isinstance(other.sequences, StoredTexts)
        sequences = chain(self.sequences, other.sequences)
        labels = None if self.labels is None or other.labels is None else np.concatenate([self.labels, other.labels])
        groups, weights = None, None
        if self.groups is not None and other.groups is not None:
            groups = [*self.groups, *other.groups]
        if self.weights is not None or other.weights is not None:
            both = (np.ones(len(split)) if split.weights is None else split.weights for split in (self, other))
            weights = np.concatenate(list(both))
        return Split(StoredTexts.write(sequences) if is_stored else list(sequences), labels, groups, weights)

    def digest(self, label_names: Sequence[str]) -> str:
        """Return a hash of the sequences and of the names of their labels, in their order."""
        digest = hashlib.sha256()
        for sequence, label in self:
            names = [label_names[index] for index in ((label,) if isinstance(label, int) else label or ())]
            is_text = isinstance(sequence, str)
            content = sequence.encode("utf-8", "surrogatepass") if is_text else np.ascontiguousarray(sequence).tobytes()
            digest.update(f"{len(content) if is_text else np.shape(sequence)} {names!r} ".encode("utf-8", "surrogatepass"))
            digest.update(content)
        return digest.hexdigest()

    def hold_out(self, *, fraction: float, seed: int) -> tuple[Split, Split]:
        """Divide the split into a larger part and one of about ``fraction``; see `choose_held_out`."""
        assert self.labels is not None
        held_out = choose_held_out(self.labels, groups=self.groups, fraction=fraction, seed=seed)
        return self.take(np.flatnonzero(~held_out)), self.take(np.flatnonzero(held_out))


@dataclass(frozen=True, eq=False)
class Splits:
    """The splits of a data set: ``train`` is labelled and not empty; the others may be missing.

    Attributes:
        train, validation, test, unlabelled: The splits.
        label_names: The names of the labels, to which the labels of the splits are indices.
        label_values: The labels that were given as int or bool, by their names.
    """

    train: Split
    validation: Split | None = None
    test: Split | None = None
    unlabelled: Split | None = None
    label_names: tuple[str, ...] = ()
    label_values: Mapping[str, bool | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.train):
            raise DataError("the training split is empty; give at least one example of each of two classes")
        if self.train.weights is not None and not self.train.weights.any():
            raise DataError("every training example has the weight 0; give at least one a weight above 0")
        if len(self.label_names) < 2:
            raise DataError(f"a classifier needs at least two labels; the data have {list(self.label_names)}")
        if len(set(self.label_names)) < len(self.label_names):
            raise DataError(f"two labels have the same name: {list(self.label_names)[:20]}")
        for name, split in self.labelled().items():
            if split.labels is None:
                raise DataError(f"the {name} split has no labels; only the split 'unlabelled' may have none")
            if split.labels.ndim != 1 + self.is_multi_label or not are_in_range(split.labels, len(self.label_names)):
                raise DataError(
                    f"the {name} split has labels outside 0..{len(self.label_names) - 1} "
                    f"(label names: {list(self.label_names)[:20]})"
                )

    @property
    def is_multi_label(self) -> bool:
        """Whether a sequence may have several labels, or none."""
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
        weights: Iterable[Any] | None = None,
    ) -> Splits:
        """Build splits from (sequence, label) pairs; ``weights`` are those of the training examples, see `Split`.

        Labels are strings, integers or Booleans, also those of NumPy, and have names: 1, 1.0 and "1" are one label. The
        ``label_names`` are sorted: integers as numbers, others as strings. The data are multi-label if every label is a list
        (or tuple) of labels.

        Raises:
            DataError: An item is not a (sequence, label) pair, a label of validation or test never occurs in train, or a
                weight is not a finite number of at least 0.
        """
        pairs = {"train": list(train)}
        pairs |= {name: list(items) for name, items in (("validation", validation), ("test", test)) if items is not None}
        for name, items in pairs.items():
            pairs[name] = [check_pair(item, f"{name}[{index}]") for index, item in enumerate(items)]
        labels = [label for items in pairs.values() for _, label in items]
        is_multi_label = bool(labels) and all(isinstance(label, list | tuple) for label in labels)
        if not is_multi_label and any(isinstance(label, list | tuple) for label in labels):
            raise DataError("some labels are lists and others are not; give every example a list, or none")
        sets = {name: [names_of(label) for _, label in items] for name, items in pairs.items()}
        values: dict[str, bool | int] = {}
        for _, label in pairs["train"]:
            note_values(values, label)
        kinds = {isinstance(text, str) for items in pairs.values() for text, _ in items}
        if len(kinds) > 1:
            raise DataError("some sequences are texts and some are numbers; give one kind only")
        label_names = sort_labels(set(chain.from_iterable(sets["train"])))
        index_of = {label: index for index, label in enumerate(label_names)}
        for name, label_sets in sets.items():
            unseen = sorted({str(label) for label in chain.from_iterable(label_sets) if label not in index_of})
            if unseen:
                raise DataError(f"labels {unseen[:20]} occur in {name} but never in train (which has {label_names[:20]})")
        splits = {}
        for name, label_sets in sets.items():
            indices = [tuple(index_of[label] for label in label_set) for label_set in label_sets]
            splits[name] = Split(
                [text for text, _ in pairs[name]], pack_labels(indices, len(index_of) if is_multi_label else None)
            )
        if weights is not None:
            splits["train"] = replace(splits["train"], weights=as_weights(weights))
        return cls(**splits, label_names=tuple(label_names), label_values=values)

    @classmethod
    def of(
        cls,
        data: object,
        *,
        text_column: str | None = None,
        label_column: str | None = None,
        weights: Iterable[Any] | None = None,
    ) -> Splits:
        """Build splits from what a Python program holds.

        Args:
            data: (sequence, label) pairs, from any iterable; a (sequences, labels) pair of two equally long sequences; a
                data frame of pandas or polars; a ``Dataset`` of Hugging Face; or a dict of these by split name, such as a
                ``DatasetDict``. A *tuple* of two sequences is always read as (sequences, labels): pass pairs as a list.
            text_column: Column of the sequence, for tables; by default the first with a usual name.
            label_column: Column of the label, likewise.
            weights: N weights of the training examples in the loss, such as ``frame["weight"]``; see `Split`.

        Raises:
            DataError: It is none of these, or lacks a column; or a weight is not a finite number of at least 0.
        """
        columns = {"text_column": text_column, "label_column": label_column}
        if not isinstance(data, Mapping):
            return cls.from_pairs(pairs_of(data, **columns), weights=weights)
        tables = {SPLIT_NAMES[name]: table for name, table in data.items() if name in SPLIT_NAMES}
        if "train" not in tables:
            raise DataError(
                f"there is no split named train; there are {list(data)[:20]}; if these are columns, pass two of them as a "
                "pair, (data['text'], data['label'])"
            )
        return cls.from_pairs(**{name: pairs_of(table, **columns) for name, table in tables.items()}, weights=weights)

    def digest_of(self, name: str) -> str | None:
        """Return the `Split.digest` of a labelled split; None if there is no such split."""
        split = self.labelled().get(name)
        return None if split is None else split.digest(self.label_names)

    def digests(self) -> dict[str, str]:
        """Return the `Split.digest` of each labelled split, by name."""
        return {name: split.digest(self.label_names) for name, split in self.labelled().items()}

    def with_validation(self, *, fraction: float, seed: int) -> Splits:
        """Move about ``fraction`` of train into a validation split; see `choose_held_out`."""
        if self.validation is not None:
            raise DataError("the data set already has a validation split")
        train, validation = self.train.hold_out(fraction=fraction, seed=seed)
        return replace(self, train=train, validation=validation)

    def folds(self, count: int, *, seed: int) -> list[Splits]:
        """Return a cross-validation of train: splits whose validation splits are its folds; see `choose_folds`."""
        assert self.train.labels is not None
        fold_of = choose_folds(self.train.labels, groups=self.train.groups, count=count, seed=seed)
        return [
            Splits(
                self.train.take(np.flatnonzero(fold_of != fold)),
                self.train.take(np.flatnonzero(fold_of == fold)),
                label_names=self.label_names,
                label_values=self.label_values,
            )
            for fold in range(int(fold_of.max()) + 1)
        ]

    def with_all_in_training(self) -> Splits:
        """Move the examples of the validation split, if there is one, into train."""
        if self.validation is None:
            return self
        return replace(self, train=self.train.joined(self.validation), validation=None)

    def fingerprint(self) -> str:
        """Return a hash of every text, label, group and weight."""
        digest = hashlib.sha256(repr(self.label_names).encode())
        for name, split in self.labelled().items():
            digest.update(f"{name} {len(split)}".encode())
            for index, (text, label) in enumerate(split):
                group = split.groups[index] if split.groups is not None else None
                content = text if isinstance(text, str) else (np.shape(text), np.asarray(text).tobytes())
                digest.update(repr((content, label, group)).encode("utf-8", "surrogatepass"))
            if split.weights is not None:
                digest.update(split.weights.tobytes())
        return digest.hexdigest()
