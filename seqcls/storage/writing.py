"""What all writers share: JSON that is the same each time, tensors, and one error for a disk that is full or read-only."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from seqcls.errors import CheckpointError
from seqcls.storage.upgrade import FORMAT_VERSION


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError into a CheckpointError that names ``path``."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another --output. "
            "Checkpoints already written are kept"
        ) from error


def to_json(values: Mapping[str, Any]) -> bytes:
    """Return values as sorted, indented JSON."""
    return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()


def to_safetensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Return tensors as the content of a safetensors file."""
    # One metadata entry: the library writes several of them in random order.
    described = json.dumps({"format_version": FORMAT_VERSION}, sort_keys=True, separators=(",", ":"))
    values = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(values, metadata={"seqcls": described})
