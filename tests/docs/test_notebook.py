"""The notebook runs from top to bottom in a kernel of its own, and shows what it promises."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")

NOTEBOOK = ROOT / "examples" / "seqcls.ipynb"
# The same data set, small, which the notebook need not know.
SMALL = """
from seqcls.data.datasets.reviews import ReviewsDataset
ReviewsDataset.__init__.__kwdefaults__.update(train_size=200, validation_size=50, test_size=60)
"""


def _read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = [cell for cell in _read().cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))  # not the user's
    notebook = _read()
    notebook.cells.insert(0, nbformat.v4.new_code_cell(SMALL))
    notebook.cells[2].source += "\nfolder = Path('runs')"
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [kind for output in outputs if "data" in output for kind in output.data]
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    assert "image/png" in shown  # the curves
    assert any("seqcls-explanation" in output.data.get("text/html", "") for output in outputs if "data" in output)
    assert "temperature" in printed
    assert (tmp_path / "runs" / "lstm" / "model").is_dir()
    assert [output for output in outputs if output.output_type == "error"] == []
