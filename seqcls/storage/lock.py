"""The lock of a run directory: one process writes there at a time."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from seqcls.errors import CheckpointError
from seqcls.storage.writing import writing

LOCK_NAME = "lock"

logger = logging.getLogger("seqcls")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing in ``folder`` for the block; the lock also ends with the process, however that ends.

    Raises:
        CheckpointError: Another process holds the lock, or the folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        with writing(folder):
            file = stack.enter_context((folder / LOCK_NAME).open("a+b"))
            _lock(file.fileno(), folder)
            file.truncate(0)
            file.write(f"{os.getpid()}\n{torchrun_job() or ''}\n".encode())
            file.flush()
        yield


def last_job(folder: Path) -> str | None:
    """Return the torchrun job that locked ``folder`` last, as `torchrun_job` names it; None if there was no such job."""
    path = folder / LOCK_NAME
    lines = path.read_text(errors="replace").split("\n") if path.is_file() else []
    return (lines[1] or None) if len(lines) > 1 else None


def torchrun_job() -> str | None:
    """Return a name for the torchrun that started this process, the same after a restart; None without torchrun."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"process {os.getppid()}" if name == "none" else name  # "none": the user gave no name


def _lock(descriptor: int, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        # POSIX locks, not flock's: data workers are copies of this process, and must not keep the lock when it is killed.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            logger.warning("cannot lock %s (%s); make sure that only one process trains there", folder, error.strerror)
            return
        owner = os.pread(descriptor, 20, 0).decode(errors="replace").partition("\n")[0]
        raise CheckpointError(
            f"{folder} is in use by process {owner}; wait for it, stop it, or give another --output"
        ) from None
