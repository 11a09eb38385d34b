"""Finished runs of earlier versions, which this one must read, answer from and resume as they did. See make.py.

What old models leave out of their settings must go on meaning what it meant: a default that changes, changes them.
"""

from __future__ import annotations

import json
import platform
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from defaults import change_defaults

from seqcls import Classifier, Config, NumpyClassifier, OnnxClassifier, Trainer, export_onnx, registry

HERE = Path(__file__).parent
CORPUS = {folder.name: json.loads((folder / "expected.json").read_text("utf-8")) for folder in sorted(HERE.glob("[0-9]*"))}
RUNS = [(version, name) for version, contents in CORPUS.items() for name in contents["runs"]]
DEFAULTS = [(version, name) for version, contents in CORPUS.items() for name in contents["default_parameters"]]

TOLERANCE = 1e-6
# Plugins that no earlier version had. `bilstm` was an alias of `bilstm-mean-pool`, which is what models recorded.
NEW_NAMES = {"bilstm", "linear", "static"}
# What a runtime does not compute, by the names of encoders and embeddings: nothing that comes with seqcls.
NOT_IN_NUMPY: frozenset[str] = frozenset()
NOT_IN_ONNX: frozenset[str] = frozenset()
# Dropout draws other numbers in other builds of PyTorch: elsewhere, a run is resumed, but to figures of its own.
IS_MADE_THERE = platform.machine() in ("x86_64", "AMD64") and torch.__version__ >= "2.13"  # compared as versions


@pytest.fixture
def expected(version: str, name: str) -> dict[str, Any]:
    return CORPUS[version]["runs"][name]


@pytest.fixture
def inputs(version: str, expected: dict[str, Any]) -> list[Any]:
    given = CORPUS[version]["inputs"][expected["inputs"]]
    return given if expected["inputs"] == "text" else [np.array(steps, dtype=np.float32) for steps in given]


@pytest.fixture
def run(version: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run beside its data, in the current folder: that is where its settings look for them."""
    shutil.copytree(HERE / version / "data", tmp_path / "data")
    with tarfile.open(HERE / version / f"{name}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path / name


def _labels(figures: dict[str, Any]) -> list[Any]:
    names, thresholds = figures["labels"], figures["thresholds"]
    if thresholds is None:
        return [names[int(np.argmax(row))] for row in figures["probabilities"]]
    rows = np.array(figures["probabilities"]) >= np.array(thresholds)
    return [tuple(label for label, has in zip(names, row, strict=True) if has) for row in rows]


def _check(model: Any, inputs: list[Any], figures: dict[str, Any]) -> None:
    np.testing.assert_allclose(model.predict_proba(inputs), figures["probabilities"], rtol=0, atol=TOLERANCE)
    assert model.predict(inputs) == _labels(figures)
    assert list(model.label_names) == figures["labels"]
    assert model.temperature == figures["temperature"]
    assert (None if model.thresholds is None else list(model.thresholds)) == figures["thresholds"]


def test_the_corpus_has_every_builtin_encoder_and_embedding() -> None:
    builtins = set(registry.encoders.builtins) - NEW_NAMES
    runs = [run for contents in CORPUS.values() for run in contents["runs"].values()]
    encoders = {(run["encoder"], run["inputs"]) for run in runs}
    assert encoders == {(name, inputs) for name in builtins for inputs in ("text", "numbers")}
    assert {run["embedding"] for run in runs} == set(registry.embeddings.builtins) - NEW_NAMES
    assert {name for _, name in DEFAULTS} == builtins


@pytest.mark.parametrize("version", CORPUS)
def test_the_corpus_has_what_is_expected_of_each_run(version: str) -> None:
    archives = {file.name.removesuffix(".tar.xz") for file in (HERE / version).glob("*.tar.xz")}
    assert archives == set(CORPUS[version]["runs"])


@pytest.mark.parametrize(("version", "name"), RUNS)
def test_an_old_model_answers_as_it_did(run: Path, inputs: list[Any], expected: dict[str, Any]) -> None:
    _check(Classifier.from_pretrained(run, device="cpu"), inputs, expected["trained"])


@pytest.mark.parametrize(("version", "name"), RUNS)
def test_an_old_model_answers_in_numpy_as_it_did(run: Path, inputs: list[Any], expected: dict[str, Any]) -> None:
    assert not {expected["encoder"], expected["embedding"]} & NOT_IN_NUMPY
    _check(NumpyClassifier.from_pretrained(run), inputs, expected["trained"])


@pytest.mark.parametrize(("version", "name"), RUNS)
def test_a_new_default_changes_no_old_model(
    run: Path, inputs: list[Any], expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("encoder", "embedding"):
        change_defaults(monkeypatch, registry.REGISTRIES[kind].get(expected[kind]))
    _check(Classifier.from_pretrained(run, device="cpu"), inputs, expected["trained"])
    _check(NumpyClassifier.from_pretrained(run), inputs, expected["trained"])


@pytest.mark.parametrize(("version", "name"), RUNS)
def test_an_old_model_answers_in_onnx_as_it_did(run: Path, inputs: list[Any], expected: dict[str, Any]) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    assert not {expected["encoder"], expected["embedding"]} & NOT_IN_ONNX
    exported = export_onnx(run, run.parent / "model.onnx").path
    _check(OnnxClassifier.from_pretrained(exported), inputs, expected["trained"])


@pytest.mark.parametrize(("version", "name"), RUNS)
def test_an_old_run_is_resumed_to_the_same_figures(run: Path, inputs: list[Any], expected: dict[str, Any]) -> None:
    changes = {"fit": {"epochs": expected["epochs"] + 1, "device": "cpu"}}
    result = Trainer.resume(run, changes=changes, callbacks=[]).fit()
    assert result.stop_reason == "all epochs done"
    assert result.validation is not None
    probabilities = Classifier.from_pretrained(run, device="cpu").predict_proba(inputs)
    figures = expected["resumed"]
    assert probabilities.shape == np.shape(figures["probabilities"])
    if IS_MADE_THERE:
        assert result.validation.loss == pytest.approx(figures["loss"], abs=1e-5)
        assert result.validation.accuracy == figures["accuracy"]
        np.testing.assert_allclose(probabilities, figures["probabilities"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("version", "name"), DEFAULTS)
def test_the_sizes_that_old_models_leave_out_are_as_they_were(
    version: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(HERE / version / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    settings = {
        "data": {"dataset": "data/texts.csv", "vocab_size": 30, "validation_fraction": 0.3},
        "model": {"encoder": name, "embedding_size": 4},
        "fit": {"device": "cpu"},
    }
    plan = Trainer(config=Config().updated(settings, source="test"), callbacks=[]).plan()
    assert plan.parameters == CORPUS[version]["default_parameters"][name]
