"""Reading untrusted files: sizes are checked before anything is read, and content before it is used.

A file of a model directory may be truncated, corrupt or malicious. Its hash detects damage but not malice, since whoever
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
"""The most bytes of a JSON file: room for 100,000 labels, while the worst content of this size takes 100 MB when parsed."""

# The exceptions that JSON or tensors of an unexpected form can raise.
GARBLED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)

_AGAIN = "copy the whole folder from its source again"

_Form = TypeVar("_Form")


def read_verified(path: Path, limits: Mapping[str, int | None]) -> dict[str, bytes]:
    """Return the contents of files of a directory, each compared with its hash in the manifest.

    Args:
        path: The directory.
        limits: The most bytes of each file, by name; None for no limit.

    Raises:
        CheckpointError: A file is missing, damaged or too large.
    """
    hashes = read_json(path / "manifest.json")
    for name, digest in hashes.items():
        if not re.fullmatch(r"\w[\w.-]*", name) or not re.fullmatch("[0-9a-f]{64}", str(digest)):
            raise CheckpointError(
                f"{path}/manifest.json is not a list of files and their SHA-256, see {name!r:.60}; {_AGAIN}"
            )
    contents = {name: read_file(path / name, limit) for name, limit in limits.items()}
    for name, data in contents.items():
        if hashlib.sha256(data).hexdigest() != hashes.get(name):
            raise CheckpointError(
                f"{path / name} is damaged or was changed: its SHA-256 is not the one in manifest.json; {_AGAIN}"
            )
    return contents


def read_file(path: Path, limit: int | None) -> bytes:
    """Return the content of a regular file of at most ``limit`` bytes, which no link places outside its directory."""
    if not _is_inside(path):
        raise CheckpointError(f"{path} is a link that leaves the directory; put the file itself there")
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device could wait forever
            raise CheckpointError(f"{path} is not a regular file; {_AGAIN}")
        if limit is not None and status.st_size > limit:
            raise CheckpointError(f"{path} has {status.st_size:,} bytes, more than the {limit:,} allowed; {_AGAIN}")
        return path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} lacks {path.name}; copy the whole folder") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except MemoryError as error:
        raise CheckpointError(f"{path} does not fit into memory; {_AGAIN}") from error


def _is_inside(path: Path) -> bool:
    """Return whether a file, or the target of a link, is in its directory or in the Hugging Face cache that contains it.

    A malicious link could lead to any file of the user who loads the model, such as a private file, or one on a network
    drive that never answers. The links of the cache, snapshots/REVISION/NAME -> blobs/HASH, were made on this machine.
    """
    if not path.is_symlink():
        return True
    directory, target = (Path(os.path.realpath(each)) for each in (path.parent, path))
    blobs = [folder.parent / "blobs" for folder in directory.parents if folder.name == "snapshots"]
    return target.is_relative_to(directory) or target.parent in blobs


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object as `read_file` and `parse_json` do."""
    return parse_json(read_file(path, JSON_LIMIT), path)


def parse_json(data: bytes, path: Path) -> dict[str, Any]:
    """Return the JSON object in the file ``path``, in which no name may occur twice."""
    try:
        values = json.loads(data, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}; {_AGAIN}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} does not hold a JSON object; {_AGAIN}")
    return values


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Readers disagree on which of two values counts, so one program would check a value that another does not use.
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"{name!r:.60} occurs twice")
        values[name] = value
    return values


def check_form(values: object, form: Callable[..., _Form], path: Path) -> _Form:
    """Return the JSON values of the file ``path`` as an object of a pydantic model or dataclass, after strict validation."""
    from pydantic import ValidationError  # here, since `seqcls.inference.portable.numpy_classifier` does without it

    try:
        checked: _Form = _validated(_adapter(form), values)
    except RecursionError:
        raise CheckpointError(f"{path} is nested too deeply; {_AGAIN}") from None
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False, include_context=False)[0]
        name = ".".join(map(str, detail["loc"]))
        raise CheckpointError(f"{path}: {name:.80}: {detail['msg']:.200}; {_AGAIN}") from None
    return checked


def _validated(adapter: TypeAdapter[_Form], values: object) -> _Form:
    try:
        text = json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # pydantic's JSON has no lone surrogates, which a label may hold
        return adapter.validate_python(values, strict=True)
    return adapter.validate_json(text, strict=True)  # accepts a list for a tuple, and an object for a dataclass


@cache
def _adapter(form: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(form)


def parse_tensors(data: bytes, path: Path) -> dict[str, Tensor]:
    """Return the tensors in the safetensors file ``path``, which must fill it without a gap or an overlap."""
    from safetensors import SafetensorError  # here, since readers of text alone do not need torch
    from safetensors.torch import load

    # The library checks sizes and offsets, but accepts two tensors of the same name.
    size = int.from_bytes(data[:8], "little")
    if size > min(len(data) - 8, JSON_LIMIT):
        raise CheckpointError(
            f"{path} is truncated or not a safetensors file: its header should have {size:,} bytes; {_AGAIN}"
        )
    parse_json(data[8 : 8 + size], path)
    try:
        return load(data)
    except (SafetensorError, RuntimeError, *GARBLED) as error:
        raise CheckpointError(f"{path} is not a valid safetensors file: {error}; {_AGAIN}") from error
