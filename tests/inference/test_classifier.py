from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from toy import toy_config, toy_pairs, toy_splits

from seqcls import Classifier, Splits, Trainer
from seqcls.errors import CheckpointError, DataError, DeviceError

STRANGE = [
    "",
    "   ",
    "?!…",
    "[/x] [bold]",
    "完全に素晴らしい映画",
    "فيلم رائع",
    "🎬🎬",
    "a\ud800b",
    "superb " * 20_000,
    "\0\x1b[31m",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier") / "run"
    result = Trainer(None, toy_splits(), config=toy_config(epochs=4), callbacks=[], output=folder).fit()
    assert result.model is not None
    return result.model


@pytest.fixture
def classifier(model: Path) -> Classifier:
    return Classifier.from_pretrained(model, device="cpu")


def test_probabilities_are_a_distribution_over_the_labels(classifier: Classifier) -> None:
    texts = [text for text, _ in toy_pairs(30)]
    probabilities = classifier.predict_proba(texts)
    assert probabilities.shape == (30, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert classifier.predict(texts) == [classifier.label_names[index] for index in probabilities.argmax(axis=1)]
    assert classifier.label_names == ("bad", "good")


def test_neither_company_nor_padding_changes_a_prediction(classifier: Classifier) -> None:
    texts = [text for text, _ in toy_pairs(30)] + STRANGE
    together = classifier.predict_proba(texts)
    alone = np.concatenate([classifier.predict_proba([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(classifier.predict_proba(texts[::-1])[::-1], together, atol=1e-6)


@pytest.mark.parametrize("text", STRANGE, ids=range(len(STRANGE)))
def test_any_text_gets_an_answer(classifier: Classifier, text: str) -> None:
    assert np.isfinite(classifier.predict_proba([text])).all()


def test_unknown_rates_tell_texts_that_the_model_cannot_read(classifier: Classifier) -> None:
    assert classifier.unknown_rates(["", "superb film", "superb zyzzyva"]).tolist() == [1.0, 0.0, 0.5]
    assert classifier.unknown_rates([]).tolist() == []


def test_no_texts_give_no_predictions(classifier: Classifier) -> None:
    assert classifier.predict([]) == []
    assert classifier.predict_proba([]).shape == (0, 2)


@pytest.mark.parametrize("texts", ["one text", ["fine", 3], [None]])
def test_what_is_no_list_of_texts_is_refused(classifier: Classifier, texts: object) -> None:
    with pytest.raises(DataError, match=r"list of texts|texts\["):
        classifier.predict_proba(texts)  # type: ignore[arg-type]


def test_evaluation_takes_pairs_splits_and_names_of_splits(classifier: Classifier) -> None:
    pairs = toy_pairs(20, seed=2)
    score = classifier.evaluate(pairs)
    assert score == classifier.evaluate(toy_splits())
    assert score.count == 20
    assert score.correct == sum(
        label == found for (_, label), found in zip(pairs, classifier.predict([t for t, _ in pairs]), strict=True)
    )
    assert classifier.evaluate(toy_splits(), split="validation").count == 16


def test_labels_are_matched_by_name_not_by_number(classifier: Classifier) -> None:
    turned = [("superb", "good"), ("awful", "bad")]
    splits = Splits.from_pairs(turned * 10, validation=turned, test=[("superb", "good")])
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


def test_a_saved_model_predicts_the_same(classifier: Classifier, tmp_path: Path) -> None:
    texts = [text for text, _ in toy_pairs(10)]
    classifier.save_pretrained(tmp_path / "copy")
    copy = Classifier.from_pretrained(tmp_path / "copy", device="cpu")
    np.testing.assert_array_equal(copy.predict_proba(texts), classifier.predict_proba(texts))
    with pytest.raises(CheckpointError, match="exists"):
        classifier.save_pretrained(tmp_path / "copy")


def test_a_device_that_is_not_there_is_told(model: Path) -> None:
    with pytest.raises(DeviceError, match="cuda:99"):
        Classifier.from_pretrained(model, device="cuda:99")


def test_the_models_own_data_set_is_scored_from_the_cache(tmp_path: Path) -> None:
    config = toy_config(epochs=1).updated(
        {"data": {"dataset_options": {"train_size": 60, "validation_size": 20, "test_size": 30}}}, source="test"
    )
    result = Trainer(None, "reviews", config=config, callbacks=[], output=tmp_path / "run").fit()
    assert result.model is not None
    classifier = Classifier.from_pretrained(result.model)
    assert result.test is not None
    assert classifier.evaluate().loss == pytest.approx(result.test.loss, abs=1e-6)
    assert classifier.evaluate(split="validation").count == 20


def test_a_model_is_loaded_without_pytorchs_compiler(model: Path) -> None:
    # It takes a second to import, and is of no use here.
    code = f"import sys; from seqcls import Classifier; Classifier.from_pretrained({str(model)!r}).predict(['a film']); "
    code += "print('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_any_label_can_be_saved(tmp_path: Path) -> None:
    pairs = [(text, f"{label}\ud800") for text, label in toy_pairs(40)]  # half a pair of surrogates, as JSON may hold it
    splits = Splits.from_pairs(pairs, validation=pairs[:8])
    result = Trainer(None, splits, config=toy_config(epochs=1), callbacks=[], output=tmp_path / "run").fit()
    assert result.model is not None
    assert Classifier.from_pretrained(result.model, device="cpu").label_names == ("bad\ud800", "good\ud800")
