"""Archives made to harm: each is one error that names the member, and nothing is left outside the archive."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seqcls.data.datasets.arrays import ArraysDataset
from seqcls.errors import DataError
from seqcls.system.archives import Limits, check_zip, read_tar_gz

LIMITS = Limits(members=5, file_bytes=1_000, total_bytes=20_000)
GOOD = ("data/good.txt", b"good")


def tar(*members: tarfile.TarInfo | tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", format=form) as archive:
        for member in members:
            if isinstance(member, tuple):
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
            else:
                archive.addfile(member)
    return file.getvalue()


def special(kind: bytes, *, target: str = "", name: str = "data/bad.txt") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def sparse() -> bytes:
    """A GNU sparse file of 2^40 bytes, none of which is in the archive."""
    info = tarfile.TarInfo("data/bad.txt")
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[156:157] = tarfile.GNUTYPE_SPARSE
    block[386:410] = b"%011o\0%011o\0" % (0, 0)
    block[483:495] = b"\x80" + (1 << 40).to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return gzip.compress(bytes(block) + bytes(1024))


def lying_pax() -> bytes:
    """A header of its own that says it has 2^33 bytes, of which a few are there."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 1 << 32
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + b"x" * 5_000)


def endless() -> bytes:
    """A few thousand bytes that unpack to a gigabyte of what is no member at all."""
    info = tarfile.TarInfo("data/bad.txt")
    return gzip.compress(info.tobuf() + bytes(1024) + bytes(50_000_000), 9)


TARS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a symbolic link": (
        lambda: tar(special(tarfile.SYMTYPE, target="/etc/passwd")),
        "'data/bad.txt', which is a link, a device",
    ),
    "a link in the place of a folder": (
        lambda: tar(special(tarfile.SYMTYPE, target="/tmp", name="data"), ("data/x.txt", b"x")),
        "'data', which is a link, a device",
    ),
    "a hard link": (lambda: tar(GOOD, special(tarfile.LNKTYPE, target="../../outside")), "which is a link, a device"),
    "a device": (lambda: tar(special(tarfile.CHRTYPE)), "which is a link, a device"),
    "a block device": (lambda: tar(special(tarfile.BLKTYPE)), "which is a link, a device"),
    "a pipe": (lambda: tar(special(tarfile.FIFOTYPE)), "which is a link, a device"),
    "a sparse file": (sparse, "which is a sparse file"),
    "an absolute path": (lambda: tar(("/etc/cron.d/x.txt", b"x")), "'/etc/cron.d/x.txt', which is not a plain name"),
    "a path upwards": (lambda: tar(("data/../../x.txt", b"x")), "which is not a plain name"),
    "a path upwards at the end": (lambda: tar(("data/..", b"x")), "which is not a plain name"),
    "a folder upwards": (lambda: tar(special(tarfile.DIRTYPE, name="../data")), "which is not a plain name"),
    "a backslash": (lambda: tar(("data\\..\\x.txt", b"x")), "which is not a plain name"),
    "a drive": (lambda: tar(("C:x.txt", b"x")), "which is not a plain name"),
    "a control character": (lambda: tar(("data/\x1b[2Jx.txt", b"x")), "which is not a plain name"),
    "an empty part": (lambda: tar(("data//x.txt", b"x")), "which is not a plain name"),
    "a name twice": (lambda: tar(GOOD, GOOD), "'data/good.txt' twice"),
    "a name twice, once with a dot": (lambda: tar(GOOD, ("./data/good.txt", b"x")), "twice"),
    "names that differ in case": (lambda: tar(GOOD, ("data/GOOD.txt", b"x")), "'data/GOOD.txt' twice"),
    "names that differ in the form of an accent": (
        lambda: tar(("data/caf\u00e9.txt", b"x"), ("data/cafe\u0301.txt", b"x")),
        "twice",
    ),
    "too many members": (lambda: tar(*((f"data/{number}.txt", b"x") for number in range(6))), "more than 5 members"),
    "a large file": (lambda: tar(("data/x.txt", bytes(1_001))), "of 1,001 bytes, more than the 1,000 allowed"),
    "a large file that nobody wants": (lambda: tar(("other", bytes(1_001))), "of 1,001 bytes"),
    "a bomb": (endless, "unpacks to more than 20,000 bytes"),
    "a header that lies": (lying_pax, "unexpected end of data|damaged or truncated"),
    "an archive cut off": (lambda: tar(GOOD)[:-10], "damaged or truncated"),
    "a sum that is wrong": (lambda: tar(GOOD)[:-8] + bytes(8), "damaged or truncated"),
}


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, two levels below another."""
    here = tmp_path / "above" / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    return tmp_path


@pytest.mark.parametrize("attack", TARS)
def test_a_tar_that_is_made_to_harm_is_refused(outside: Path, attack: str) -> None:
    make, words = TARS[attack]
    (outside / "bad.tar.gz").write_bytes(make())
    before = sorted(outside.rglob("*"))
    tracemalloc.start()
    with pytest.raises(DataError, match=words) as caught:
        list(read_tar_gz(outside / "bad.tar.gz", LIMITS, wanted=lambda name: name.endswith(".txt"), remedy="get another"))
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()
    assert str(caught.value).startswith(f"{outside}/bad.tar.gz ")
    assert str(caught.value).endswith("; get another")
    assert "\x1b" not in str(caught.value)
    assert sorted(outside.rglob("*")) == before


def test_a_tar_of_plain_files_is_read(tmp_path: Path) -> None:
    folder = tarfile.TarInfo("./data/")
    folder.type = tarfile.DIRTYPE
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        members = (folder, GOOD, ("./data/..hidden.txt", b"2"), ("data/unwanted", b"x" * 1_000))
        (tmp_path / "plain.tar.gz").write_bytes(tar(*members, form=form))
        found = list(read_tar_gz(tmp_path / "plain.tar.gz", LIMITS, wanted=lambda name: name.endswith(".txt"), remedy=""))
        assert found == [GOOD, ("data/..hidden.txt", b"2")]


def test_an_archive_may_hold_as_much_as_the_limits_say(tmp_path: Path) -> None:
    content = tar(("1.txt", bytes(1_000)), ("2.txt", b"2"))
    (tmp_path / "plain.tar.gz").write_bytes(content)
    size = len(gzip.decompress(content))
    for limits, fits in (
        (Limits(2, 1_000, size), True),
        (Limits(2, 1_000, size - 1), False),
        (Limits(1, 1_000, size), False),
    ):
        with contextlib.nullcontext() if fits else pytest.raises(DataError):
            list(read_tar_gz(tmp_path / "plain.tar.gz", limits, wanted=lambda name: False, remedy=""))


def test_a_zip_may_hold_as_much_as_the_limits_say(tmp_path: Path) -> None:
    (tmp_path / "plain.npz").write_bytes(zipped((zip_member(stat.S_IFREG | 0o644), bytes(1_000)), ("2.npy", b"2")))
    for limits, fits in (
        (Limits(2, 1_000, 1_001), True),
        (Limits(2, 1_000, 1_000), False),
        (Limits(1, 1_000, 1_001), False),
    ):
        with (
            zipfile.ZipFile(tmp_path / "plain.npz") as archive,
            contextlib.nullcontext() if fits else pytest.raises(DataError),
        ):
            check_zip(archive, tmp_path / "plain.npz", limits, remedy="")


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def zip_member(mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("values.npy")
    info.external_attr = mode << 16
    return info


ZIPS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a symbolic link": (lambda: zipped((zip_member(0o120777), b"/etc/passwd")), "which is a link, a device"),
    "an absolute path": (lambda: zipped(("/etc/x", b"")), "which is not a plain name"),
    "a path upwards": (lambda: zipped(("../x", b"")), "which is not a plain name"),
    "a folder upwards": (lambda: zipped(("../x/", b"")), "which is not a plain name"),
    "a backslash": (lambda: zipped(("..\\x", b"")), "which is not a plain name"),
    "a drive": (lambda: zipped(("c:\\x", b"")), "which is not a plain name"),
    "names that differ in case": (lambda: zipped(("x", b""), ("X", b"")), "twice"),
    "too many members": (lambda: zipped(*((str(number), b"") for number in range(6))), "more than 5 members"),
    "a bomb": (lambda: zipped(("x", bytes(1_001))), "of 1,001 bytes"),
    "many bombs": (
        lambda: zipped(*((str(number), bytes(1_000)) for number in range(5))),
        "unpacks to more than 4,000 bytes",
    ),
}


@pytest.mark.parametrize("attack", ZIPS)
def test_a_zip_that_is_made_to_harm_is_refused(outside: Path, attack: str) -> None:
    make, words = ZIPS[attack]
    (outside / "bad.npz").write_bytes(make())
    limits = Limits(members=5, file_bytes=1_000, total_bytes=4_000)
    with zipfile.ZipFile(outside / "bad.npz") as archive, pytest.raises(DataError, match=words):
        check_zip(archive, outside / "bad.npz", limits, remedy="get another")


def test_the_data_sets_check_their_archives(tmp_path: Path) -> None:
    values = io.BytesIO()
    np.save(values, np.zeros(3))
    (tmp_path / "data.npz").write_bytes(zipped(("values.npy", values.getvalue()), ("../x", b"")))
    with pytest.raises(DataError, match=r"'\.\./x', which is not a plain name in a folder; nothing was unpacked"):
        ArraysDataset(path=str(tmp_path / "data.npz")).load()
    assert not os.path.lexists(tmp_path.parent / "x")
