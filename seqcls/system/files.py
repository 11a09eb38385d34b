"""Files and folders that are written whole or not at all: hidden sibling, flush to disk, rename."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# The names of files and folders that are not yet, or no longer, in their place.
_TEMPORARY = re.compile(r"\..+\.\d+\.(tmp|old)")


def write_file(path: Path, data: bytes) -> None:
    """Write a new file and flush it to disk."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write; when the block ends, it is flushed to disk and takes the place of ``path``."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # left by a killed process that had the same number
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Write ``path`` so that it holds either its old content or all of the new, whatever happens."""
    with replacing(path) as file:
        file.write(data)


@contextlib.contextmanager
def new_directory(path: Path, *, replace: bool) -> Iterator[Path]:
    """Yield a hidden sibling of ``path`` that takes its name when the block ends, and is removed if it fails."""
    make_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        sync_directory(temporary)
        with _set_aside(path) if replace and path.is_dir() else contextlib.nullcontext():
            temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_directory(path.parent)


def make_directory(path: Path) -> None:
    """Make a folder and those above it, and flush their names to disk."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        sync_directory(folder.parent)


def directory_bytes(path: Path) -> int:
    """Return the size of the files in a directory, without its subdirectories."""
    return sum(file.stat().st_size for file in path.iterdir() if file.is_file())


def free_name(path: Path) -> Path:
    """Return ``path``, or the first of path-2, path-3 … that does not exist."""
    number, free = 1, path
    while free.exists() or free.is_symlink():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def is_temporary(path: Path) -> bool:
    """Return whether ``path`` is an incomplete file or folder that the functions here write."""
    return _TEMPORARY.fullmatch(path.name) is not None


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders that a killed process left; no other process may be writing in ``folder``."""
    for path in folder.glob(".*"):
        if is_temporary(path):
            remove(path)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with everything in it."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    else:
        shutil.rmtree(path)


def sync_directory(path: Path) -> None:
    """Flush a folder's list of names to disk."""
    if os.name == "nt":  # Windows cannot open a folder
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _set_aside(path: Path) -> Iterator[None]:
    """Free the name of a folder for the block; then remove the folder, or put it back if the block fails."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.old")
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
    try:
        yield
    except BaseException:
        aside.rename(path)
        raise
    remove(aside)


def place_copy(source: Path, target: Path) -> None:
    """Put a copy of a file or folder in the place of another one; the files of a folder are linked where that works."""
    if source.is_file():
        replace_file(target, source.read_bytes())
        return
    if target.exists():
        remove(target)
    shutil.copytree(source, target, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # not on every file system
        shutil.copy2(source, target)
