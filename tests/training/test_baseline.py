from __future__ import annotations

import os
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy import toy_config, toy_splits

from seqcls import Split, Splits, Trainer, fit_baseline, load_recipe
from seqcls.data.datasets.reviews import ReviewsDataset
from seqcls.data.prepare import load_splits
from seqcls.training import baseline

TOPICS = {"food": "soup bread cheese", "room": "bed lamp window", "staff": "waiter porter cook"}
FILLERS = ["the", "a", "very", "was", "there", "and"]


def make_topics(count: int, seed: int) -> list[tuple[str, str]]:
    rng = np.random.default_rng(seed)
    labels = [str(label) for label in rng.choice(list(TOPICS), size=count)]
    return [(" ".join([*rng.choice(FILLERS, 4), rng.choice(TOPICS[label].split())]), label) for label in labels]


def make_multi_label(count: int, seed: int) -> list[tuple[str, list[str]]]:
    rng = np.random.default_rng(seed)
    pairs = []
    for chosen in rng.random((count, len(TOPICS))) < 0.4:
        names = [name for name, has in zip(TOPICS, chosen, strict=True) if has]
        words = [*rng.choice(FILLERS, 4), *(rng.choice(TOPICS[name].split()) for name in names)]
        pairs.append((" ".join(rng.permutation(words)), names))
    return pairs


@pytest.fixture(scope="module")
def reviews() -> Splits:
    return ReviewsDataset(train_size=600, validation_size=200, test_size=200).load()


def test_it_is_the_encoder_linear(tmp_path: Path, reviews: Splits) -> None:
    result = Trainer(reviews, encoder="linear", callbacks=[], calibrate=False, output=tmp_path / "run").fit()
    baseline = fit_baseline(reviews)
    assert baseline.validation.as_dict() == pytest.approx(result.validation.as_dict())
    assert baseline.test.as_dict() == pytest.approx(result.test.as_dict())


def test_it_beats_chance_and_counts_what_it_scored(reviews: Splits) -> None:
    result = fit_baseline(reviews)
    assert result.validation.accuracy > 0.7
    assert (result.validation.count, result.test.count) == (200, 200)
    assert result.description == "logistic regression on n-grams"
    assert result.features > 100
    assert result.seconds > 0


def test_the_same_splits_give_the_same_figures(reviews: Splits) -> None:
    first, second = fit_baseline(reviews), fit_baseline(reviews)
    assert replace(first, seconds=0) == replace(second, seconds=0)


def test_without_a_test_split_there_is_no_test_figure(reviews: Splits) -> None:
    result = fit_baseline(replace(reviews, test=None))
    assert result.test is None
    assert result.as_dict()["test"] is None


def test_more_than_two_classes_are_told_apart() -> None:
    splits = Splits.from_pairs(make_topics(300, 0), validation=make_topics(100, 1), test=make_topics(100, 2))
    result = fit_baseline(splits)
    assert result.validation.accuracy == 1
    assert result.test.accuracy == 1
    assert result.validation.f1 is None


def test_several_labels_per_text_are_scored_like_those_of_an_encoder() -> None:
    splits = Splits.from_pairs(make_multi_label(400, 0), validation=make_multi_label(100, 1), test=make_multi_label(100, 2))
    result = fit_baseline(splits)
    assert result.test.accuracy > 0.95
    assert result.test.f1 > 0.95


def test_a_label_of_all_texts_or_of_none_is_learnt() -> None:
    texts = [f"word{number % 2} again" for number in range(20)]
    labels = np.array([[1, number % 2, 0] for number in range(20)], dtype=np.uint8)
    split = Split(texts, labels)
    splits = Splits(train=split, validation=split, label_names=("always", "at times", "never"))
    assert fit_baseline(splits).validation.accuracy == 1


@pytest.mark.parametrize("texts", [["one", "two", "three", "four"], ["", "!", "?", ""], ["one", "one", "one", "one"]])
def test_odd_texts_are_accepted(texts: list[str]) -> None:
    pairs = [(text, number % 2) for number, text in enumerate(texts)]
    assert fit_baseline(Splits.from_pairs(pairs, validation=[*pairs, ("unheard of", 1)])).validation.count == 5


def test_a_large_training_split_is_sampled(monkeypatch: pytest.MonkeyPatch, reviews: Splits) -> None:
    features = fit_baseline(reviews).features
    monkeypatch.setattr(baseline, "MAX_WORK", features)  # most n-grams occur in few texts
    result = fit_baseline(reviews)
    count, of = map(int, re.search(r", fitted to a sample of (\d+) of (\d+) texts$", result.description).groups())
    assert 0 < count < of == 600
    assert replace(result, seconds=0) == replace(fit_baseline(reviews), seconds=0)


@pytest.mark.parametrize("wide", [False, True])
def test_a_trainer_uses_its_splits_and_stores_the_figures(tmp_path: Path, wide: bool) -> None:
    config = toy_config(epochs=1).replace(wide=wide)
    trainer = Trainer(None, toy_splits(), config=config, callbacks=[], output=tmp_path / "run")
    before = trainer.fit_baseline()
    assert before.validation.count > 0
    assert not (tmp_path / "run").exists()
    trainer.fit()
    result = trainer.fit_baseline()
    assert replace(result, seconds=0) == replace(before, seconds=0)
    assert f'"features": {result.features}' in (tmp_path / "run" / "baseline.json").read_text()


@pytest.mark.imdb
@pytest.mark.slow
def test_the_accuracy_on_imdb_is_what_it_was_when_the_model_was_chosen() -> None:
    folder = os.environ.get("SEQCLS_DATA_DIR")
    if folder is None or not Path(folder, "imdb").is_dir():
        pytest.skip("SEQCLS_DATA_DIR names no folder with imdb/ in it")
    splits = load_splits(load_recipe("default", dataset="imdb").data)
    started = time.monotonic()
    result = fit_baseline(splits)
    assert result.validation.accuracy > 0.897
    assert result.test.accuracy > 0.905
    assert time.monotonic() - started < 120
