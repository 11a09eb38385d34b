"""Changes to the files of a model directory, with the manifest made right again.

Whoever changes a file can change its hash, so a test that changes a file through these functions shows the check behind the
hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from seqcls.storage.writing import to_json

Change = Callable[[Path], object]
DEEP = b"[" * 100_000


def seal(directory: Path) -> None:
    """Make the hashes in the manifest those of the files."""
    names = json.loads((directory / "manifest.json").read_bytes())
    hashes = {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in names}
    (directory / "manifest.json").write_bytes(to_json(hashes))


def content(name: str, data: bytes | Callable[[bytes], bytes]) -> Change:
    """Change the bytes of a file."""

    def change(directory: Path) -> None:
        path = directory / name
        path.write_bytes(data if isinstance(data, bytes) else data(path.read_bytes()))
        if name != "manifest.json":
            seal(directory)

    return change


def values(name: str, change: Callable[[dict[str, Any]], object]) -> Change:
    """Change the values of a JSON file."""

    def changed(data: bytes) -> bytes:
        entries = json.loads(data)
        change(entries)
        return to_json(entries)

    return content(name, changed)


def config(section: str, **settings: Any) -> Change:
    """Change settings in config.json."""
    return values("config.json", lambda entries: entries["config"][section].update(settings))


def described(**entries: Any) -> Change:
    """Change entries of config.json."""
    return values("config.json", lambda whole: whole.update(entries))


def plugin(**entries: Any) -> Change:
    """Change the record of the encoder in config.json."""
    return values("config.json", lambda whole: whole["plugins"]["encoder"].update(entries))


def tensors(change: Callable[[dict[str, torch.Tensor]], object], name: str = "model.safetensors") -> Change:
    """Change the tensors of a safetensors file."""

    def changed(directory: Path) -> None:
        entries = load_file(directory / name)
        change(entries)
        content(name, save(entries))(directory)

    return changed


def header(change: Callable[[dict[str, Any]], object]) -> Change:
    """Change the tensors' entries in the header of model.safetensors, and leave its metadata and the tensors."""

    def changed(data: bytes) -> bytes:
        size = int.from_bytes(data[:8], "little")
        entries = json.loads(data[8 : 8 + size])
        metadata = {"__metadata__": entries.pop("__metadata__")}
        change(entries)
        text = json.dumps(metadata | entries).encode()
        return len(text).to_bytes(8, "little") + text + data[8 + size :]

    return content("model.safetensors", changed)


def put_in_place(name: str, make: Callable[[Path], object]) -> Change:
    """Put something else in the place of a file."""

    def change(directory: Path) -> None:
        (directory / name).unlink()
        make(directory / name)

    return change


def tokenizer(change: Callable[[dict[str, Any]], object]) -> Change:
    """Change the values of tokenizer.json."""
    return values("tokenizer.json", change)
