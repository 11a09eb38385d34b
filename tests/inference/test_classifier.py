from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from toy import toy_config, toy_pairs, toy_splits

from seqcls import Classifier, Splits, Trainer
from seqcls.errors import CheckpointError, DataError, DeviceError
from seqcls.inference.portable.numpy_classifier import NumpyClassifier

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


class Column:
    """What pandas and polars give for one column: an iterable that is no list."""

    def __init__(self, items: list[str]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)


class Frame:
    """A table as pandas has it: its items are the names of its columns."""

    columns = ("id", "text")
    shape = (3, 2)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return 3

    def __getitem__(self, name: str) -> list[str]:
        return ["good"] * 3


class Arrow(Frame):
    """A table as pyarrow has it: ``columns`` are the values, and ``column_names`` the names."""

    columns = ([1, 2, 3], ["a", "b", "c"])  # type: ignore[assignment]
    column_names: ClassVar = ["id", "text"]


@pytest.fixture(params=["torch", "numpy", "onnx"])
def any_classifier(request: pytest.FixtureRequest, model: Path, tmp_path: Path) -> Any:
    if request.param == "torch":
        return Classifier.from_pretrained(model, device="cpu")
    if request.param == "numpy":
        return NumpyClassifier.from_pretrained(model)
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from seqcls.inference.portable.onnx_classifier import OnnxClassifier
    from seqcls.inference.portable.onnx_export import export_onnx

    export_onnx(model, tmp_path / "model.onnx")
    return OnnxClassifier.from_pretrained(tmp_path / "model.onnx")


def test_whatever_holds_texts_is_read_as_a_list_would_be(any_classifier: Any, tmp_path: Path) -> None:
    texts = ["a superb room", "an awful meal", ""]
    expected = any_classifier.predict_proba(texts)
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    with (tmp_path / "texts.txt").open() as lines:
        forms: list[Any] = [iter(texts), (text for text in texts), tuple(texts), np.array(texts), Column(texts), lines]
        for form in forms:
            np.testing.assert_allclose(any_classifier.predict_proba(form), expected, atol=1e-6)
    assert any_classifier.predict(iter(texts)) == any_classifier.predict(texts)
    for read in ("encode", "unknown_rates"):
        if hasattr(any_classifier, read):
            assert len(getattr(any_classifier, read)(iter(texts))) == 3
    assert any_classifier.predict(iter([])) == []


@pytest.mark.parametrize("table", [{"id": [1], "text": ["good"]}, Frame(), Arrow()])
def test_a_table_is_no_list_of_texts(any_classifier: Any, table: Any) -> None:
    for read in ("predict", "predict_proba", "encode", "unknown_rates"):
        if hasattr(any_classifier, read):
            with pytest.raises(DataError, match=r"id, text .*\['text'\]"):
                getattr(any_classifier, read)(table)


@pytest.mark.parametrize("value", ["one text", b"bytes", {"a", "set"}, 5, None, np.array("one text")])
def test_what_has_no_texts_in_an_order_is_refused(any_classifier: Any, value: Any) -> None:
    with pytest.raises(DataError, match="list of texts"):
        any_classifier.predict(value)
