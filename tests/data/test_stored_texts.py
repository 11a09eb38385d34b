"""Texts in a temporary file: where it is, and what happens where it cannot be."""

from __future__ import annotations

import csv
import errno
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqcls.data import stored_texts
from seqcls.data.datasets.delimited import Dialect, open_delimited
from seqcls.data.stored_texts import StoredTexts
from seqcls.errors import DataError

TEXTS = ["one", "", "zwei", "\ud800", "x" * 10_000, "\u4e09"]


@pytest.fixture(params=["pread", "seek"])
def _way_of_reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "seek":  # as on Windows
        monkeypatch.delattr(os, "pread")


@pytest.mark.usefixtures("_way_of_reading")
def test_texts_come_back_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_texts, "_BLOCK", 16)
    stored = StoredTexts.write(iter(TEXTS))
    assert list(stored) == TEXTS
    assert [stored[index] for index in (5, 0, 3)] == [TEXTS[5], TEXTS[0], TEXTS[3]]
    assert list(stored[1:4]) == TEXTS[1:4]
    assert list(stored.take(np.array([4, 1]))) == [TEXTS[4], TEXTS[1]]


def test_a_cache_folder_that_cannot_be_written_is_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SEQCLS_HOME", str(tmp_path / "file"))
    with caplog.at_level("WARNING", logger="seqcls"):
        assert list(StoredTexts.write(TEXTS)) == TEXTS
    assert len(caplog.records) == 1
    assert "cannot write in" in caplog.text


class Full:
    """A temporary file on a disk without room."""

    def write(self, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None: ...


def test_a_full_disk_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_texts.tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(DataError, match=r"No space left.*SEQCLS_HOME"):
        StoredTexts.write(TEXTS)

    def refuse(**_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(stored_texts.tempfile, "TemporaryFile", refuse)
    with pytest.raises(DataError, match=r"Read-only.*SEQCLS_HOME"):
        StoredTexts.write(TEXTS)


def test_an_error_of_the_reader_stays_its_own() -> None:
    def texts() -> Any:
        yield "one"
        raise OSError(errno.EIO, "of the source")

    with pytest.raises(OSError, match="of the source"):
        StoredTexts.write(texts())


def test_a_long_field_needs_no_limit_beyond_that_of_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = csv.field_size_limit

    def as_on_windows(*new: int) -> int:
        if new and new[0] > (1 << 31) - 1:
            raise OverflowError("Python int too large to convert to C long")
        return limit(*new)

    monkeypatch.setattr(csv, "field_size_limit", as_on_windows)
    text = "word " * 100_000
    (tmp_path / "a.csv").write_text(f"text,label\n{text},a\n")
    (row,) = open_delimited(tmp_path / "a.csv", Dialect(known_columns=frozenset({"text"})), "utf-8").rows
    assert row.values["text"] == text  # type: ignore[union-attr]
    assert sys.maxsize > (1 << 31)
