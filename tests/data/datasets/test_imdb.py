"""The imdb data set: the same from archive, folder and download; damaged or incomplete data are refused."""

from __future__ import annotations

import contextlib
import errno
import functools
import http.server
import io
import logging
import os
import random
import re
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import requests

from seqcls.data.datasets import imdb
from seqcls.data.datasets.imdb import ImdbDataset
from seqcls.errors import DataError, DownloadError
from seqcls.system import download
from seqcls.testing import check_dataset

COUNTS = {"train/neg": 30, "train/pos": 30, "train/unsup": 20, "test/neg": 10, "test/pos": 10}
FILMS = 12


@pytest.fixture(autouse=True)
def _small_and_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A complete data set is small here, and no real one is found; but for the test on the real archive."""
    monkeypatch.setenv("SEQCLS_HOME", str(tmp_path / "home"))
    if "imdb" not in request.keywords:
        monkeypatch.setattr(imdb, "COUNTS", COUNTS)
        monkeypatch.delenv("SEQCLS_DATA_DIR", raising=False)


def _files() -> dict[str, bytes]:
    files = {}
    for folder, count in COUNTS.items():
        split, part = folder.split("/")
        for number in range(count):
            text = f"Review {number} of {folder}.<br /><br />Café."
            files[f"{folder}/{number}_{7 if part == 'pos' else 2}.txt"] = text.encode()
        urls = [f"http://www.imdb.com/title/tt{number % FILMS:07}/usercomments" for number in range(count)]
        files[f"{split}/urls_{part}.txt"] = ("\n".join(urls) + "\n").encode()
    return files


def _pack(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"aclImdb/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def _unpack(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return _pack(tmp_path / "data" / "imdb" / "aclImdb_v1.tar.gz", _files())


def test_an_archive_gives_all_splits_with_labels_and_films(archive: Path) -> None:
    splits = ImdbDataset(source=str(archive), validation_fraction=0.2).load()
    assert splits.validation is not None
    assert splits.test is not None
    assert splits.unlabelled is not None
    assert len(splits.train) + len(splits.validation) == 60
    assert (len(splits.test), len(splits.unlabelled)) == (20, 20)
    assert splits.unlabelled.labels is None
    assert splits.label_names == ("neg", "pos")
    assert splits.test[0] == ("Review 0 of test/neg.<br /><br />Café.", 0)
    assert splits.test[19] == ("Review 9 of test/pos.<br /><br />Café.", 1)
    assert splits.test.groups is not None
    assert splits.test.groups[3] == "tt0000003"


def test_validation_shares_no_film_with_training(archive: Path) -> None:
    splits = ImdbDataset(source=str(archive), validation_fraction=0.3).load()
    assert splits.validation is not None
    assert not set(splits.train.groups or ()) & set(splits.validation.groups or ())


def test_the_unpacked_folder_gives_the_same_as_the_archive(archive: Path, tmp_path: Path) -> None:
    folder = _unpack(tmp_path / "unpacked" / "aclImdb", dict(reversed(_files().items())))
    for source in (folder, folder.parent):
        assert ImdbDataset(source=str(source)).load().fingerprint() == ImdbDataset(source=str(archive)).load().fingerprint()


def test_the_order_of_the_archive_does_not_matter(archive: Path, tmp_path: Path) -> None:
    turned = _pack(tmp_path / "turned.tar.gz", dict(reversed(_files().items())))
    for validation in ("grouped", "random", "tutorial"):
        contents = [ImdbDataset(source=str(path), validation=validation).load().fingerprint() for path in (archive, turned)]
        assert contents[0] == contents[1]


def test_the_tutorial_validation_is_a_fifth_of_training(archive: Path) -> None:
    splits = ImdbDataset(source=str(archive), validation="tutorial").load()
    assert splits.validation is not None
    texts = [f"Review {number} of train/{label}.<br /><br />Café." for label in ("neg", "pos") for number in range(30)]
    random.Random(113).shuffle(texts)
    assert (list(splits.train.texts), list(splits.validation.texts)) == (texts[:48], texts[48:])


def test_another_seed_holds_out_other_reviews(archive: Path) -> None:
    held_out = [ImdbDataset(source=str(archive), split_seed=seed, validation="random").load().validation for seed in (0, 1)]
    assert held_out[0] is not None
    assert held_out[1] is not None
    assert set(held_out[0].texts) != set(held_out[1].texts)


def test_the_archive_is_found_in_the_data_folder(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQCLS_DATA_DIR", str(archive.parents[1]))
    assert len(ImdbDataset(validation="random").load().train) == 54


def test_the_data_folder_comes_before_the_cache(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = tmp_path / "home" / "datasets" / "imdb" / "aclImdb_v1.tar.gz"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"damaged")
    monkeypatch.setenv("SEQCLS_DATA_DIR", str(archive.parents[1]))
    assert len(ImdbDataset(validation="random").load().train) == 54
    monkeypatch.delenv("SEQCLS_DATA_DIR")
    with pytest.raises(DataError, match=re.escape(str(cached))):
        ImdbDataset().load()


@pytest.mark.parametrize("validation", ["grouped", "random", "tutorial"])
def test_the_data_set_keeps_the_laws_of_data_sets(
    archive: Path, validation: Literal["grouped", "random", "tutorial"]
) -> None:
    check_dataset(ImdbDataset(source=str(archive), validation=validation, validation_fraction=0.2))


def test_an_unofficial_but_complete_archive_is_taken_with_one_warning(
    archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="seqcls"):
        ImdbDataset(source=str(archive)).load()
    assert len(caplog.records) == 1
    assert "not the official archive" in caplog.text


def _without(*names: str) -> Callable[[dict[str, bytes]], None]:
    def remove(files: dict[str, bytes]) -> None:
        for name in names:
            del files[name]

    return remove


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without("train/pos/3_7.txt"), "train/pos has 29 of 30 reviews"),
        (_without("test/neg/0_2.txt", "test/neg/1_2.txt"), "test/neg has 8 of 10 reviews"),
        (_without("train/urls_neg.txt"), "train/urls_neg.txt names the films of 0 of 30 reviews"),
        (lambda files: files.update({"train/pos/3_7.txt": b"caf\xe9"}), "aclImdb/train/pos/3_7.txt in "),
    ],
)
def test_an_incomplete_archive_is_refused_with_what_is_missing(
    tmp_path: Path, damage: Callable[[dict[str, bytes]], None], message: str
) -> None:
    files = _files()
    damage(files)
    for source in (_pack(tmp_path / "broken.tar.gz", files), _unpack(tmp_path / "aclImdb", files)):
        with pytest.raises(DataError, match=re.escape(message)) as caught:
            ImdbDataset(source=str(source)).load()
        assert str(source) in str(caught.value)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_a_truncated_archive_is_refused(archive: Path, keep: float) -> None:
    data = archive.read_bytes()
    archive.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(DataError, match="damaged or truncated"):
        ImdbDataset(source=str(archive)).load()


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"\x1f\x8b\x08garbage"])
def test_a_file_that_is_not_an_archive_is_refused(archive: Path, content: bytes) -> None:
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged or truncated|not the complete data set"):
        ImdbDataset(source=str(archive)).load()


def test_an_archive_with_a_link_is_refused(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "odd.tar.gz", "w:gz") as odd, tarfile.open(archive) as plain:
        for member in plain:
            odd.addfile(member, plain.extractfile(member))
        link = tarfile.TarInfo("aclImdb/train/pos/99_9.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        odd.addfile(link)
    with pytest.raises(DataError, match=r"holds 'aclImdb/train/pos/99_9\.txt', which is a link"):
        ImdbDataset(source=str(tmp_path / "odd.tar.gz")).load()


@pytest.mark.parametrize("source", ["nowhere/at/all", "~nobody_of_this_name/imdb", "long" * 100])
def test_a_missing_source_is_named(source: str) -> None:
    with pytest.raises(DataError, match=source):
        ImdbDataset(source=source).fingerprint()


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _unpack(tmp_path / "aclImdb", _files())

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(imdb.os, "scandir", refuse)
    for read in (ImdbDataset(source=str(folder)).fingerprint, ImdbDataset(source=str(folder)).load):
        with pytest.raises(DataError, match=r"aclImdb.train: Permission denied"):
            read()


def test_the_fingerprint_follows_data_and_options(archive: Path, tmp_path: Path) -> None:
    files = _files()
    folder = _unpack(tmp_path / "aclImdb", files)
    found = {
        ImdbDataset(source=str(archive)).fingerprint(),
        ImdbDataset(source=str(archive), validation="random").fingerprint(),
        ImdbDataset(source=str(archive), split_seed=1).fingerprint(),
        ImdbDataset(source=str(archive), validation_fraction=0.2).fingerprint(),
        ImdbDataset(source=str(folder)).fingerprint(),
    }
    (folder / "test/pos/0_7.txt").write_bytes(b"longer than before, or at least of another size")
    found.add(ImdbDataset(source=str(folder)).fingerprint())
    assert len(found) == 6


def test_the_tutorial_validation_heeds_no_fraction_and_no_seed(archive: Path) -> None:
    plain = ImdbDataset(source=str(archive), validation="tutorial")
    other = ImdbDataset(source=str(archive), validation="tutorial", validation_fraction=0.5, split_seed=1)
    assert plain.fingerprint() == other.fingerprint()
    assert plain.load().fingerprint() == other.load().fingerprint()


class _Handler(http.server.SimpleHTTPRequestHandler):
    mode = ""
    released = threading.Event()

    def log_message(self, *_: object) -> None:
        pass

    def copyfile(self, source: object, outputfile: object) -> None:
        data = source.read()  # type: ignore[attr-defined]
        outputfile.write(data[: len(data) // 2] if _Handler.mode == "cut" else data)  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        if _Handler.mode in ("", "cut"):
            return super().do_GET()
        if _Handler.mode == "500":
            return self.send_error(500)
        self.send_response(200)
        if _Handler.mode == "stalls":
            self.send_header("Content-Length", "1000")
        self.end_headers()
        if _Handler.mode == "sends other bytes":
            self.wfile.write(b"other bytes")
        elif _Handler.mode == "stalls":
            self.wfile.write(b"a few bytes")
            _Handler.released.wait(10)
        elif _Handler.mode == "never ends":
            with contextlib.suppress(ConnectionError):
                while not _Handler.released.is_set():
                    self.wfile.write(bytes(1 << 16))
        return None


@pytest.fixture
def server(archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve the archive from this machine as if it were the official place."""
    monkeypatch.setattr(_Handler, "mode", "")
    monkeypatch.setattr(_Handler, "released", threading.Event())
    handler = functools.partial(_Handler, directory=str(archive.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))  # seconds between looks for the end
        thread.start()
        url = f"http://127.0.0.1:{httpd.server_port}/{archive.name}"
        monkeypatch.setattr(imdb, "URL", url)
        monkeypatch.setattr(imdb, "MD5", imdb._file_digest(archive, "md5"))
        yield url
        _Handler.released.set()
        httpd.shutdown()
        thread.join()


def _cache_files(tmp_path: Path) -> list[str]:
    return sorted(file.name for file in (tmp_path / "home").rglob("*") if file.is_file())


@pytest.mark.usefixtures("server")
def test_what_is_nowhere_is_downloaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert len(ImdbDataset(validation="random").load().train) == 54
    assert _cache_files(tmp_path) == ["aclImdb_v1.tar.gz"]
    monkeypatch.setenv("SEQCLS_OFFLINE", "1")
    assert len(ImdbDataset(validation="random").load().train) == 54
    output, errors = capfd.readouterr()
    assert (output, errors) == ("", "")  # off a terminal there is no bar


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("cut", "cannot download"),
        ("500", "500 Server Error"),
        ("stalls", "timed out"),
        ("sends other bytes", "not the expected file"),
        ("never ends", "it has more than 1,000,000 bytes"),
    ],
)
def test_a_download_that_fails_leaves_nothing_and_starts_cleanly_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, words: str
) -> None:
    monkeypatch.setattr(_Handler, "mode", mode)
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    monkeypatch.setattr(imdb, "LARGEST", 1_000_000)
    with pytest.raises(DownloadError, match=f"{words}.*SEQCLS_DATA_DIR"):
        ImdbDataset().load()
    assert _cache_files(tmp_path) == []
    monkeypatch.setattr(_Handler, "mode", "")
    assert len(ImdbDataset(validation="random").load().train) == 54


@pytest.mark.parametrize("target", ["http", "https"])
def test_a_download_is_not_led_on_to_a_place_that_is_not_encrypted(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    send, asked = requests.adapters.HTTPAdapter.send, []

    def answer(adapter: requests.adapters.HTTPAdapter, request: requests.PreparedRequest, **options: object) -> object:
        """Lead from the official place on to another; what comes from there comes from this machine."""
        asked.append(request.url)
        if request.url == "https://official.example/aclImdb_v1.tar.gz":
            response = requests.Response()
            response.status_code, response.url, response.request = 302, request.url, request
            response.headers["Location"] = f"{target}://other.example/aclImdb_v1.tar.gz"
            response.raw = io.BytesIO()
            return response
        request.url = server
        return send(adapter, request, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", answer)
    monkeypatch.setattr(imdb, "URL", "https://official.example/aclImdb_v1.tar.gz")
    if target == "https":
        assert len(ImdbDataset(validation="random").load().train) == 54
        return
    with pytest.raises(DownloadError, match=r"redirects to http://other\.example/\S+, which is not encrypted"):
        ImdbDataset().load()
    assert asked == ["https://official.example/aclImdb_v1.tar.gz"]
    assert _cache_files(tmp_path) == []


@pytest.mark.usefixtures("server")
def test_a_download_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imdb, "MD5", "0" * 32)
    with pytest.raises(DownloadError, match="not the expected file"):
        ImdbDataset().load()
    assert _cache_files(tmp_path) == []


@pytest.mark.usefixtures("server")
def test_ctrl_c_in_a_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(download._Bar, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ImdbDataset().load()
    assert _cache_files(tmp_path) == []


def test_no_network_and_a_missing_file_on_the_server_are_told(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imdb, "URL", server.replace("aclImdb_v1", "gone"))
    with pytest.raises(DownloadError, match="404"):
        ImdbDataset().load()
    monkeypatch.setattr(imdb, "URL", "http://127.0.0.1:9/aclImdb_v1.tar.gz")  # the discard port: nobody listens
    with pytest.raises(DownloadError, match="cannot download"):
        ImdbDataset().load()


def test_offline_mode_forbids_the_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQCLS_OFFLINE", "1")
    with pytest.raises(DownloadError, match="SEQCLS_OFFLINE"):
        ImdbDataset().load()


@pytest.mark.imdb
def test_the_real_archive_is_complete_and_its_validation_is_fair() -> None:
    folder = os.environ.get("SEQCLS_DATA_DIR")
    if folder is None or not Path(folder, "imdb").is_dir():
        pytest.skip("SEQCLS_DATA_DIR names no folder with imdb/ in it")
    splits = ImdbDataset().load()
    assert splits.validation is not None
    assert splits.test is not None
    assert splits.unlabelled is not None
    assert len(splits.train) + len(splits.validation) == 25_000
    assert (len(splits.test), len(splits.unlabelled)) == (25_000, 50_000)
    assert len(splits.validation) == pytest.approx(2_500, abs=25)
    assert not set(splits.train.groups or ()) & set(splits.validation.groups or ())
    for split in splits.labelled().values():
        assert split.labels is not None
        assert np.mean(split.labels) == pytest.approx(0.5, abs=0.01)
