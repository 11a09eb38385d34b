"""Prediction without torch, beside prediction with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy import LastStep, toy_config, toy_pairs, toy_splits

from seqcls import Classifier, Splits, Trainer, load_recipe, registry
from seqcls.config.options import describe
from seqcls.errors import CheckpointError, DataError
from seqcls.inference.portable.numpy_classifier import NumpyClassifier
from seqcls.inference.portable.numpy_network import EMBEDDINGS, ENCODERS
from seqcls.inference.portable.plugins import _OPTIONS

BOTH_WAYS: dict[str, Any] = {"hidden_size": 4, "num_layers": 2, "bidirectional": True}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in registry.encoders.builtins if name != "linear"},
    "lstm both ways": ("lstm", {**BOTH_WAYS, "pooling": "last"}),
    "lstm with attention": ("lstm", {**BOTH_WAYS, "pooling": "attention"}),
    "gru both ways": ("gru", {**BOTH_WAYS, "pooling": "mean+max"}),
    "min-gru both ways": ("min-gru", {**BOTH_WAYS, "pooling": "max"}),
    "torch-rnn with relu": ("torch-rnn", {**BOTH_WAYS, "nonlinearity": "relu"}),
    "bilstm of other sizes": ("bilstm", {"hidden_size": 4, "num_layers": 2, "projection_size": 5, "pooling": "max"}),
    "cnn of other widths": ("cnn", {"widths": "1,4", "num_filters": 3}),
    "transformer of one layer": ("transformer", {"hidden_size": 8, "num_layers": 1, "num_heads": 2, "pooling": "last"}),
    "mean-pool's maximum": ("mean-pool", {"pooling": "mean+max"}),
}
TEXTS = [text for text, _ in toy_pairs(40, seed=7)] + ["", "?!", "完全に", "superb " * 300, "a\ud800b"]


def _train(folder: Path, encoder: str, options: dict[str, Any], **more: Any) -> Path:
    changes = {
        "fit": {"epochs": 1, "batch_size": 8, "lr": 0.01, "device": "cpu"},
        "model": {"embedding_size": 6, "encoder_options": options, **more},
        "data": {"vocab_size": 100, "max_length": 200},
    }
    config = load_recipe("default", encoder=encoder).replace(encoder_options={}).updated(changes, source="test")
    result = Trainer(None, toy_splits(), config=config, callbacks=[], output=folder / "run").fit()
    assert result.model_dir is not None
    return result.run_dir


def _assert_same(run: Path, inputs: list[Any]) -> None:
    ours, torchs = NumpyClassifier.from_pretrained(run), Classifier.from_pretrained(run, device="cpu")
    np.testing.assert_allclose(ours.predict_proba(inputs), torchs.predict_proba(inputs), atol=1e-5)
    assert ours.predict(inputs) == torchs.predict(inputs)
    assert ours.label_names == torchs.label_names


@pytest.mark.parametrize("name", MODELS)
def test_probabilities_are_those_of_torch(tmp_path: Path, name: str) -> None:
    _assert_same(_train(tmp_path, *MODELS[name]), TEXTS)


@pytest.mark.parametrize("max_n", [2, 3])
def test_hashed_ngrams_are_those_of_torch(tmp_path: Path, max_n: int) -> None:
    embedding = {"embedding": "ngram-hash", "embedding_options": {"max_n": max_n, "buckets": 500}}
    _assert_same(_train(tmp_path, "mean-pool", {}, **embedding), TEXTS)


def test_several_labels_are_those_of_torch(tmp_path: Path) -> None:
    pairs = [(text, [label] if index % 3 else [label, "odd"]) for index, (text, label) in enumerate(toy_pairs(60))]
    splits = Splits.from_pairs(pairs, validation=pairs[:20])
    _assert_same(Trainer(None, splits, config=toy_config(), callbacks=[], output=tmp_path / "run").fit().run_dir, TEXTS)


def test_sequences_of_numbers_are_those_of_torch(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(rng.integers(1, 9), 3)).astype(np.float32), "ab"[number % 2]) for number in range(40)]
    splits = Splits.from_pairs(pairs, validation=pairs[:10])
    run = Trainer(None, splits, config=toy_config(), callbacks=[], output=tmp_path / "run").fit().run_dir
    _assert_same(run, [steps for steps, _ in pairs])


def test_it_runs_where_there_is_no_torch(tmp_path: Path) -> None:
    run = _train(tmp_path, "lstm", {"hidden_size": 4})
    code = f"""
import sys
for name in ("torch", "pydantic", "typer", "rich", "pooch", "sklearn"):
    sys.modules[name] = None
import json
from seqcls.inference.portable.numpy_classifier import NumpyClassifier
print(json.dumps(NumpyClassifier.from_pretrained({str(run)!r}).predict_proba(["superb", "awful"]).tolist()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = Classifier.from_pretrained(run, device="cpu").predict_proba(["superb", "awful"])
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-5)


@pytest.mark.parametrize(("kind", "functions"), [("encoders", ENCODERS), ("embeddings", EMBEDDINGS)])
def test_every_builtin_is_there_with_options_of_its_signature(kind: str, functions: dict[str, Any]) -> None:
    plugins = getattr(registry, kind)
    assert set(plugins.builtins) == set(functions)
    for name in plugins.builtins:
        assert set(_OPTIONS[name]) <= {option.name for option in describe(plugins.get(name))}


def test_what_it_cannot_do_is_told(tmp_path: Path) -> None:
    result = Trainer(LastStep(8), toy_splits(), config=toy_config(), callbacks=[], output=tmp_path / "run").fit()
    with pytest.raises(CheckpointError, match="has no NumPy implementation; use seqcls"):
        NumpyClassifier.from_pretrained(result.run_dir)
    with pytest.raises(CheckpointError, match="lacks manifest"):
        NumpyClassifier.from_pretrained(tmp_path)
    run = _train(tmp_path / "other", "lstm", {"hidden_size": 4})
    classifier = NumpyClassifier.from_pretrained(run)
    with pytest.raises(DataError, match="not one text"):
        classifier.predict("superb")
    with pytest.raises(DataError, match=r"texts\[1\] is a int"):
        classifier.predict(["superb", 3])
    weights = run / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        NumpyClassifier.from_pretrained(run)
