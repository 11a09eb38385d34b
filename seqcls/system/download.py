"""Verified downloads: a file has its final name only once it is complete and has the known hash."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from seqcls.errors import DownloadError
from seqcls.system.paths import switched_on

if TYPE_CHECKING:
    import requests

TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 16  # bytes between two updates of the progress bar


def fetch(url: str, *, known_hash: str, folder: Path, largest: int, remedy: str) -> Path:
    """Download a file into ``folder`` unless it is there with the known hash; shows a progress bar on a terminal.

    The bytes go to a temporary file that is verified and then renamed; it is removed if anything fails.

    Args:
        url: The address; its last part becomes the name of the file.
        known_hash: "md5:…" or "sha256:…".
        folder: The target folder.
        largest: The most bytes to accept, so that an endless response does not fill the disk.
        remedy: What else the user can do, for the error message.

    Raises:
        DownloadError: There is no network, downloads are forbidden, or the response is not the expected file.
    """
    name = url.rsplit("/", 1)[-1]
    if switched_on("SEQCLS_OFFLINE") and not (folder / name).exists():
        raise DownloadError(f"{name} is not on this machine, and SEQCLS_OFFLINE forbids downloads; {remedy}")
    import pooch
    import requests  # which pooch downloads with

    # pooch logs what the progress bar and the error show anyway.
    pooch.get_logger().setLevel(logging.WARNING)
    try:
        with _Bar(name, largest) as bar:
            hooks = {"response": _refuse_downgrade}
            downloader = pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT, chunk_size=CHUNK, hooks=hooks)
            return Path(pooch.retrieve(url, known_hash, fname=name, path=folder, downloader=downloader))
    except ValueError as error:
        raise DownloadError(f"the response from {url} is not the expected file ({error}); try again, or {remedy}") from error
    except requests.exceptions.RequestException as error:
        raise DownloadError(f"cannot download {url}: {error}; check the network, or {remedy}") from error
    except OSError as error:
        reason = error.strerror or error
        raise DownloadError(f"cannot write {folder / name}: {reason}; set SEQCLS_HOME to another folder") from error


def _refuse_downgrade(response: requests.Response, **_: object) -> None:
    """Refuse a redirect from https to an unencrypted address."""
    from requests.exceptions import InvalidSchema

    target = urljoin(response.url, response.headers.get("location", ""))
    if response.is_redirect and response.url.startswith("https:") and not target.startswith("https:"):
        raise InvalidSchema(f"it redirects to {target:.200}, which is not encrypted")


class _Bar:
    """The progress bar that pooch updates; it also counts the bytes."""

    def __init__(self, name: str, largest: int) -> None:
        self._largest = largest
        self._count = 0
        columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
        self._task = self._progress.add_task(name)
        self.total = 0

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, count: int) -> None:
        self._count += count
        if self._count > self._largest + CHUNK:  # pooch counts whole chunks
            raise ValueError(f"it has more than {self._largest:,} bytes")
        self._progress.update(self._task, advance=count, total=self.total)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        self._progress.stop()
