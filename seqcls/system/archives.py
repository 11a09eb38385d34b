"""Reading untrusted tar and zip archives within limits. Nothing is ever unpacked to disk."""

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
    """The most that an archive may hold: members, unpacked bytes per member, and unpacked bytes in total."""

    members: int
    file_bytes: int
    total_bytes: int


def read_tar_gz(path: Path, limits: Limits, *, wanted: Callable[[str], bool], remedy: str) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of the wanted files of a .tar.gz, in one pass, after checking all members before them.

    Raises:
        DataError: The archive is damaged; or it holds anything but regular files and folders; or a name leads out of the
            folder, means another path on another system, or occurs twice; or the archive exceeds the limits.
    """
    members = _Members(path, limits, remedy)
    try:
        with _Counted(path, members) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as archive:
            for member in archive:
                is_folder = member.type == tarfile.DIRTYPE
                kind = "a sparse file" if member.issparse() else None if is_folder or member.type in _FILES else _NOT_A_FILE
                name = members.check(member.name, member.size, kind=kind, is_folder=is_folder)
                if not is_folder and wanted(name):
                    file = archive.extractfile(member)
                    assert file is not None  # only links and folders have no content
                    yield name, file.read()
            while unpacked.read(1 << 20):
                pass  # on to the end, where the checksum is
    except (tarfile.TarError, EOFError, zlib.error, OSError, UnicodeError, ValueError) as error:
        raise DataError(f"{path} is damaged or truncated: {error}; {remedy}") from error


def check_zip(archive: zipfile.ZipFile, path: Path, limits: Limits, *, remedy: str) -> None:
    """Check the members of a zip archive. From each of them, zipfile never reads more bytes than its entry states.

    Raises:
        DataError: As for `read_tar_gz`.
    """
    members, total = _Members(path, limits, remedy), 0
    for info in archive.infolist():
        mode = stat.S_IFMT(info.external_attr >> 16)
        is_plain = info.is_dir() or mode in (0, stat.S_IFREG)
        # orig_filename, since zipfile changes filename on Windows, and cuts it at a zero byte.
        members.check(info.orig_filename, info.file_size, kind=None if is_plain else _NOT_A_FILE, is_folder=info.is_dir())
        total += info.file_size
        members.check_total(total)


_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
_NOT_A_FILE = "a link, a device or the like"


@dataclass
class _Members:
    """The members of an archive that were read so far."""

    path: Path
    limits: Limits
    remedy: str
    count: int = 0
    names: set[str] = field(default_factory=set)

    def check(self, name: str, size: int, *, kind: str | None, is_folder: bool) -> str:
        """Return the plain name of the next member; DataError if the archive must not hold it."""
        self.count += 1
        if self.count > self.limits.members:
            raise self._error(f"has more than {self.limits.members:,} members")
        plain = name.removeprefix("./")
        if kind is not None:
            raise self._error(f"holds {name!r:.100}, which is {kind}")
        if not _PLAIN.fullmatch(plain) and not (is_folder and plain in ("", ".", "./")):
            raise self._error(f"holds {name!r:.100}, which is not a plain name in a folder")
        if size > self.limits.file_bytes:
            raise self._error(f"holds {name!r:.100} of {size:,} bytes, more than the {self.limits.file_bytes:,} allowed")
        if not is_folder:
            # Where the system takes two names for the same one, one file would replace the other.
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


# Parts between slashes. No part is empty, "." or "..", or has a character with a meaning to some system: a backslash, the
# colon of a drive, a control character.
_PLAIN = re.compile(r"(?:(?!\.{1,2}(?:/|$))[^/\\:\x00-\x1f\x7f]+/)*(?!\.{1,2}(?:/|$))[^/\\:\x00-\x1f\x7f]+/?")


class _Counted(gzip.GzipFile):
    """A gzip file that counts the bytes that it yields, since a header may claim any size.

    tarfile reads from it instead of from its own reader, which does not check the checksum at the end.
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
