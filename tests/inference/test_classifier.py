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
    assert result.model_dir is not None
    return result.model_dir


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


def test_neither_other_texts_nor_padding_change_a_prediction(classifier: Classifier) -> None:
    texts = [text for text, _ in toy_pairs(30)] + STRANGE
    together = classifier.predict_proba(texts)
    alone = np.concatenate([classifier.predict_proba([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(classifier.predict_proba(texts[::-1])[::-1], together, atol=1e-6)


@pytest.mark.parametrize("text", STRANGE, ids=range(len(STRANGE)))
def test_any_text_gets_an_answer(classifier: Classifier, text: str) -> None:
    assert np.isfinite(classifier.predict_proba([text])).all()


def test_unknown_rates_reveal_texts_that_the_model_cannot_read(classifier: Classifier) -> None:
    assert classifier.unknown_rates(["", "superb film", "superb zyzzyva"]).tolist() == [1.0, 0.0, 0.5]
    assert classifier.unknown_rates([]).tolist() == []


def test_an_empty_list_gives_no_predictions(classifier: Classifier) -> None:
    assert classifier.predict([]) == []
    assert classifier.predict_proba([]).shape == (0, 2)


@pytest.mark.parametrize("texts", ["one text", ["fine", 3], [None]])
def test_anything_but_a_list_of_texts_is_refused(classifier: Classifier, texts: object) -> None:
    with pytest.raises(DataError, match=r"list of texts|texts\["):
        classifier.predict_proba(texts)  # type: ignore[arg-type]


def test_the_representation_tells_what_the_model_is(classifier: Classifier, model: Path) -> None:
    assert repr(classifier) == (
        f"Classifier({str(model)!r}, encoder='lstm', labels=('bad', 'good'), "
        f"parameters={classifier.num_parameters:,}, device='cpu')"
    )


def test_a_saved_model_predicts_the_same(classifier: Classifier, tmp_path: Path) -> None:
    texts = [text for text, _ in toy_pairs(10)]
    classifier.save_pretrained(tmp_path / "copy")
    copy = Classifier.from_pretrained(tmp_path / "copy", device="cpu")
    np.testing.assert_array_equal(copy.predict_proba(texts), classifier.predict_proba(texts))
    with pytest.raises(CheckpointError, match="exists"):
        classifier.save_pretrained(tmp_path / "copy")


def test_a_device_that_is_not_available_is_named(model: Path) -> None:
    with pytest.raises(DeviceError, match="cuda:99"):
        Classifier.from_pretrained(model, device="cuda:99")


def test_a_model_is_loaded_without_pytorchs_compiler(model: Path) -> None:
    # The compiler takes a second to import, and prediction does not use it.
    code = f"import sys; from seqcls import Classifier; Classifier.from_pretrained({str(model)!r}).predict(['a film']); "
    code += "print('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_any_label_can_be_saved(tmp_path: Path) -> None:
    pairs = [(text, f"{label}\ud800") for text, label in toy_pairs(40)]  # a lone surrogate, which JSON may contain
    splits = Splits.from_pairs(pairs, validation=pairs[:8])
    result = Trainer(None, splits, config=toy_config(epochs=1), callbacks=[], output=tmp_path / "run").fit()
    assert result.model_dir is not None
    assert Classifier.from_pretrained(result.model_dir, device="cpu").label_names == ("bad\ud800", "good\ud800")
