"""What the environment says: the cache folder, the data folder, and switches."""

from __future__ import annotations

import os
from pathlib import Path


def switched_on(variable: str) -> bool:
    """Return whether an environment variable is set, to anything but "" and "0"."""
    return os.environ.get(variable, "0") not in ("", "0")


def cache_home() -> Path:
    """Return the folder for files that can be restored: SEQCLS_HOME, otherwise the platform's cache folder."""
    home = os.environ.get("SEQCLS_HOME")
    if home:
        return Path(home).expanduser()
    import pooch

    return Path(pooch.os_cache("seqcls"))


def data_dir(name: str) -> Path | None:
    """Return the folder of a data set's files under SEQCLS_DATA_DIR; None if the variable is not set."""
    folder = os.environ.get("SEQCLS_DATA_DIR")
    return Path(folder).expanduser() / name if folder else None
