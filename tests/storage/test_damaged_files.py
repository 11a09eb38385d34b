"""A file that was cut off, or in which a bit has flipped, is never read as if it were whole."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hostile_changes import content

from seqcls import Classifier
from seqcls.errors import CheckpointError
from seqcls.storage.model_directory import load_model_directory
from seqcls.storage.snapshot import load_training


def _boundaries(path: Path) -> set[int]:
    """Return the ends of a file's parts (in safetensors: length, header, each tensor) and the positions next to them."""
    data = path.read_bytes()
    ends = [0, len(data) // 2, len(data)]
    if path.suffix == ".safetensors":
        size = int.from_bytes(data[:8], "little")
        entries = json.loads(data[8 : 8 + size]).values()
        ends += [8, 8 + size, *(8 + size + place for entry in entries for place in entry.get("data_offsets", []))]
    else:
        ends += [number for number, byte in enumerate(data) if byte in b"{}[],:"][:: max(1, len(data) // 500)]
        ends = [end for end in ends if end < len(data.rstrip()) - 1]  # white space at the end does not matter
    return {cut for end in ends for cut in (end - 1, end, end + 1) if 0 <= cut < len(data)}


@pytest.mark.parametrize("name", ["config.json", "manifest.json", "metrics.json", "model.safetensors", "tokenizer.json"])
def test_a_file_cut_at_any_boundary_is_refused(model: Path, name: str) -> None:
    whole = (model / name).read_bytes()
    for cut in sorted(_boundaries(model / name)):
        content(name, whole[:cut])(model)
        with pytest.raises(CheckpointError, match=name):
            Classifier.from_pretrained(model, device="cpu")


@pytest.mark.parametrize("name", ["training.json", "training.safetensors"])
def test_a_training_state_cut_at_any_boundary_is_refused(checkpoint: Path, name: str) -> None:
    whole = (checkpoint / name).read_bytes()
    for cut in sorted(_boundaries(checkpoint / name)):
        content(name, whole[:cut])(checkpoint)
        with pytest.raises(CheckpointError, match=name):
            load_training(checkpoint)


def test_each_of_500_flipped_bits_is_noticed(checkpoint: Path) -> None:
    rng = random.Random(0)
    paths = sorted(path for path in checkpoint.iterdir() if path.name != "README.md")
    sizes = [path.stat().st_size for path in paths]
    for _ in range(500):
        # Half of them fall on any byte, the others on any file, so that small files are hit too.
        (path,) = rng.choices(paths, sizes if rng.random() < 0.5 else None)
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError, match=str(checkpoint)):
            _load_whole(checkpoint)
        path.write_bytes(whole)
    _load_whole(checkpoint)


def _load_whole(checkpoint: Path) -> None:
    load_model_directory(checkpoint)
    load_training(checkpoint)
