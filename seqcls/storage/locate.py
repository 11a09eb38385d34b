"""From what a user names to the model directory: a folder, a run directory, or a repository on Hugging Face."""

from __future__ import annotations

from pathlib import Path

from seqcls.errors import CheckpointError
from seqcls.storage.hub import download
from seqcls.storage.run_directory import RunDirectory
from seqcls.system.hub import is_repo_id


def resolve_model_path(path: Path, *, revision: str | None = None) -> Path:
    """Return the folder of a model, downloading it if need be.

    Args:
        path: A model directory or a checkpoint; or a run directory, for its final model or, until there is one, its best
            checkpoint; or "user/model", a repository on Hugging Face, if neither that folder nor the folder "user" exists.
        revision: Of a repository, the branch, tag or full commit hash; by default the branch main.

    Raises:
        CheckpointError: There is no such model.
        HubError: The repository cannot be downloaded.
    """
    if not path.is_dir():
        if is_repo_id(path.as_posix()):
            return download(path.as_posix(), revision=revision)
        is_onnx = path.suffix.lower() == ".onnx" and path.is_file()
        hint = "; to predict with an ONNX file, use `seqcls predict` or seqcls.OnnxClassifier" if is_onnx else ""
        raise CheckpointError(f"there is no model directory {path}{hint}")
    if (path / "config.json").is_file() or (path / "manifest.json").is_file():
        return path
    run = RunDirectory(path)
    model = run.model if run.model.is_dir() else run.checkpoints.pointed("best")
    if model is None:
        raise CheckpointError(
            f"{path} is neither a model directory (no config.json) nor a run directory (no checkpoints.json)"
        )
    return model
