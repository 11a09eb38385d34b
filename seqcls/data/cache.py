"""The cache of encoded data: one folder per entry, verified by hash when opened, written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from seqcls.data.encoding import EncodedData, encode_splits, encode_to_file, parse_preprocessor
from seqcls.data.preprocessor import Preprocessor
from seqcls.data.sequences import Sequences
from seqcls.data.splits import Splits
from seqcls.errors import DataError, SeqclsError
from seqcls.system.files import replace_file, sync_directory
from seqcls.system.untrusted import GARBLED

# Raise this whenever the layout of an entry or the rules of a tokenizer change: older entries are then rebuilt.
FORMAT_VERSION = 2

_MANIFEST = "manifest.json"
_TOKENIZER = "tokenizer.json"
_BLOCK, _MOST_BLOCKS = 1 << 20, 256

logger = logging.getLogger("seqcls")


class EncodedCache:
    """Keeps encoded data in a folder, one entry per key: tokenizer.json, one safetensors file per split, manifest.json.

    A fault of the folder never stops the work: an entry that cannot be trusted counts as missing, and a
    folder that cannot be written is not used, both with a warning. Processes may share a folder.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)

    def open(self, key: str) -> EncodedData | None:
        """Return the entry, its splits memory-mapped, after a check of every byte; None if it is missing or unsound.

        For a file above 256 MB, 256 evenly spaced blocks are checked, so that a large entry opens at once.

        Args:
            key: A hash of everything that the data depend on, made of letters, digits, "-" and "_".
        """
        folder = self._folder(key)
        try:
            return _read_entry(folder, key) if folder.is_dir() else None
        except (OSError, SeqclsError) as error:
            logger.warning("cached data in %s cannot be used: %s; it is rebuilt", folder, error)
            return None

    def store(self, key: str, preprocessor: Preprocessor, splits: Splits) -> EncodedData:
        """Encode the labelled splits into an entry, replacing an unsound one, and return it as `open` does.

        The sequences are encoded on their way to the disk, since there may be more of them than fit in memory. The entry is
        written under a hidden name and renamed, so that it is there whole or not at all. If that fails, a warning says why,
        and the splits are encoded in memory.
        """
        folder = self._folder(key)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{key}-", dir=self.root, ignore_cleanup_errors=True) as staging:
                _write_entry(Path(staging) / "new", key, preprocessor, splits)
                _publish(Path(staging), folder, key)
            sync_directory(self.root)
        except OSError as error:
            logger.warning("cannot cache encoded data in %s: %s; going on without the cache", self.root, error)
            return encode_splits(preprocessor, splits)
        return self.open(key) or encode_splits(preprocessor, splits)

    def _folder(self, key: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", key):
            raise ValueError(f"{key!r} is not a cache key; give letters, digits, '-' and '_'")
        return self.root / key


def _read_entry(folder: Path, key: str) -> EncodedData:
    manifest = _read_manifest(folder / _MANIFEST, key)
    for name, recorded in manifest["files"].items():
        if _file_record(folder / name) != recorded:
            raise DataError(f"{name} is damaged: its size or SHA-256 is not that in {_MANIFEST}")
    path = folder / _TOKENIZER
    limits = {name: manifest[name] for name in ("max_length", "truncating")}
    preprocessor = parse_preprocessor(path.read_bytes(), path, **limits)
    splits = {name: Sequences.load(folder / _split_file(name)) for name in manifest["splits"]}
    return EncodedData(preprocessor, splits, tuple(manifest["label_names"]))


def _read_manifest(path: Path, key: str) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
        version, digest = manifest.get("format_version"), manifest.pop("sha256", None)
    except GARBLED as error:
        raise DataError(f"{path.name} is damaged: {error}") from error
    if version != FORMAT_VERSION:
        raise DataError(f"{path.name} has format version {version}; this version of seqcls reads {FORMAT_VERSION}")
    if digest != _manifest_digest(manifest):
        raise DataError(f"{path.name} is damaged: its content does not have the SHA-256 recorded in it")
    if manifest["key"] != key:
        raise DataError(f"{path.name} belongs to the key {manifest['key']}")
    return dict(manifest)


def _write_entry(folder: Path, key: str, preprocessor: Preprocessor, splits: Splits) -> None:
    folder.mkdir()
    preprocessor.save(folder / _TOKENIZER)
    labelled = splits.labelled()
    for name, split in labelled.items():
        encode_to_file(folder / _split_file(name), preprocessor, split)
    manifest = {
        "format_version": FORMAT_VERSION,
        "key": key,
        "label_names": list(splits.label_names),
        "max_length": preprocessor.max_length,
        "truncating": preprocessor.truncating,
        "splits": list(labelled),
        "files": {name: _file_record(folder / name) for name in [_TOKENIZER, *map(_split_file, labelled)]},
    }
    manifest["sha256"] = _manifest_digest(manifest)
    replace_file(folder / _MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())


def _publish(staging: Path, folder: Path, key: str) -> None:
    """Move staging/new to ``folder``, unless another process has put a sound entry there."""
    for attempt in range(10):
        try:
            (staging / "new").rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) or attempt == 9:
                raise
        else:
            return
        if _is_sound(folder, key):
            return
        _move_away(folder, staging / f"old-{attempt}")


def _is_sound(folder: Path, key: str) -> bool:
    try:
        _read_entry(folder, key)
    except (OSError, SeqclsError):
        return False
    return True


def _move_away(path: Path, target: Path) -> None:
    try:
        path.rename(target)  # it is removed together with the staging folder
    except FileNotFoundError:
        return  # another process was faster


def _split_file(split: str) -> str:
    return f"{split}.safetensors"


def _file_record(path: Path) -> dict[str, int | str]:
    """Return size and SHA-256; of a large file, the SHA-256 of evenly spaced blocks, so that it is fast."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        step = max(_BLOCK, size // _MOST_BLOCKS)
        for start in range(0, size, step):
            file.seek(start)
            digest.update(file.read(_BLOCK))
    return {"size": size, "sha256": digest.hexdigest()}


def _manifest_digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
