"""No path, link or name in a model leads the reader out of its directory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hostile_changes import config

from seqcls import Classifier
from seqcls.errors import CheckpointError
from seqcls.storage.locate import resolve_model_path
from seqcls.storage.run_directory import RunDirectory
from seqcls.storage.writing import to_json
from seqcls.system.untrusted import read_file


def test_a_path_in_the_settings_is_never_opened(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret.csv"
    os.mkfifo(secret)  # opening it would wait forever
    config("data", dataset=str(secret), tokenizer=str(secret))(model)
    config("fit", class_weights=str(secret))(model)
    config("model", embedding="pretrained", embedding_options={"path": str(secret)})(model)
    assert Classifier.from_pretrained(model, device="cpu").predict(["superb film"])


def test_links_to_a_model_and_within_it_are_followed(model: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(model)
    (model / "config.json").rename(model / "config-1.json")
    (model / "config.json").symlink_to("config-1.json")
    assert Classifier.from_pretrained(tmp_path / "current", device="cpu").predict(["superb film"])


def test_a_model_in_the_cache_of_hugging_face_is_read(model: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--me--mine" / "blobs", tmp_path / "models--me--mine" / "snapshots" / "0a1b"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in model.iterdir():
        path.rename(blobs / path.name)
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert Classifier.from_pretrained(snapshot, device="cpu").predict(["superb film"])


@pytest.mark.parametrize("name", ["snapshot", "tmp"])
def test_a_folder_beside_one_named_blobs_is_not_the_cache_of_hugging_face(model: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / "0a1b"
    shutil.copytree(model, folder)
    (tmp_path / "blobs").mkdir()
    (folder / "config.json").rename(tmp_path / "blobs" / "config.json")
    (folder / "config.json").symlink_to("../../blobs/config.json")
    with pytest.raises(CheckpointError, match="link that leaves"):
        Classifier.from_pretrained(folder, device="cpu")


def test_a_file_may_have_as_many_bytes_as_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    path.write_bytes(b"12345")
    assert read_file(path, 5) == b"12345"
    with pytest.raises(CheckpointError, match="5 bytes, more than the 4"):
        read_file(path, 4)


@pytest.mark.parametrize("name", ["../../../etc", "/etc", "..", "a/b", 7, [], ""])
def test_a_pointer_to_anything_but_a_checkpoint_of_the_run_is_refused(trained: Path, tmp_path: Path, name: object) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (run / "checkpoints.json").write_bytes(to_json({"best": name, "last": name}))
    with pytest.raises(CheckpointError, match=r"checkpoints\.json: best"):
        RunDirectory(run).checkpoints.pointed("last")
    shutil.rmtree(run / "model")
    with pytest.raises(CheckpointError, match=r"checkpoints\.json: best"):
        resolve_model_path(run)
