"""Files that `seqcls export` did not write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqcls import OnnxClassifier
from seqcls.errors import CheckpointError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def _rewrite(exported: Path, path: Path, change: Any) -> Path:
    model = onnx.load_model(exported)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def _property(model: Any, name: str, value: str) -> None:
    next(entry for entry in model.metadata_props if entry.key == f"seqcls.{name}").value = value


def _external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="/etc/passwd")


def _in_a_body(model: Any) -> None:
    body = onnx.helper.make_graph([onnx.helper.make_node("Loop", [], ["x"])], "body", [], [])
    model.graph.node.append(onnx.helper.make_node("Scan", [], ["y"], body=body, num_scan_inputs=0))


def _constant_outside(model: Any) -> None:
    tensor = onnx.numpy_helper.from_array(np.zeros(2, dtype=np.float32))
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    model.graph.node.append(onnx.helper.make_node("Identity", [], ["y"], value=tensor))


def _more_labels(model: Any) -> None:
    entry = next(entry for entry in model.metadata_props if entry.key == "seqcls.config.json")
    config = json.loads(entry.value)
    entry.value = json.dumps({**config, "label_names": [*config["label_names"], "another"]})


HOSTILE: dict[str, tuple[Any, str]] = {
    "of another program": (lambda model: model.ClearField("metadata_props"), r"lacks seqcls\.config\.json in its metadata"),
    "weights in another file": (_external, "keeps values outside of the file"),
    "an attribute in another file": (_constant_outside, "keeps values outside of the file"),
    "an operator": (lambda model: model.graph.node.append(onnx.helper.make_node("Loop", [], ["x"])), "operator 'Loop'"),
    "an operator inside": (_in_a_body, "operator 'Loop'"),
    "functions": (lambda model: model.functions.add(), "has functions of its own"),
    "a config that is none": (lambda model: _property(model, "config.json", "{"), "is not valid JSON"),
    "another version": (lambda model: _property(model, "config.json", '{"format_version": 9}'), "format version 9"),
    "a form": (lambda model: _property(model, "config.json", '{"format_version": 1}'), "label_names: Field required"),
    "a tokenizer": (lambda model: _property(model, "tokenizer.json", '{"model": 1}'), r"tokenizer\.json"),
    "a large tokenizer": (lambda model: _property(model, "tokenizer.json", " " * ((64 << 20) + 1)), "above 67,108,864"),
    "a precision": (lambda model: _property(model, "precision", "int4"), "the precision 'int4'"),
    "no nodes": (lambda model: model.graph.ClearField("node"), "ONNX Runtime cannot load"),
    "other labels": (_more_labels, "does not fit its"),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_file_that_seqcls_would_not_write_is_refused(exported: Path, tmp_path: Path, fault: str) -> None:
    change, message = HOSTILE[fault]
    path = _rewrite(exported, tmp_path / "model.onnx", change)
    with pytest.raises(CheckpointError, match=message):
        OnnxClassifier.from_pretrained(path).predict(["superb"])


def test_a_damaged_file_is_refused_or_answers(exported: Path, tmp_path: Path) -> None:
    whole, path, rng = exported.read_bytes(), tmp_path / "model.onnx", np.random.default_rng(0)
    refused = 0
    for number in range(60):
        damaged = bytearray(whole)
        if number % 2:
            del damaged[rng.integers(len(damaged)) :]
        else:
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            OnnxClassifier.from_pretrained(path).predict(["superb"])
        except CheckpointError as error:
            refused += str(path) in str(error)
    assert refused >= 30  # every file that was cut off


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no file"):
        OnnxClassifier.from_pretrained(tmp_path / "none.onnx")
    with pytest.raises(CheckpointError, match="there is no file"):
        OnnxClassifier.from_pretrained(tmp_path)
