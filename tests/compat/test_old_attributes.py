"""Names of 0.1 that Python code may hold: they still work, with a warning that gives the new name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy import toy_config, toy_splits

from seqcls import Classifier, FitResult, OnnxClassifier, Predictions, Split, Trainer, export_onnx


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    output = tmp_path_factory.mktemp("old-names") / "run"
    return Trainer(toy_splits(), encoder="lstm", config=toy_config(), callbacks=[], output=output).fit()


def _check(instance: Any, old: str, new: str, expected: object) -> None:
    with pytest.warns(DeprecationWarning, match=new):
        assert np.array_equal(getattr(instance, old), expected)


def test_results(result: FitResult) -> None:
    _check(result, "run", "run_dir", result.run_dir)
    _check(result, "model", "model_dir", result.model_dir)


def test_the_kind_of_data(result: FitResult, tmp_path: Path) -> None:
    assert result.model_dir is not None
    _check(Classifier.from_pretrained(result.model_dir), "is_text", "preprocessor.kind", True)
    _check(Split(["a text"]), "is_text", "kind", True)
    _check(Split([np.zeros((3, 2))]), "is_text", "kind", False)
    pytest.importorskip("onnxruntime")
    export_onnx(result.model_dir, tmp_path / "model.onnx")
    _check(OnnxClassifier.from_pretrained(tmp_path / "model.onnx"), "is_text", "preprocessor.kind", True)


def test_predictions() -> None:
    predictions = Predictions(("a", "b"), np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]))
    _check(predictions, "said", "predicted", predictions.predicted)
    _check(predictions, "is_right", "is_correct", [True, False])
