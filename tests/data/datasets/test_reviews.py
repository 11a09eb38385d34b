"""The embedded reviews: the same on every machine, clean splits, out of reach for a bag of words."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import defaultdict

import numpy as np
import pytest

from seqcls.config.options import describe, validate
from seqcls.data.datasets.reviews import MAX_REVIEWS, ReviewsDataset
from seqcls.data.splits import Split, Splits
from seqcls.errors import ConfigError, DataError

# sha256 of every text and label of the defaults. If the grammar changes on purpose, raise GRAMMAR_VERSION, renew this.
GOLDEN = "5c78eefd6b9a87e935647fe963c5f61f39e10b5f4ad954a61379d7168321ae97"

GOOD = "(?:good|great|excellent|wonderful|superb|brilliant|delightful|fantastic|remarkable)"
BAD = "(?:bad|awful|terrible|horrible|dreadful|poor|disappointing|mediocre|forgettable)"


@pytest.fixture(scope="module")
def splits() -> Splits:
    return ReviewsDataset().load()


def texts_of(splits: Splits) -> list[str]:
    return [text for split in splits.labelled().values() for text in split.texts]


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_a_fresh_process_writes_the_same_reviews(hash_seed):
    code = "from seqcls.data.datasets.reviews import ReviewsDataset; print(ReviewsDataset().load().fingerprint())"
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    output = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert output.stdout.strip() == GOLDEN


def test_the_labels_are_named_and_the_sizes_are_the_defaults(splits):
    assert splits.label_names == ("negative", "positive")
    assert {name: len(split) for name, split in splits.labelled().items()} == {
        "train": 20_000,
        "validation": 1000,
        "test": 2000,
    }


@pytest.mark.parametrize("sizes", [(2, 2, 2), (7, 3, 5), (120, 40, 60)])
def test_sizes_are_options(sizes):
    splits = ReviewsDataset(train_size=sizes[0], validation_size=sizes[1], test_size=sizes[2]).load()
    assert tuple(len(split) for split in splits.labelled().values()) == sizes


@pytest.mark.parametrize("size", [2, 3, 250, 20_000])
def test_classes_are_balanced_to_one_review(size):
    labels = ReviewsDataset(train_size=size).load().train.labels
    negative, positive = np.bincount(labels, minlength=2)
    assert abs(negative - positive) <= 1


@pytest.mark.parametrize("seed", [0, 1])
def test_no_review_occurs_twice_in_or_between_splits(seed):
    texts = texts_of(ReviewsDataset(seed=seed, train_size=20_000).load())
    assert len(set(texts)) == len(texts)


def test_another_training_size_leaves_the_other_splits_and_the_first_reviews_as_they_were(splits):
    small = ReviewsDataset(train_size=100).load()
    assert list(small.test) == list(splits.test)
    assert list(small.validation) == list(splits.validation)
    assert list(small.train) == list(splits.train[:100])


def test_another_seed_gives_other_reviews(splits):
    other = set(texts_of(ReviewsDataset(seed=1).load()))
    assert len(other & set(texts_of(splits))) < 0.01 * len(other)


def test_reviews_are_short_whole_sentences(splits):
    for text in texts_of(splits):
        assert 7 <= len(text.split()) <= 36, text
        assert re.fullmatch(r"(?:[A-Z][^.!?{}]*[.!?] ?)+", text), text
        assert "  " not in text
        assert not text.endswith(" ")
    assert 15 <= np.mean([len(text.split()) for text in texts_of(splits)]) <= 25


@pytest.mark.parametrize(
    ("pattern", "label"),
    [
        (rf"was far from {GOOD}\.", 0),
        (rf"was far from {BAD}\.", 1),
        (rf"was {BAD}, but the [\w ]+ was \w+ {GOOD}\.", 1),
        (rf"was {GOOD}, but the [\w ]+ was \w+ {BAD}\.", 0),
        (rf"was \w+ {GOOD}, although the [\w ]+ was {BAD}\.", 1),
        (rf"was {GOOD}, not {BAD} at all\.", 1),
        (rf"was not only {GOOD} but also {GOOD}\.", 1),
        (rf"found the [\w ]+ {GOOD}; I found it {BAD}\.", 0),
        (rf"is {GOOD}, and I disagree\.", 0),
        (rf"is {GOOD}, and I agree\.", 1),
        (rf"would be {BAD}; it was anything but\.", 1),
        (r"I expected a mess and got a gem\.", 1),
        (r"I hated the [\w ]+, whereas [\w ]+ loved it\.", 0),
    ],
)
def test_a_label_follows_from_the_order_of_the_words(pattern, label):
    train = ReviewsDataset(train_size=40_000).load().train
    labels = {found for text, found in train if re.search(pattern, text)}
    assert labels == {label}


def test_many_reviews_have_a_mirror_image_with_the_same_words_and_the_other_label(splits):
    labels_of_bag = defaultdict(set)
    for text, label in splits.train:
        labels_of_bag[tuple(sorted(re.findall(r"\w+", text.lower())))].add(label)
    mirrored = sum(labels == {0, 1} for labels in labels_of_bag.values())
    assert mirrored > 1000  # of 4000 pairs


@pytest.mark.parametrize("seed", [0, 1])
def test_a_bag_of_words_gets_some_reviews_right_and_by_far_not_all(seed):
    feature_extraction = pytest.importorskip("sklearn.feature_extraction.text")
    linear_model = pytest.importorskip("sklearn.linear_model")
    splits = ReviewsDataset(seed=seed).load()
    assert isinstance(splits.test, Split)
    vectorizer = feature_extraction.TfidfVectorizer()
    model = linear_model.LogisticRegression(max_iter=1000)
    model.fit(vectorizer.fit_transform(splits.train.texts), splits.train.labels)
    accuracy = model.score(vectorizer.transform(splits.test.texts), splits.test.labels)
    assert 0.65 <= accuracy <= 0.80


def test_reviews_are_drawn_in_a_blink():
    start = time.thread_time()
    ReviewsDataset().load()
    assert time.thread_time() - start < 2  # 0.1 s; room for a slow machine


@pytest.mark.parametrize("sizes", [{"train_size": MAX_REVIEWS}, {"test_size": 10**12}, {"validation_size": 1}])
def test_a_size_that_cannot_be_had_is_refused_with_the_largest_that_can(sizes):
    with pytest.raises(DataError, match=rf"at least 2 for each split and at most {MAX_REVIEWS} together"):
        ReviewsDataset(**sizes)


def test_the_largest_set_can_be_drawn():
    splits = ReviewsDataset(train_size=MAX_REVIEWS - 4, validation_size=2, test_size=2).load()
    assert len(set(texts_of(splits))) == MAX_REVIEWS


def test_options_are_described_and_checked():
    described = {option.name: option.default for option in describe(ReviewsDataset)}
    assert described == {"train_size": 20_000, "validation_size": 1000, "test_size": 2000, "seed": 0}
    assert all(option.help for option in describe(ReviewsDataset))
    with pytest.raises(ConfigError, match="seed"):
        validate(ReviewsDataset, {"seed": -1}, what="data set reviews")


def test_the_fingerprint_tells_options_apart_and_draws_nothing(monkeypatch):
    monkeypatch.setattr(ReviewsDataset, "load", lambda self: pytest.fail("load was called"))
    options = [{}, {"seed": 1}, {"train_size": 100}, {"validation_size": 100}, {"test_size": 100}]
    assert len({ReviewsDataset(**option).fingerprint() for option in options}) == len(options)
    assert ReviewsDataset().fingerprint() == ReviewsDataset(seed=0, train_size=20_000).fingerprint()
