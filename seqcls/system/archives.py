"""Reading tar and zip archives of strangers: what they may hold, and how much. Nothing is ever unpacked to disk."""

from __future__ import annotations

import gzip
import re
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from seqcls.errors import DataError


@dataclass(frozen=True)
class Limits:
    """The most that an archive may hold: members, bytes of one of them, and bytes of all, as they are unpacked."""

    members: int
    file_bytes: int
    total_bytes: int


def read_tar_gz(path: Path, limits: Limits, *, wanted: Callable[[str], bool], remedy: str) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of the wanted files of a .tar.gz, in one pass, when all members before them were found harmless.

    Raises:
        DataError: The archive is damaged; or it holds anything but regular files and folders, a name that leads elsewhere,
            or means another place on another system, or the name of another member; or it holds more than the limits.
    """
    members = _Members(path, limits, remedy)
    try:
        with _Counted(path, members) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as archive:
            for member in archive:
                is_folder = member.type == tarfile.DIRTYPE
                kind = "a sparse file" if member.issparse() else None if is_folder or member.type in _FILES else "no file"
                name = members.check(member.name, member.size, kind=kind, is_folder=is_folder)
                if not is_folder and wanted(name):
                    file = archive.extractfile(member)
                    assert file is not None  # only links and folders have no content
                    yield name, file.read()
            while unpacked.read(1 << 20):
                pass  # on to the end, where the sum is
    except (tarfile.TarError, EOFError, zlib.error, OSError, UnicodeError, ValueError) as error:
        raise DataError(f"{path} is damaged or cut off: {error}; {remedy}") from error


def check_zip(archive: zipfile.ZipFile, path: Path, limits: Limits, *, remedy: str) -> None:
    """Check the members of a zip archive, of which zipfile never reads more than their entries say.

    Raises:
        DataError: As `read_tar_gz`.
    """
    members, total = _Members(path, limits, remedy), 0
    for info in archive.infolist():
        mode = stat.S_IFMT(info.external_attr >> 16)
        is_plain = info.is_dir() or mode in (0, stat.S_IFREG)
        # orig_filename, since zipfile mends what it finds on Windows, and cuts at a zero byte.
        members.check(info.orig_filename, info.file_size, kind=None if is_plain else "no file", is_folder=info.is_dir())
        total += info.file_size
        members.check_total(total)


_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)


@dataclass
class _Members:
    """The members of an archive that were seen."""

    path: Path
    limits: Limits
    remedy: str
    count: int = 0
    names: set[str] = field(default_factory=set)

    def check(self, name: str, size: int, *, kind: str | None, is_folder: bool) -> str:
        """Return the plain name of the next member; DataError if it must not be there."""
        self.count += 1
        if self.count > self.limits.members:
            raise self._error(f"has more than {self.limits.members:,} members")
        plain = name.removeprefix("./")
        if kind is not None:
            raise self._error(f"holds {name!r:.100}, which is {kind}, but a link, a device or the like")
        if not _PLAIN.fullmatch(plain) and not (is_folder and plain in ("", ".", "./")):
            raise self._error(f"holds {name!r:.100}, which is no plain name in a folder")
        if size > self.limits.file_bytes:
            raise self._error(
                f"holds {name!r:.100} of {size:,} bytes, and none should have above {self.limits.file_bytes:,}"
            )
        if not is_folder:
            # Systems that take two names for one would put one file into the place of the other.
            key = plain.lower() if plain.isascii() else unicodedata.normalize("NFC", plain).casefold()
            if key in self.names:
                raise self._error(f"holds {name!r:.100} twice, or where upper and lower case are the same")
            self.names.add(key)
        return plain

    def check_total(self, size: int) -> None:
        if size > self.limits.total_bytes:
            raise self._error(f"unpacks to more than {self.limits.total_bytes:,} bytes")

    def _error(self, what: str) -> DataError:
        return DataError(f"{self.path} {what}; nothing was unpacked; {self.remedy}")


# Parts between slashes, of which none is empty, "." or "..", and none holds what means something to a system: a backslash,
# the colon of a drive, a control character.
_PLAIN = re.compile(r"(?:(?!\.{1,2}(?:/|$))[^/\\:\x00-\x1f\x7f]+/)*(?!\.{1,2}(?:/|$))[^/\\:\x00-\x1f\x7f]+/?")


class _Counted(gzip.GzipFile):
    """A file that counts what comes out of it, since a header may say anything of that.

    This is what tarfile reads, and not by its own reader: this one checks the sum at the end, and garbage gives errors of
    its own kinds.
    """

    def __init__(self, path: Path, members: _Members) -> None:
        super().__init__(path)
        self._members = members
        self._total = 0

    def read(self, size: int | None = None) -> bytes:
        data = super().read(size)
        self._total += len(data)
        self._members.check_total(self._total)
        return data
