"""`check_dataset` passes a data set that keeps the laws, and names the law that any other breaks."""

from __future__ import annotations

import itertools
import re
from typing import Any, ClassVar

import numpy as np
import pytest

from seqcls import Dataset, Split, Splits
from seqcls.testing import check_dataset


class Toy(Dataset):
    """Keeps every law; a subclass breaks one."""

    label_names: tuple[str, ...] = ("negative", "positive")
    texts: ClassVar[list[Any]] = ["good", "bad", "fine"]
    validation_groups: ClassVar[list[str]] = ["c"]

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    def load(self) -> Splits:
        train = Split(self.texts, np.array([1, 0, 1]), groups=["a", "b", "b"])
        validation = Split(["awful"], np.array([0]), groups=self.validation_groups)
        return Splits(train, validation=validation, unlabelled=Split(["so so"]), label_names=self.label_names)


class ReadsBytes(Toy):
    texts: ClassVar[list[Any]] = ["good", b"bad", "fine"]


class LeaksAGroup(Toy):
    validation_groups: ClassVar[list[str]] = ["b"]


class Shuffles(Toy):
    calls = itertools.count()

    def load(self) -> Splits:
        splits = super().load()
        return Splits(splits.train.take([next(self.calls) % 3, 1, 2]), label_names=splits.label_names)

    def fingerprint(self) -> str:
        return "constant"


class GainsASplit(Toy):
    calls = itertools.count()

    def load(self) -> Splits:
        splits = super().load()
        return splits if next(self.calls) else Splits(splits.train, label_names=splits.label_names)


class LabelsOutOfRange(Toy):
    def load(self) -> Splits:
        splits = super().load()
        assert splits.train.labels is not None
        splits.train.labels[1] = 2
        return splits


class LabelsWithFloats(Toy):
    def load(self) -> Splits:
        labels: Any = np.array([0.0, 1.0])
        return Splits(Split(["a", "b"], labels), label_names=self.label_names)


class ChangesItsFingerprint(Toy):
    calls = itertools.count()

    def fingerprint(self) -> str:
        return f"{next(self.calls)}"


class NumbersItsFingerprint(Toy):
    def fingerprint(self) -> str:
        return 5  # type: ignore[return-value]


class LoadsAList(Toy):
    def load(self) -> Splits:
        return []  # type: ignore[return-value]


class TakesKeywords(Toy):
    def __init__(self, **options: Any) -> None: ...


def test_a_data_set_that_keeps_every_law_passes() -> None:
    check_dataset(Toy())


@pytest.mark.parametrize(
    ("dataset_class", "message"),
    [
        (ReadsBytes, "ReadsBytes, train: text 1 is a bytes, not a str"),
        (LeaksAGroup, "1 groups are in both train and validation, such as ['b']"),
        (Shuffles, "loading twice gives different sequences in train"),
        (GainsASplit, "loading twice gives different splits"),
        (LabelsOutOfRange, "train: 1 labels are outside 0..1; the first is label 1, 2"),
        (LabelsWithFloats, "train: labels must be an int64 array"),
        (ChangesItsFingerprint, "fingerprint() changes from call to call"),
        (NumbersItsFingerprint, "fingerprint() must be a str"),
        (LoadsAList, "LoadsAList.load() returns list, not Splits"),
        (TakesKeywords, "takes **options"),
    ],
)
def test_a_data_set_that_breaks_a_law_is_told_which(dataset_class: type[Dataset], message: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(message)):
        check_dataset(dataset_class())


def test_a_list_is_refused() -> None:
    with pytest.raises(AssertionError, match="list does not derive from"):
        check_dataset([])  # type: ignore[arg-type]
