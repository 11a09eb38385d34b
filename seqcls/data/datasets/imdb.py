"""The data set `imdb`: the Large Movie Review Dataset v1.0 (Maas et al. 2011), from its archive, folder or download."""

from __future__ import annotations

import hashlib
import logging
import os
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from seqcls.data.datasets.base import Dataset
from seqcls.data.splits import Split, Splits
from seqcls.errors import DataError
from seqcls.system.archives import Limits, read_tar_gz
from seqcls.system.download import fetch
from seqcls.system.paths import cache_home, data_dir

ARCHIVE = "aclImdb_v1.tar.gz"
FOLDER = "aclImdb"
URL = f"https://ai.stanford.edu/~amaas/data/sentiment/{ARCHIVE}"
LARGEST = 200_000_000  # bytes; it has 84 million
MD5 = "7c2ac02c03563afcf9b574c7e56c153a"
# Reviews in each folder of the complete data set.
COUNTS = {"train/neg": 12_500, "train/pos": 12_500, "train/unsup": 50_000, "test/neg": 12_500, "test/pos": 12_500}
LABEL_NAMES = ("neg", "pos")
# Raise this when the same archive is read differently: cached data depend on it.
FORMAT = 1

# About ten times the bytes of the data set, and twice its 100,000 files.
_LIMITS = Limits(members=200_000, file_bytes=128 << 20, total_bytes=1 << 30)
_REMEDY = f"replace it with {ARCHIVE} from {URL}"
_REVIEW = re.compile(r"(?P<folder>(?:train|test)/(?:neg|pos|unsup))/(?P<id>\d+)_\d+\.txt")
_URLS = re.compile(r"(?P<split>train|test)/urls_(?P<part>neg|pos|unsup)\.txt")
_FILM = re.compile(r"tt\d+")

logger = logging.getLogger("seqcls")


class ImdbDataset(Dataset):
    """50,000 film reviews labelled neg or pos, and 50,000 without a label (Maas et al. 2011).

    The training split has several reviews of most films, and the name of a film says much about the label: accuracy on a
    validation split that shares films with training is about two points too high. By default no film is in both.

    Args:
        source: The archive, the unpacked folder, or a folder that holds either. By default both are searched for in imdb/ of
            SEQCLS_DATA_DIR and in the cache folder; if they are not there, the archive is downloaded.
        validation: How validation is chosen from the 25,000 training reviews: "grouped" by film, "random", or "tutorial",
            the last fifth after one fixed shuffle.
        validation_fraction: Share of the training reviews held out for validation; "tutorial" ignores it.
        split_seed: Seed of the choice; "tutorial" ignores it.
    """

    def __init__(
        self,
        *,
        source: str | None = None,
        validation: Literal["grouped", "random", "tutorial"] = "grouped",
        validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1,
        split_seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.source = source
        self.validation = validation
        self.validation_fraction = validation_fraction
        self.split_seed = split_seed

    def load(self) -> Splits:
        """Read all 100,000 reviews: train, validation, test and unlabelled, ordered by label and number.

        Raises:
            DataError: The source is missing, damaged or incomplete.
            DownloadError: The download failed.
        """
        path = self._find()
        content = _read(path)
        content.check()
        train, test = content.split("train"), content.split("test")
        splits = Splits(train=train, test=test, unlabelled=content.unlabelled(), label_names=LABEL_NAMES)
        if self.validation == "tutorial":
            return _hold_out_as_tutorial(splits)
        if self.validation == "random":
            splits = replace(splits, train=replace(train, groups=None))
        return splits.with_validation(fraction=self.validation_fraction, seed=self.split_seed)

    def fingerprint(self) -> str:
        """Return a hash of the archive's bytes, or of the names, sizes and times of the files, and of the options."""
        path = self._find()
        choice = () if self.validation == "tutorial" else (self.validation_fraction, self.split_seed)
        digest = hashlib.sha256(repr((FORMAT, self.validation, *choice)).encode())
        with _reading(path):
            if path.is_dir():
                for name, file in _folder_files(path):
                    status = file.stat()
                    digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
            else:
                digest.update(_file_digest(path, "sha256").encode())
        return digest.hexdigest()

    def _find(self) -> Path:
        """Return the archive or the folder aclImdb; download the archive if neither exists."""
        if self.source is not None:
            try:
                source = _archive_or_folder(Path(self.source).expanduser())
            except RuntimeError as error:  # ~NAME where no user has that name
                raise DataError(f"there is no IMDB data at {self.source}: {error}") from error
            if source is None:
                raise DataError(f"there is no IMDB data at {self.source}: give {ARCHIVE}, or the unpacked folder {FOLDER}")
            return source
        cache = cache_home() / "datasets" / "imdb"
        for folder in (data_dir("imdb"), cache):
            source = None if folder is None else _archive_or_folder(folder)
            if source is not None:
                return source
        remedy = f"put {ARCHIVE} into imdb/ of SEQCLS_DATA_DIR, or pass --dataset-option source=FILE"
        return fetch(URL, known_hash=f"md5:{MD5}", folder=cache, largest=LARGEST, remedy=remedy)


@dataclass
class _Content:
    """The content of ``path``: the texts of each folder by number, and for each folder its films, by number."""

    path: Path
    texts: dict[str, dict[int, str]] = field(default_factory=lambda: {folder: {} for folder in COUNTS})
    films: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, data: bytes) -> None:
        """Add a file if it belongs to the data set; ``name`` is relative to the folder aclImdb."""
        if review := _REVIEW.fullmatch(name):
            if review["folder"] in self.texts:
                self.texts[review["folder"]][int(review["id"])] = self._decode(data, name)
        elif urls := _URLS.fullmatch(name):
            lines = self._decode(data, name).splitlines()
            self.films[f"{urls['split']}/{urls['part']}"] = [_film(line) for line in lines]

    def check(self) -> None:
        """Raise DataError unless every folder has all its reviews and their films."""
        missing = [
            f"{folder} has {len(self.texts[folder]):,} of {count:,} reviews"
            for folder, count in COUNTS.items()
            if len(self.texts[folder]) != count
        ]
        missing += [
            f"{_urls_file(folder)} names the films of {len(self.films.get(folder, [])):,} of {len(texts):,} reviews"
            for folder, texts in self.texts.items()
            if texts and max(texts) >= len(self.films.get(folder, []))
        ]
        if missing:
            raise DataError(f"{self.path} is not the complete data set: {'; '.join(missing)}; {_REMEDY}")

    def split(self, name: str) -> Split:
        parts = [self._ordered(f"{name}/{label}") for label in LABEL_NAMES]
        return Split(
            sequences=[text for texts, _ in parts for text in texts],
            labels=np.repeat(np.arange(len(parts)), [len(texts) for texts, _ in parts]),
            groups=[film for _, films in parts for film in films],
        )

    def unlabelled(self) -> Split:
        texts, films = self._ordered("train/unsup")
        return Split(texts, groups=films)

    def _ordered(self, folder: str) -> tuple[list[str], list[str]]:
        numbers = sorted(self.texts[folder])
        return [self.texts[folder][number] for number in numbers], [self.films[folder][number] for number in numbers]

    def _decode(self, data: bytes, name: str) -> str:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{FOLDER}/{name} in {self.path} is not UTF-8 text ({error}); {_REMEDY}") from error


def _hold_out_as_tutorial(splits: Splits) -> Splits:
    """Shuffle train and hold out its last fifth, as the tutorial does, ignoring films.

    The tutorial shuffles the order of the archive, which a folder does not keep: here the order is by label and number.
    """
    order = list(range(len(splits.train)))
    random.Random(113).shuffle(order)  # the seed of Keras' loader
    cut = int(0.8 * len(order))
    train = replace(splits.train, groups=None)
    return replace(splits, train=train.take(order[:cut]), validation=train.take(order[cut:]))


def _archive_or_folder(path: Path) -> Path | None:
    """Return the archive, or the folder of the data set, that ``path`` is or contains; None if there is neither."""
    with _reading(path):
        if path.is_file():
            return path
        candidates = (path / ARCHIVE, path / FOLDER, path)
        return next((path for path in candidates if path.is_file() or (path / "train").is_dir()), None)


def _read(path: Path) -> _Content:
    content = _Content(path)
    for name, data in _folder_contents(path) if path.is_dir() else _archive_contents(path):
        content.add(name, data)
    return content


def _archive_contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files of the archive as (name in aclImdb, bytes) in one pass, without unpacking to disk."""
    if _file_digest(path, "md5") != MD5:
        logger.warning("%s is not the official archive (its MD5 differs); it is used if its contents are complete", path)
    top = f"{FOLDER}/"
    for name, data in read_tar_gz(
        path, _LIMITS, wanted=lambda name: name.startswith(top) and name.endswith(".txt"), remedy=_REMEDY
    ):
        yield name.removeprefix(top), data


def _folder_contents(path: Path) -> Iterator[tuple[str, bytes]]:
    with _reading(path):
        for name, file in _folder_files(path):
            yield name, Path(file).read_bytes()


def _folder_files(path: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the files of the data set in a folder, in the order of their names."""
    for folder in ("train", "test", *COUNTS):
        if (path / folder).is_dir():
            with os.scandir(path / folder) as entries:
                files = sorted((entry for entry in entries if entry.is_file()), key=lambda entry: entry.name)
            yield from ((f"{folder}/{file.name}", file) for file in files if file.name.endswith(".txt"))


def _file_digest(path: Path, algorithm: str) -> str:
    with _reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn an OSError into a DataError that names the file, or ``path`` if the error does not name one."""
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot read {error.filename or path}: {error.strerror}") from error


def _film(url: str) -> str:
    match = _FILM.search(url)
    return match[0] if match else url


def _urls_file(folder: str) -> str:
    split, part = folder.split("/")
    return f"{split}/urls_{part}.txt"
