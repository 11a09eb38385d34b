"""The laws of a data set.

- Its options are the keyword-only parameters of ``__init__``; there are no ``*args`` and no ``**kwargs``.
- ``load`` returns the same splits each time, and ``fingerprint`` the same str, which is not empty.
- Texts are str; sequences of numbers are float [T, D], all with the same D.
- Labels are indices into the unique label names: int64 [N], or uint8 [N, labels] where a sequence may have several.
- Train and validation share no group.
"""

from __future__ import annotations

import numpy as np

from seqcls.data.datasets.base import Dataset
from seqcls.data.preprocessor import Kind
from seqcls.data.scaler import as_features
from seqcls.data.splits import Split, Splits
from seqcls.errors import DataError
from seqcls.testing.assertions import require, require_described_options


def check_dataset(dataset: Dataset) -> None:
    """Check that a data set keeps every law of `seqcls.testing.dataset_laws`; loads it twice.

    Example:
        >>> def test_my_data_set_keeps_the_laws():
        ...     check_dataset(MyDataset(path="a-few-examples.csv"))

    Raises:
        AssertionError: The data set breaks a law; the message says which.
    """
    name = type(dataset).__name__
    require(isinstance(dataset, Dataset), f"{name} does not derive from seqcls.Dataset")
    require_described_options(type(dataset))
    splits = dataset.load()
    require(isinstance(splits, Splits), f"{name}.load() returns {type(splits).__name__}, not Splits")
    for split_name, split in _all_splits(splits).items():
        _check_sequences(split, f"{name}, {split_name}", kind=dataset.kind)
        _check_labels(split, f"{name}, {split_name}", num_labels=len(splits.label_names))
    label_names = list(splits.label_names)
    require(all(isinstance(label, str) for label in label_names), f"{name}: label names must be str, got {label_names}")
    _check_groups(splits, name)
    _check_equal(splits, dataset.load(), name)
    _check_fingerprint(dataset, name)


def _all_splits(splits: Splits) -> dict[str, Split]:
    unlabelled = {} if splits.unlabelled is None else {"unlabelled": splits.unlabelled}
    return splits.labelled() | unlabelled


def _check_sequences(split: Split, where: str, *, kind: Kind) -> None:
    size = None
    for index, sequence in enumerate(split.sequences):
        if kind == "text":
            require(isinstance(sequence, str), f"{where}: text {index} is a {type(sequence).__name__}, not a str")
            continue
        try:
            size = as_features(sequence, size=size, where=f"sequence {index}").shape[1]
        except DataError as error:
            raise AssertionError(f"{where}: {error}") from error


def _check_labels(split: Split, where: str, *, num_labels: int) -> None:
    labels = split.labels
    if labels is None:
        return
    if isinstance(labels, np.ndarray) and labels.ndim == 2:
        is_valid = labels.dtype == np.uint8 and labels.shape[1] == num_labels and bool((labels <= 1).all())
        require(is_valid, f"{where}: labels with several per sequence must be uint8 [N, {num_labels}], each 0 or 1")
        return
    require(isinstance(labels, np.ndarray) and labels.dtype == np.int64, f"{where}: labels must be an int64 array")
    outside = np.flatnonzero((labels < 0) | (labels >= num_labels))
    if len(outside):
        first = int(outside[0])
        raise AssertionError(
            f"{where}: {len(outside)} labels are outside 0..{num_labels - 1}; the first is label {first}, {labels[first]}"
        )


def _check_groups(splits: Splits, name: str) -> None:
    # Only train and validation: a test split stays as it was published (IMDB's shares a film with train).
    if splits.validation is None or splits.train.groups is None or splits.validation.groups is None:
        return
    common = sorted(set(splits.train.groups) & set(splits.validation.groups))
    require(not common, f"{name}: {len(common)} groups are in both train and validation, such as {common[:3]}")


def _check_equal(first: Splits, second: Splits, name: str) -> None:
    require(first.label_names == second.label_names, f"{name}: loading twice gives different label names")
    before, after = _all_splits(first), _all_splits(second)
    require(before.keys() == after.keys(), f"{name}: loading twice gives different splits: {list(before)}, {list(after)}")
    for split_name, split in before.items():
        for part in ("sequences", "labels", "groups", "weights"):
            is_equal = _equal(getattr(split, part), getattr(after[split_name], part))
            require(is_equal, f"{name}: loading twice gives different {part} in {split_name}")


def _equal(first: object, second: object) -> bool:
    if first is None or second is None:
        return first is second
    return len(first) == len(second) and all(map(np.array_equal, first, second))  # type: ignore[arg-type, call-overload]


def _check_fingerprint(dataset: Dataset, name: str) -> None:
    first, second = dataset.fingerprint(), dataset.fingerprint()
    require(isinstance(first, str) and bool(first), f"{name}: fingerprint() must be a str that is not empty")
    require(first == second, f"{name}: fingerprint() changes from call to call: {first!r}, {second!r}")
