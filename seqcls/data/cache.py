"""The cache of encoded data: one folder per entry, verified by hash when opened, written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from seqcls.data.encoding import (
    NGRAMS_FILE,
    EncodedData,
    encode_ngrams_to_file,
    encode_splits,
    encode_to_file,
    parse_preprocessor,
)
from seqcls.data.preprocessor import Preprocessor, Truncating
from seqcls.data.sequences import Sequences
from seqcls.data.splits import Splits
from seqcls.errors import DataError, SeqclsError
from seqcls.system.files import sync_directory, write_file
from seqcls.system.untrusted import JSON_LIMIT, check_form, parse_json, read_verified

# Raise this whenever the layout of an entry or the rules of a tokenizer change: older entries are then rebuilt.
FORMAT_VERSION = 6

# The files that are read whole and listed in manifest.json. Those of the splits may be larger than memory.
_SMALL_FILES = {"entry.json": JSON_LIMIT, "tokenizer.json": None}
_NGRAM_FILES = {**_SMALL_FILES, NGRAMS_FILE: None}
_BLOCK, _MOST_BLOCKS = 1 << 20, 256

logger = logging.getLogger("seqcls")


class EncodedCache:
    """Keeps encoded data in a folder, one entry per key.

    An entry is a folder of one safetensors file per split, tokenizer.json, entry.json, and manifest.json, which holds the
    SHA-256 of the other JSON files.

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
            reason = str(error).partition("; ")[0]  # the advice after it is for a model: here, there is nothing to do
            logger.warning("cached data in %s cannot be used: %s; it is rebuilt", folder, reason)
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


class _Entry(BaseModel):  # no dataclass: those are refused, in strict mode, where a label has a lone surrogate
    """entry.json: what the data are, the digest of the file of each split, and that of what it was encoded from."""

    model_config = ConfigDict(strict=True, frozen=True)

    format_version: int
    key: str
    label_names: list[str]
    max_length: int | None
    truncating: Truncating
    splits: dict[str, str]
    digests: dict[str, str]
    label_values: dict[str, bool | int]


def _read_entry(folder: Path, key: str) -> EncodedData:
    contents = read_verified(folder, _NGRAM_FILES if (folder / NGRAMS_FILE).exists() else _SMALL_FILES)
    values = parse_json(contents["entry.json"], folder / "entry.json")
    if (version := values.get("format_version")) != FORMAT_VERSION:
        raise DataError(f"entry.json has format version {version}, and this version of seqcls reads {FORMAT_VERSION}")
    entry = check_form(values, _Entry, folder / "entry.json")
    if entry.key != key:
        raise DataError(f"entry.json belongs to the key {entry.key}")
    for name, digest in entry.splits.items():
        if _digest_file(folder / _split_file(name)) != digest:
            raise DataError(f"{_split_file(name)} is damaged: its digest is not the one in entry.json")
    preprocessor = parse_preprocessor(
        contents["tokenizer.json"],
        folder / "tokenizer.json",
        max_length=entry.max_length,
        truncating=entry.truncating,
        ngrams=contents.get(NGRAMS_FILE),
    )
    files = {name: Sequences.load(folder / _split_file(name)) for name in entry.splits}
    splits = {
        name: replace(split, ngrams=files.get(_of_ngrams(name)))
        for name, split in files.items()
        if not name.endswith(_of_ngrams(""))
    }
    return EncodedData(preprocessor, splits, tuple(entry.label_names), entry.digests, entry.label_values)


def _write_entry(folder: Path, key: str, preprocessor: Preprocessor, splits: Splits) -> None:
    folder.mkdir()
    labelled = splits.labelled()
    for name, split in labelled.items():
        encode_to_file(folder / _split_file(name), preprocessor, split)
        if preprocessor.ngrams is not None:
            encode_ngrams_to_file(folder / _split_file(_of_ngrams(name)), preprocessor.ngrams, split)
    files = [*labelled, *(map(_of_ngrams, labelled) if preprocessor.ngrams is not None else ())]
    entry = _Entry(
        format_version=FORMAT_VERSION,
        key=key,
        label_names=list(splits.label_names),
        max_length=preprocessor.max_length,
        truncating=preprocessor.truncating,
        splits={name: _digest_file(folder / _split_file(name)) for name in files},
        digests=splits.digests(),
        label_values=dict(splits.label_values),
    )
    contents = {"entry.json": _to_json(entry.model_dump()), "tokenizer.json": preprocessor.to_json().encode()}
    if preprocessor.ngrams is not None:
        contents[NGRAMS_FILE] = preprocessor.ngrams.to_safetensors()
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    for name, data in {**contents, "manifest.json": _to_json(hashes)}.items():
        write_file(folder / name, data)


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


def _of_ngrams(split: str) -> str:
    """Return the name under which the n-grams of a split are kept."""
    return f"{split}-ngrams"


def _split_file(split: str) -> str:
    return f"{split}.safetensors"


def _digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's size and content; of a large file, of evenly spaced blocks of it, which is fast."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest = hashlib.sha256(size.to_bytes(8, "little"))
        step = max(_BLOCK, size // _MOST_BLOCKS)
        for start in range(0, size, step):
            file.seek(start)
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def _to_json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()
