from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from seqcls.data.datasets.base import Dataset
from seqcls.data.holdout import choose_held_out
from seqcls.data.splits import Split, Splits
from seqcls.errors import DataError

PAIRS = [("a film", "good"), ("a book", "bad"), ("a play", "good")]


def test_pairs_become_splits_with_sorted_label_names() -> None:
    splits = Splits.from_pairs(PAIRS, test=[("an opera", "bad")])
    assert splits.label_names == ("bad", "good")
    assert list(splits.train) == [("a film", 1), ("a book", 0), ("a play", 1)]
    assert splits.test is not None
    assert list(splits.test) == [("an opera", 0)]
    assert splits.validation is None


def test_integer_labels_are_sorted_as_numbers() -> None:
    splits = Splits.from_pairs([("a", 10), ("b", 2), ("c", -1)])
    assert splits.label_names == ("-1", "2", "10")


def test_pairs_may_come_from_a_generator() -> None:
    assert len(Splits.from_pairs(pair for pair in PAIRS).train) == 3


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([], None, "training split is empty"),
        ([("a", "x")], None, "at least two labels"),
        ([("a", "1"), ("b", 1)], None, "at least two labels"),
        ([*PAIRS, "no pair"], None, r"train\[3\] is 'no pair'; give \(text, label\) pairs"),
        ([*PAIRS, ("a", "b", "c")], None, r"train\[3\]"),
        ([*PAIRS, (3, "good")], None, r"train\[3\]"),
        ([*PAIRS, ("a", 0.5)], None, r"train\[3\]"),
        ([*PAIRS, ("a", None)], None, r"train\[3\]"),
        (PAIRS, [("a", "superb")], r"labels \['superb'\] occur in test but never in train"),
        (PAIRS, [("a", "good"), None], r"test\[1\]"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_with_its_place(train: Any, test: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Splits.from_pairs(train, test=test)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Split(["a", "b"], np.array([0])), "2 texts but 1 labels"),
        (lambda: Split(["a"], np.array([0]), ["x", "y"]), "1 texts but 2 groups"),
        (lambda: Split(["a"], weights=np.ones(2)), "1 texts but 2 weights"),
        (lambda: Split(["a"] * 3, weights=[1, "x", 2]), r"weights\[1\] is 'x'; give a finite number of at least 0"),
        (lambda: Split(["a", "b"], weights=np.array([1, -0.5])), r"weights\[1\] is -0\.5"),
        (lambda: Split(["a", "b"], weights=np.array([np.nan, 1])), r"weights\[0\] is nan"),
        (lambda: Split(["a", "b"], weights=[1e400, 1]), r"weights\[0\] is inf"),
        (lambda: Split(["a", "b"], weights=[True, 1]), r"weights\[0\] is True"),
        (lambda: Split(["a", "b"], weights=[1e308, 1e308]), "add up to more than a float can hold"),
        (lambda: Split(["a", "b"], weights=np.ones((2, 1))), r"shape \[2, 1\]; give one number per example"),
        (lambda: Splits(Split(["a"], np.array([0]), weights=[0]), label_names=("x", "y")), "every .* has the weight 0"),
        (lambda: Splits(Split(["a"]), label_names=("x", "y")), "train split has no labels"),
        (lambda: Splits(Split(["a"], np.array([2])), label_names=("x", "y")), r"labels outside 0\.\.1"),
        (lambda: Splits(Split(["a"], np.array([-1])), label_names=("x", "y")), r"labels outside 0\.\.1"),
    ],
)
def test_splits_that_do_not_fit_together_are_refused(build: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        build()


def test_weights_stay_with_their_examples() -> None:
    weights = [0.0, 1.0, 2.5, 1, 1, 1, 0, 1, 3, 1]
    labels, groups = np.arange(10) % 2, [str(number // 2) for number in range(10)]
    split = Split([str(number) for number in range(10)], labels, groups, weights=np.array(weights))
    part = split[3:1:-1]
    assert part.weights is not None
    assert part.weights.tolist() == [1.0, 2.5]
    splits = Splits(split, label_names=("even", "odd")).with_validation(fraction=0.3, seed=0)
    for held in (splits.train, splits.validation):
        assert held is not None
        assert held.weights is not None
        assert held.weights.tolist() == [weights[int(text)] for text in held.texts]
    assert splits.fingerprint() != replace(splits, train=replace(splits.train, weights=None)).fingerprint()


def test_a_split_is_a_sequence() -> None:
    split = Split(["a", "b", "c"], np.array([0, 1, 0]), ["x", "y", "z"])
    assert split[1] == ("b", 1)
    assert split[-1] == ("c", 0)
    part = split[::2]
    assert list(part) == [("a", 0), ("c", 0)]
    assert part.groups == ["x", "z"]
    assert Split(["a"])[0] == ("a", None)


@given(data=st.data())
def test_held_out_groups_are_whole_and_no_class_exceeds_its_share(data: st.DataObject) -> None:
    size = data.draw(st.integers(4, 200))
    labels = np.array(data.draw(st.lists(st.integers(0, 2), min_size=size, max_size=size)))
    groups = data.draw(st.none() | st.lists(st.sampled_from("abcdefghij"), min_size=size, max_size=size))
    fraction, seed = data.draw(st.floats(0.05, 0.6)), data.draw(st.integers(0, 9))
    try:
        held_out = choose_held_out(labels, groups=groups, fraction=fraction, seed=seed)
    except DataError as error:
        event("too few examples or groups")
        if "validation split" not in str(error):
            raise
        return
    assert 0 < held_out.sum() < size
    assert np.array_equal(held_out, choose_held_out(labels, groups=groups, fraction=fraction, seed=seed))
    wanted = [round(np.count_nonzero(labels == label) * fraction) for label in range(3)]
    found = [np.count_nonzero(held_out[labels == label]) for label in range(3)]
    names = np.arange(size) if groups is None else np.array(groups)
    assert not set(names[held_out]) & set(names[~held_out])
    counts = [[np.count_nonzero(labels[names == name] == label) for label in range(3)] for name in np.unique(names)]
    if not any(all(one <= other for one, other in zip(group, wanted, strict=True)) for group in counts):
        # No group fits into the shares. Then little is held out, and every class keeps an example.
        assert set(labels[~held_out]) == set(labels)
    elif groups is None:
        assert found == wanted
    else:
        assert all(one <= other for one, other in zip(found, wanted, strict=True))


def test_the_seed_chooses_which() -> None:
    labels = np.arange(1000) % 2
    first, second = (choose_held_out(labels, groups=None, fraction=0.1, seed=seed) for seed in (0, 1))
    assert first.sum() == second.sum() == 100
    assert (first & second).sum() < 40  # 10 expected


def test_validation_moves_out_of_train_and_nothing_is_lost() -> None:
    splits = Splits.from_pairs([(f"text {number}", number % 2) for number in range(100)])
    divided = splits.with_validation(fraction=0.2, seed=0)
    assert divided.validation is not None
    assert (len(divided.train), len(divided.validation)) == (80, 20)
    assert sorted([*divided.train.texts, *divided.validation.texts]) == sorted(splits.train.texts)
    with pytest.raises(DataError, match="already"):
        divided.with_validation(fraction=0.2, seed=0)


@pytest.mark.parametrize(
    "change",
    [
        {"train": [("a film", "good"), ("a book", "bad"), ("a play", "bad")]},
        {"train": [("a film!", "good"), *PAIRS[1:]]},
        {"train": [PAIRS[1], PAIRS[0], PAIRS[2]]},
        {"train": PAIRS[:2], "validation": PAIRS[2:]},
        {"test": PAIRS[:1]},
    ],
)
def test_the_fingerprint_tells_any_change(change: Any) -> None:
    base = Splits.from_pairs(PAIRS).fingerprint()
    assert base == Splits.from_pairs(list(PAIRS)).fingerprint()
    assert Splits.from_pairs(**{"train": PAIRS, **change}).fingerprint() != base


def test_a_data_set_written_for_0_1_says_gives_instead_of_kind() -> None:
    with pytest.warns(DeprecationWarning, match=r"Old\.gives is now called kind"):

        class Old(Dataset):
            gives = "features"

            def load(self) -> Splits:
                return Splits.from_pairs([([1.0], "a"), ([2.0], "b")])

    assert Old.kind == "features"
    assert Dataset.kind == "text"
