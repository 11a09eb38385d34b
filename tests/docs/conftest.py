"""What the pages find when they run: an empty folder, a small `reviews`, and a complete but tiny IMDB archive."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile
from pathlib import Path

import pytest

from seqcls.apps.report.write import FILE_NAME
from seqcls.config import auto
from seqcls.data.datasets import imdb
from seqcls.data.datasets.reviews import ReviewsDataset

REVIEWS = {"train_size": 400, "validation_size": 100, "test_size": 100}
IMDB = {"train/neg": 60, "train/pos": 60, "train/unsup": 10, "test/neg": 10, "test/pos": 10}


@pytest.fixture
def _playground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Whoever shows `seqcls fit` on a page means the real data; here the same commands take seconds.

    Reports would take most of them, and are written where the page is about them.
    """
    if "report" not in request.node.name:
        monkeypatch.setattr(
            "seqcls.apps.cli.extras._write_report", lambda trainer, result, quiet: str(result.run_dir / FILE_NAME)
        )
    folder = tmp_path / "page"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("SEQCLS_DATA_DIR", str(tmp_path / "data"))
    for name, size in REVIEWS.items():
        monkeypatch.setitem(ReviewsDataset.__init__.__kwdefaults__, name, size)
    monkeypatch.setattr(auto, "STEPS", 50)
    archive = _pack_imdb(tmp_path / "data" / "imdb" / imdb.ARCHIVE)
    monkeypatch.setattr(imdb, "COUNTS", IMDB)
    monkeypatch.setattr(imdb, "MD5", hashlib.md5(archive.read_bytes()).hexdigest())


def _pack_imdb(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    files = {}
    for folder, count in IMDB.items():
        split, part = folder.split("/")
        for number in range(count):
            files[f"{folder}/{number}_5.txt"] = f"Film {number} of {folder} was {'good' if part == 'pos' else 'bad'}."
        urls = [f"http://www.imdb.com/title/tt{number % 30:07}/usercomments\n" for number in range(count)]
        files[f"{split}/urls_{part}.txt"] = "".join(urls)
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"{imdb.FOLDER}/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path
