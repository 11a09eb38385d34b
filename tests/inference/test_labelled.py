from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy import toy_config, toy_pairs, toy_splits

from seqcls import Classifier, Splits, Trainer
from seqcls.errors import DataError


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder = tmp_path_factory.mktemp("labelled") / "run"
    result = Trainer(None, toy_splits(), config=toy_config(epochs=4), callbacks=[], output=folder).fit()
    assert result.model_dir is not None
    return Classifier.from_pretrained(result.model_dir, device="cpu")


def test_evaluation_takes_pairs_splits_and_names_of_splits(classifier: Classifier) -> None:
    pairs = toy_pairs(20, seed=2)
    assessment = classifier.evaluate(pairs)
    assert assessment == classifier.evaluate(toy_splits())
    assert assessment == classifier.predictions(pairs).assess()
    assert assessment.count == 20
    predicted = classifier.predict([text for text, _ in pairs])
    assert assessment.correct == sum(label == guess for (_, label), guess in zip(pairs, predicted, strict=True))
    assert classifier.evaluate(toy_splits(), split="validation").count == 16


def test_labels_are_matched_by_name_not_by_number(classifier: Classifier) -> None:
    reversed_labels = [("superb", "good"), ("awful", "bad")]
    splits = Splits.from_pairs(reversed_labels * 10, validation=reversed_labels, test=[("superb", "good")])
    assert classifier.evaluate(splits).correct == classifier.evaluate([("superb", "good")]).correct


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([("text", "ugly")], "ugly"),
        ([], "no example"),
        ([("text",)], r"data\[0\]"),
        (None, "objects"),
    ],
)
def test_data_that_cannot_be_scored_is_refused(classifier: Classifier, data: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        classifier.evaluate(data)  # type: ignore[arg-type]


def test_a_missing_split_is_named(classifier: Classifier) -> None:
    with pytest.raises(DataError, match="no final split"):
        classifier.evaluate(toy_splits(), split="final")


def test_the_data_set_of_the_model_is_scored_from_the_cache(tmp_path: Path) -> None:
    config = toy_config(epochs=1).updated(
        {"data": {"dataset_options": {"train_size": 60, "validation_size": 20, "test_size": 30}}}, source="test"
    )
    result = Trainer(None, "reviews", config=config, callbacks=[], output=tmp_path / "run").fit()
    assert result.model_dir is not None
    classifier = Classifier.from_pretrained(result.model_dir)
    assert result.test is not None
    assert classifier.evaluate().loss == pytest.approx(result.test.loss, abs=1e-6)
    assert classifier.evaluate(split="validation").count == 20


def test_a_minimum_confidence_covers_the_sure_examples(classifier: Classifier) -> None:
    pairs = toy_pairs(20, seed=2)
    confidences = classifier.predict_proba([text for text, _ in pairs]).max(axis=1)
    least = float(np.median(confidences))
    assert classifier.evaluate(pairs, min_confidence=least).coverage == pytest.approx(
        (confidences >= least).mean(), abs=0.05
    )
