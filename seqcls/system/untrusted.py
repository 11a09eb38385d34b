"""Files that nobody vouches for, read with care: each is looked at before it costs memory, and believed after every check.

What a model directory holds may be cut off, garbled, or made to harm; a hash in it finds damage but no malice, since whoever
changes a file can change the hash. Every fault is a CheckpointError that names the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from seqcls.errors import CheckpointError

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from torch import Tensor

JSON_LIMIT = 4 << 20
"""Most bytes of a JSON file: room for 100,000 labels, while the worst content of that size takes 100 MB when parsed."""

# What reading JSON, or tensors, of an unexpected form can raise.
GARBLED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)

_AGAIN = "copy all of it again from where it came"

_Form = TypeVar("_Form")


def read_verified(path: Path, limits: Mapping[str, int | None]) -> dict[str, bytes]:
    """Return the contents of files of a directory after comparing each with its hash in the manifest.

    Args:
        path: The directory.
        limits: The most bytes of each file by its name; None for one whose size is its content's.
    """
    hashes = read_json(path / "manifest.json")
    for name, digest in hashes.items():
        if not re.fullmatch(r"\w[\w.-]*", name) or not re.fullmatch("[0-9a-f]{64}", str(digest)):
            raise CheckpointError(f"{path}/manifest.json is no list of files and their SHA-256, see {name!r:.60}; {_AGAIN}")
    contents = {name: read_file(path / name, limit) for name, limit in limits.items()}
    for name, data in contents.items():
        if hashlib.sha256(data).hexdigest() != hashes.get(name):
            raise CheckpointError(
                f"{path / name} is damaged or was changed: its SHA-256 is not the one in manifest.json; {_AGAIN}"
            )
    return contents


def read_file(path: Path, limit: int | None) -> bytes:
    """Return the content of a regular file of the directory that ``path`` is in, and of at most ``limit`` bytes."""
    if not _is_own(path):
        raise CheckpointError(f"{path} is a link that leaves the directory; put the file itself there")
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device could wait for ever
            raise CheckpointError(f"{path} is no regular file; {_AGAIN}")
        if limit is not None and status.st_size > limit:
            raise CheckpointError(f"{path} has {status.st_size:,} bytes, and no such file has above {limit:,}; {_AGAIN}")
        return path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} lacks {path.name}; copy the whole folder") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except MemoryError as error:
        raise CheckpointError(f"{path} does not fit into memory; {_AGAIN}") from error


def _is_own(path: Path) -> bool:
    """Return whether a file, a link followed, is in its directory, or in the cache of Hugging Face that this is part of.

    A link that someone else made could lead to any file of the one who loads the model: one that is private, or on a network
    that never answers. The links of that cache, snapshots/REVISION/NAME -> blobs/HASH, are made on this machine.
    """
    if not path.is_symlink():
        return True
    home, target = (Path(os.path.realpath(place)) for place in (path.parent, path))
    blobs = [folder.parent / "blobs" for folder in home.parents if folder.name == "snapshots"]
    return target.is_relative_to(home) or target.parent in blobs


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object as `read_file` and `parse_json` do."""
    return parse_json(read_file(path, JSON_LIMIT), path)


def parse_json(data: bytes, path: Path) -> dict[str, Any]:
    """Return the JSON object of the file ``path``, in which no name may stand twice."""
    try:
        values = json.loads(data, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}; {_AGAIN}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} does not hold a JSON object; {_AGAIN}")
    return values


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Readers disagree on which of two values counts, so that one program would check what another one uses.
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"{name!r:.60} stands in it twice")
        values[name] = value
    return values


def check_form(values: object, form: Callable[..., _Form], path: Path) -> _Form:
    """Return the JSON values of the file ``path`` as an object of a pydantic model or dataclass, after strict validation."""
    from pydantic import ValidationError  # here, since `seqcls.inference.portable.numpy_classifier` does without it

    try:
        # Given as JSON, strict validation accepts a list for a tuple, and an object for a dataclass.
        checked: _Form = _adapter(form).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False, include_context=False)[0]
        name = ".".join(map(str, detail["loc"]))
        raise CheckpointError(f"{path}: {name:.80}: {detail['msg']:.200}; {_AGAIN}") from None
    return checked


@cache
def _adapter(form: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(form)


def parse_tensors(data: bytes, path: Path) -> dict[str, Tensor]:
    """Return the tensors of the safetensors file ``path``, which must fill it without a gap or an overlap."""
    from safetensors import SafetensorError  # here, since what reads text alone does without torch
    from safetensors.torch import load

    # The library checks sizes and places, but takes the last of two tensors of one name.
    size = int.from_bytes(data[:8], "little")
    if size > min(len(data) - 8, JSON_LIMIT):
        raise CheckpointError(f"{path} is cut off, or no safetensors file: its header should have {size:,} bytes; {_AGAIN}")
    parse_json(data[8 : 8 + size], path)
    try:
        return load(data)
    except (SafetensorError, RuntimeError, *GARBLED) as error:
        raise CheckpointError(f"{path} is not a valid safetensors file: {error}; {_AGAIN}") from error
