"""What `export_onnx` writes, checks and refuses."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_models import SIZES, SMALL, TEXTS, train

from seqcls import Classifier, OnnxClassifier, Trainer, export_onnx, load_recipe, registry
from seqcls.errors import CheckpointError, MissingExtraError, OutputExistsError, UsageError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from seqcls.inference.portable import onnx_export, onnx_network  # noqa: E402 - they need both


def test_a_graph_that_differs_from_torch_is_not_kept(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = OnnxClassifier._run
    monkeypatch.setattr(OnnxClassifier, "_run", lambda *given: original(*given) + np.float32(1e-4))
    with pytest.raises(CheckpointError, match=r"random batch 0, of lengths .* differs from PyTorch's by 0\.0001"):
        export_onnx(run, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encoder", ["bilstm", "gru", "torch-rnn", "transformer"])
def test_what_rounding_costs_a_trained_model_is_tolerated(tmp_path: Path, encoder: str) -> None:
    """The larger the weights, the more rounding errors grow from step to step, in PyTorch as in ONNX Runtime."""
    classifier = Classifier.from_pretrained(train(tmp_path, encoder, SMALL), device="cpu")
    with torch.no_grad():
        for name, weight in classifier._model.named_parameters():
            weight.mul_(300 if name.startswith("head") else 1.3)
    classifier.save_pretrained(tmp_path / "large")
    result = export_onnx(tmp_path / "large", tmp_path / "model.onnx")
    assert result.largest_difference > onnx_export.TOLERANCE
    assert result.largest_difference < 0.01


@pytest.mark.parametrize("encoder", ["lstm", "gru"])
def test_gates_in_a_wrong_order_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str) -> None:
    run = train(tmp_path, encoder, SMALL)
    layer = onnx_network._ENCODERS[encoder].args[0]
    gates = layer.keywords["gates"]
    wrong = partial(layer.func, **{**layer.keywords, "gates": (gates[1], gates[0], *gates[2:])})
    monkeypatch.setitem(onnx_network._ENCODERS, encoder, partial(onnx_network._recurrent, wrong))
    with pytest.raises(CheckpointError, match="was not kept"):
        export_onnx(run, tmp_path / "model.onnx")


def test_8_bits_cost_what_is_said(tmp_path: Path) -> None:
    changes = {
        "fit": {"epochs": 1, "device": "cpu", "batch_size": 64},
        "model": {"embedding_size": 32},
        "data": {"dataset": "reviews", "dataset_options": {"train_size": 400, "validation_size": 100, "test_size": 2}},
    }
    config = load_recipe("default", encoder="mean-pool").updated(changes, source="test")
    run = Trainer(None, None, config=config, callbacks=[], output=tmp_path / "run").fit().run_dir
    result = export_onnx(run, tmp_path / "model.onnx", int8=True)
    assert result.int8 is not None
    assert result.int8.float32 == Classifier.from_pretrained(run, device="cpu").evaluate(split="validation").score
    assert result.int8.int8.count == result.int8.float32.count
    assert 0 < result.int8.largest_difference < 0.1
    assert abs(result.int8.accuracy_loss) < 0.05
    ours = OnnxClassifier.from_pretrained(result.path)
    assert ours.precision == "int8"
    together = ours.predict_proba(TEXTS)
    np.testing.assert_array_equal(together, np.concatenate([ours.predict_proba([text]) for text in TEXTS]))


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("bilstm", "cnn", "transformer") else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted(set(registry.encoders.builtins) - {"linear"})
    ],
)
def test_8_bits_are_near(tmp_path: Path, name: str) -> None:
    run = train(tmp_path, name, SIZES.get(name, SMALL))
    result = export_onnx(run, tmp_path / "model.onnx", int8=True)
    assert result.int8 is None
    assert result.reason == "the model was trained on splits given as objects"
    expected = Classifier.from_pretrained(run, device="cpu").predict_proba(TEXTS)
    np.testing.assert_allclose(OnnxClassifier.from_pretrained(result.path).predict_proba(TEXTS), expected, atol=0.01)


def test_an_encoder_of_others_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(tmp_path, "lstm", SMALL)
    monkeypatch.delitem(onnx_network._ENCODERS, "lstm")
    with pytest.raises(UsageError, match="lstm has no ONNX form; those that have one are bilstm, bilstm-mean-pool, cnn"):
        export_onnx(run, tmp_path / "model.onnx")


def test_wrong_outputs_are_told_at_once(run: Path, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputExistsError, match="choose another --output"):
        export_onnx(run, exported)
    with pytest.raises(UsageError, match=r"does not end in \.onnx"):
        export_onnx(run, tmp_path / "model.bin")
    with pytest.raises(CheckpointError, match="cannot write"):
        export_onnx(run, tmp_path / "none" / "model.onnx")
    with pytest.raises(CheckpointError, match="there is no model directory"):
        export_onnx(tmp_path / "none", tmp_path / "model.onnx")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_extra_is_named(
    run: Path, exported: Path, tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed; run: pip install 'seqcls\[onnx\]'"):
        export_onnx(run, tmp_path / "model.onnx")
    with pytest.raises(MissingExtraError, match=r"pip install 'seqcls\[onnx\]'"):
        OnnxClassifier.from_pretrained(exported)


def test_batches_to_check_are_of_many_lengths_and_paddings(run: Path) -> None:
    classifier, rng = Classifier.from_pretrained(run, device="cpu"), np.random.default_rng(0)
    found = [onnx_export._random_batch(rng, classifier) for _ in range(200)]
    assert {int(length) for _, lengths in found for length in lengths} >= set(range(1, 31))
    assert {inputs.shape[1] - lengths.max() for inputs, lengths in found} == set(range(9))
    assert {len(lengths) for _, lengths in found} == set(range(1, 9))
