from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import toy_config, toy_splits

from seqcls import Classifier, Trainer
from seqcls.errors import CheckpointError
from seqcls.storage.model_directory import load_model_directory
from seqcls.storage.run_directory import RunDirectory
from seqcls.storage.snapshot import load_training
from seqcls.storage.upgrade import FORMAT_VERSION
from seqcls.storage.writing import to_json


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    Trainer(None, toy_splits(), config=toy_config(epochs=1), callbacks=[], output=folder).fit()
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def _rewrite_config(model: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change config.json and its hash, as another version of seqcls might have written it."""
    description = json.loads((model / "config.json").read_bytes())
    change(description)
    data = to_json(description)
    (model / "config.json").write_bytes(data)
    hashes = json.loads((model / "manifest.json").read_bytes())
    hashes["config.json"] = hashlib.sha256(data).hexdigest()
    (model / "manifest.json").write_bytes(to_json(hashes))


def test_a_model_directory_holds_what_prediction_needs_and_nothing_pickled(run: Path) -> None:
    names = {"README.md", "config.json", "manifest.json", "metrics.json", "model.safetensors", "tokenizer.json"}
    assert {path.name for path in (run / "model").iterdir()} == names
    for path in run.rglob("*"):
        assert path.suffix in {".json", ".jsonl", ".toml", ".md", ".safetensors", ""}
        assert path.is_dir() or not path.read_bytes().startswith((b"\x80", b"PK"))


@pytest.mark.parametrize("name", ["config.json", "manifest.json", "metrics.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "empty"])
def test_a_damaged_file_is_named(run: Path, name: str, damage: str) -> None:
    path = run / "model" / name
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    # A flipped byte of the manifest is a wrong hash: then the file that it belongs to is named.
    with pytest.raises(CheckpointError, match=name if (name, damage) != ("manifest.json", "flipped") else "model"):
        load_model_directory(run / "model")


def test_the_model_card_shows_the_scores(run: Path) -> None:
    scores = {split: score for split, score in json.loads((run / "model" / "metrics.json").read_bytes()).items() if score}
    shown = re.findall(r"^\| (\w+) \| ([\d.]+) \| ([\d.]+)% \| (\d+) \|$", (run / "model" / "README.md").read_text(), re.M)
    assert {split for split, *_ in shown} == set(scores) - {"calibration"} == {"validation", "test"}
    for split, loss, accuracy, count in shown:
        assert float(loss) == pytest.approx(scores[split]["loss"], abs=1e-4)
        assert float(accuracy) == pytest.approx(100 * scores[split]["accuracy"], abs=0.01)
        assert int(count) == scores[split]["count"]


def test_the_model_card_may_be_edited(run: Path) -> None:
    (run / "model" / "README.md").write_text("my own words")
    load_model_directory(run / "model")


def test_a_damaged_training_state_is_named(run: Path) -> None:
    last = RunDirectory.open(run).checkpoints.pointed("last")
    assert last is not None
    (last / "training.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"training\.safetensors"):
        load_training(last)


def test_a_format_of_the_future_is_refused(run: Path) -> None:
    _rewrite_config(run / "model", lambda description: description.update(format_version=FORMAT_VERSION + 1))
    with pytest.raises(CheckpointError, match=f"format version {FORMAT_VERSION + 1}"):
        load_model_directory(run / "model")


@pytest.mark.parametrize("kind", ["encoder", "embedding"])
def test_a_model_made_with_a_plugin_names_the_package_to_install(run: Path, kind: str) -> None:
    def change(description: dict[str, Any]) -> None:
        star = {"name": "star", "target": "star:Star", "distribution": "seqcls-star", "version": "2.1"}
        description["plugins"][kind] = star
        description["config"]["model"][kind] = "star"

    _rewrite_config(run / "model", change)
    with pytest.raises(CheckpointError, match=r"pip install seqcls-star==2\.1"):
        Classifier.from_pretrained(run / "model")


def test_weights_of_another_shape_are_named(run: Path) -> None:
    def change(description: dict[str, Any]) -> None:
        description["config"]["model"]["encoder_options"]["hidden_size"] = 7

    _rewrite_config(run / "model", change)
    with pytest.raises(CheckpointError, match=r"encoder\.recurrence\.layers.* has shape"):
        Classifier.from_pretrained(run / "model")


@pytest.mark.parametrize("kind", ["nothing", "empty folder", "file"])
def test_what_is_no_model_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model"
    if kind == "empty folder":
        path.mkdir()
    elif kind == "file":
        path.write_text("text")
    with pytest.raises(CheckpointError, match="model"):
        Classifier.from_pretrained(path)


def test_a_run_without_a_final_model_gives_its_best_checkpoint(run: Path) -> None:
    shutil.rmtree(run / "model")
    assert Classifier.from_pretrained(run).predict(["superb"])


def _save(run: Path) -> None:
    trainer = Trainer.resume(run, changes={"fit": {"epochs": 2}}, data=toy_splits(), callbacks=[])
    trainer.fit()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(
    ("function", "nth"), [("fsync", 1), ("fsync", 5), ("fsync", 9), ("fsync", 10), ("rename", 1), ("replace", 1)]
)
def test_a_failing_save_leaves_the_earlier_checkpoint_whole(
    run: Path, monkeypatch: pytest.MonkeyPatch, function: str, nth: int, number: int
) -> None:
    before = RunDirectory.open(run).checkpoints.pointed("last")
    assert before is not None
    weights = load_model_directory(before).weights
    original, calls = getattr(os, function), 0

    def failing(*arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError(number, os.strerror(number))
        return original(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, function, failing)
        with pytest.raises(CheckpointError, match=os.strerror(number)):
            _save(run)
    after = RunDirectory.open(run).checkpoints.pointed("last")
    assert after is not None
    load_training(after)
    if after == before:
        assert all(torch.equal(tensor, weights[name]) for name, tensor in load_model_directory(after).weights.items())
    assert not [path for path in run.rglob("*") if path.name.startswith(".")]
    _save(run)  # and the run goes on from there


def test_metrics_of_evaluations_are_lines_of_json(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1]
    assert {"step", "epoch", "train", "validation", "lr", "seconds", "examples_per_second", "best"} == set(rows[0])
    (evaluation,) = RunDirectory.open(run).evaluations()
    assert evaluation.best is True
    assert evaluation.as_evaluation().as_dict() == {name: value for name, value in rows[0].items() if name != "best"}
