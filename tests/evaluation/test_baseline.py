from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import diags
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.preprocessing import normalize
from toy import toy_config, toy_splits

from seqcls import Split, Splits, Trainer, fit_baseline, load_recipe
from seqcls.data.datasets.reviews import ReviewsDataset
from seqcls.data.prepare import load_splits
from seqcls.errors import MissingExtraError
from seqcls.evaluation import baseline

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


def hand_written(splits: Splits, texts: list[str]) -> np.ndarray:
    """Return the probability of the second of two classes by the formulas of Wang & Manning, with scikit-learn."""
    vectorizer = CountVectorizer(
        binary=True, ngram_range=(1, 2), min_df=2, token_pattern=r"(?u)[a-z0-9]+(?:'[a-z0-9]+)*", dtype=np.float64
    )
    x, y = vectorizer.fit_transform(splits.train.texts), splits.train.labels
    p, q = (np.asarray(x[y == label].sum(axis=0)).ravel() + 1 for label in (1, 0))
    ratios = diags(np.log((p / p.sum()) / (q / q.sum())))
    model = LogisticRegression(C=16, solver="liblinear", dual=True, random_state=0, tol=1e-8, max_iter=10_000)
    model.fit(normalize(x @ ratios), y)
    return model.predict_proba(normalize(vectorizer.transform(texts) @ ratios))[:, 1]


def test_it_equals_the_same_model_written_with_scikit_learn(reviews: Splits) -> None:
    model = baseline._LinearModel(reviews.train, num_classes=2)
    probabilities = model.logits(reviews.test).softmax(dim=1)[:, 1].numpy()
    expected = hand_written(reviews, list(reviews.test.texts))
    np.testing.assert_allclose(probabilities, expected, atol=2e-3)  # the solver stops at a tolerance
    score = fit_baseline(reviews).test
    assert score.accuracy == pytest.approx(accuracy_score(reviews.test.labels, expected > 0.5), abs=0.01)


def test_it_beats_chance_and_counts_what_it_scored(reviews: Splits) -> None:
    result = fit_baseline(reviews)
    assert result.validation.accuracy > 0.7
    assert (result.validation.count, result.test.count) == (200, 200)
    assert result.description == "NB-weighted 1-2-grams, logistic regression"
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
    model = baseline._LinearModel(splits.train, num_classes=3)
    predicted = model.logits(splits.test).numpy() > 0  # the thresholds are close to one half
    assert result.test.f1 == pytest.approx(f1_score(splits.test.labels, predicted, average="micro"), abs=0.05)


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
    characters = sum(map(len, reviews.train.texts))
    monkeypatch.setattr(baseline, "MAX_CHARACTERS", characters // 2)
    result = fit_baseline(reviews)
    assert result.description.endswith(", trained on a sample of 299 of 600 texts")
    assert replace(result, seconds=0) == replace(fit_baseline(reviews), seconds=0)
    topics = Splits.from_pairs(make_topics(300, 0), validation=make_topics(100, 1))
    monkeypatch.setattr(baseline, "MAX_WORK", 3 * sum(map(len, topics.train.texts)) // 2)  # three classifiers
    assert "a sample of 149 of 300 texts" in fit_baseline(topics).description


def test_without_scikit_learn_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, reviews: Splits) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingExtraError, match=r"scikit-learn is not installed; run: pip install 'seqcls\[report\]'"):
        fit_baseline(reviews)


def test_a_trainer_uses_its_splits_and_stores_the_figures(tmp_path: Path) -> None:
    trainer = Trainer(None, toy_splits(), config=toy_config(epochs=1), callbacks=[], output=tmp_path / "run")
    assert trainer.fit_baseline().validation.count > 0
    assert not (tmp_path / "run").exists()
    trainer.fit()
    result = trainer.fit_baseline()
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
