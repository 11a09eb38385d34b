"""A small model and its ONNX file."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx_models import SMALL, train

from seqcls import export_onnx


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("trained"), "lstm", SMALL)


@pytest.fixture(scope="session")
def exported(run: Path) -> Path:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    return export_onnx(run, run.parent / "model.onnx").path
