"""Models as ONNX files, beside PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model.encoders.test_conformance import CASES
from onnx_models import SIZES, SMALL, TEXTS, train
from toy import toy_config, toy_pairs

from seqcls import Classifier, OnnxClassifier, Splits, Trainer, export_onnx
from seqcls.errors import DataError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def _assert_same(run: Path, inputs: list[Any]) -> OnnxClassifier:
    result = export_onnx(run, run.parent / "same.onnx")
    assert result.largest_difference < 1e-5
    ours, torchs = OnnxClassifier.from_pretrained(result.path), Classifier.from_pretrained(run, device="cpu")
    np.testing.assert_allclose(ours.predict_proba(inputs), torchs.predict_proba(inputs), atol=1e-5)
    assert ours.predict(inputs, min_confidence=0.55) == torchs.predict(inputs, min_confidence=0.55)
    np.testing.assert_array_equal(ours.unknown_rates(inputs), torchs.unknown_rates(inputs))
    return ours


@pytest.mark.parametrize(("name", "options"), [case for case in CASES if case[0] != "linear"])
def test_every_encoder_answers_as_in_torch(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    _assert_same(train(tmp_path, name, {**SIZES.get(name, SMALL), **options}), TEXTS)


@pytest.mark.parametrize("max_n", [2, 5])
def test_hashed_ngrams_answer_as_in_torch(tmp_path: Path, max_n: int) -> None:
    embedding = {"embedding": "ngram-hash", "embedding_options": {"max_n": max_n, "buckets": 500}}
    _assert_same(train(tmp_path, "mean-pool", {}, **embedding), [*TEXTS, "superb", "superb film"])


def test_several_labels_answer_as_in_torch(tmp_path: Path) -> None:
    pairs = [(text, [label] if index % 3 else [label, "odd"]) for index, (text, label) in enumerate(toy_pairs(60))]
    ours = _assert_same(train(tmp_path, "lstm", SMALL, Splits.from_pairs(pairs, validation=pairs[:20])), TEXTS)
    assert ours.is_multi_label


def test_sequences_of_numbers_answer_as_in_torch(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(rng.integers(1, 9), 3)).astype(np.float32), "ab"[number % 2]) for number in range(40)]
    splits = Splits.from_pairs(pairs, validation=pairs[:10])
    ours = _assert_same(
        Trainer(None, splits, config=toy_config(), callbacks=[], output=tmp_path / "run").fit().run_dir,
        [steps for steps, _ in pairs],
    )
    assert ours.preprocessor.kind == "features"


def test_the_file_alone_answers_where_there_is_no_torch(exported: Path, run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(exported.read_bytes())
    code = f"""
import json, sys
sys.modules["torch"] = None
from seqcls import OnnxClassifier
print(json.dumps(OnnxClassifier.from_pretrained({str(alone)!r}).predict_proba(["superb", "awful"]).tolist()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = Classifier.from_pretrained(run, device="cpu").predict_proba(["superb", "awful"])
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-5)


def test_what_is_no_text_is_told(exported: Path) -> None:
    classifier = OnnxClassifier.from_pretrained(exported)
    with pytest.raises(DataError, match=r"texts\[1\] is a int"):
        classifier.predict(["superb", 3])
    with pytest.raises(DataError, match="not one text"):
        classifier.predict("superb")
    assert classifier.predict_proba([]).shape == (0, 2)
