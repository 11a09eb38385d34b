"""The data set `torchtext`: data sets of torchtext 0.18, its last release; and its vocabularies and vectors in our form."""

from __future__ import annotations

import hashlib
import importlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch

from seqcls.data.datasets.base import Dataset
from seqcls.data.splits import Split, Splits
from seqcls.data.tokenizer import TextTokenizer
from seqcls.errors import ConfigError, DataError
from seqcls.system.files import replace_file
from seqcls.system.paths import cache_home

WORKING_SET = "torch 2.3.1, torchtext 0.18.0, torchdata below 0.10 and numpy below 2"

Name = Literal[
    "AG_NEWS",
    "AmazonReviewFull",
    "AmazonReviewPolarity",
    "CoLA",
    "DBpedia",
    "IMDB",
    "SST2",
    "SogouNews",
    "YahooAnswers",
    "YelpReviewFull",
    "YelpReviewPolarity",
]
_POLARITY = {1: "negative", 2: "positive"}
# The meaning of the labels where torchtext's integers do not say it.
_LABEL_NAMES: dict[str, dict[int, str]] = {
    "AG_NEWS": {1: "world", 2: "sports", 3: "business", 4: "sci/tech"},
    "AmazonReviewPolarity": _POLARITY,
    "CoLA": {0: "unacceptable", 1: "acceptable"},
    "IMDB": {1: "neg", 2: "pos"},
    "SST2": {0: "negative", 1: "positive"},
    "YelpReviewPolarity": _POLARITY,
}
# The indices of text and label in a row; (label, text) in all other data sets. SST2's test rows hold only a text.
_COLUMNS = {"CoLA": (2, 1), "SST2": (0, 1)}
_ENOUGH = 0.99

logger = logging.getLogger("seqcls")


class TorchtextDataset(Dataset):
    """A classification data set of torchtext 0.18, which works only with torch 2.3.

    torchtext downloads it once. The rows are counted, so that an incomplete download, which torchtext can leave behind and
    take for complete, is refused. The rows of IMDB do not say which film a review is about; the data set ``imdb`` does, and
    gives an honest validation split.

    Args:
        name: torchtext's name of the data set.
        root: Folder for the files, in which torchtext creates datasets/NAME; by default a folder in the cache folder.
    """

    def __init__(self, *, name: Name, root: str | None = None) -> None:
        self.name = name
        self.root = cache_home() / "torchtext" if root is None else Path(root).expanduser()

    def load(self) -> Splits:
        """Download the files unless they exist, and read them; see `Dataset.load`."""
        provider = _provider(self.name)
        rows = {split: self._rows(provider, split) for split in _defining_module(provider).NUM_LINES}
        text_at, label_at = _COLUMNS.get(self.name, (1, 0))
        pairs = {
            split: [(row[text_at], row[label_at]) for row in split_rows]
            for split, split_rows in rows.items()
            if len(split_rows[0]) > 1
        }
        splits = Splits.from_pairs(pairs["train"], validation=pairs.get("dev"), test=pairs.get("test"))
        names = _LABEL_NAMES.get(self.name, {})
        unlabelled = [row[0] for split_rows in rows.values() if len(split_rows[0]) == 1 for row in split_rows]
        return replace(
            splits,
            label_names=tuple(names.get(int(label), label) for label in splits.label_names),
            unlabelled=Split(unlabelled) if unlabelled else None,
        )

    def fingerprint(self) -> str:
        """Return a hash of the name and of the checksums that torchtext verifies."""
        module = _defining_module(_provider(self.name))
        return hashlib.sha256(repr((self.name, module.MD5, module.NUM_LINES)).encode()).hexdigest()

    def _rows(self, provider: Callable[..., Any], split: str) -> list[tuple[Any, ...]]:
        expected = _defining_module(provider).NUM_LINES[split]
        again = f"delete {self.root / 'datasets' / self.name} and try again"
        try:
            with _silenced():
                rows = list(provider(root=str(self.root), split=split))
        except Exception as error:  # any part of its pipeline may raise any error
            raise DataError(f"torchtext could not read {self.name}, {split}: {error}; {again}") from error
        if len(rows) < _ENOUGH * expected:
            raise DataError(f"torchtext gave {len(rows):,} rows of {self.name}, {split}, which has {expected:,}; {again}")
        if len(rows) != expected:
            logger.warning(f"torchtext gave {len(rows):,} rows of {self.name}, {split}; its documentation says {expected:,}")
        return rows


def tokenizer_from_vocab(vocab: Any, *, rules: str = "basic-english", max_length: int | None = None) -> TextTokenizer:
    """Build a tokenizer from a ``torchtext.vocab.Vocab``, keeping the order of the words.

    Padding and the unknown word get the ids 0 and 1 that seqcls expects, so that other ids may change. Save the tokenizer
    with `TextTokenizer.save`, and give the file as the setting ``tokenizer``.

    Args:
        vocab: The vocabulary; its default index is that of the unknown word.
        rules: How texts were split into the words of the vocabulary.
        max_length: Length of the longest sequence, in ids.

    Raises:
        ConfigError: The vocabulary has no unknown word.
    """
    unknown = vocab.get_default_index()
    if unknown is None:
        raise ConfigError(
            "the vocabulary has no unknown word; build it with specials=['<unk>'] and call "
            "vocab.set_default_index(vocab['<unk>'])"
        )
    words = [word for index, word in enumerate(vocab.get_itos()) if index != unknown and word not in ("<pad>", "[PAD]")]
    return TextTokenizer.from_words(words, rules=rules, max_length=max_length)


def write_vectors(vectors: Any, path: str | Path) -> None:
    """Write a ``torchtext.vocab.Vectors`` (GloVe, FastText, ...) to a file for the embedding ``pretrained``.

    The file keeps the exact values. Note that torchtext itself keeps a pickle in its cache folder, and reads it.

    Raises:
        DataError: A word contains white space, so that the file could not be read.
        OSError: The file cannot be written.
    """
    lines = [f"{len(vectors.itos)} {vectors.dim}"]
    for word, vector in zip(vectors.itos, vectors.vectors.tolist(), strict=True):
        if not word or word.split() != [word]:
            raise DataError(f"the vectors' word {word!r} contains white space; leave it out")
        lines.append(f"{word} {' '.join(map(repr, vector))}")
    replace_file(Path(path), "\n".join([*lines, ""]).encode())


def _provider(name: str) -> Callable[..., Any]:
    """Import torchtext's function that reads the data set."""
    provider: Callable[..., Any] = getattr(_import("torchtext.datasets"), name)
    return provider


def _defining_module(provider: Callable[..., Any]) -> ModuleType:
    return sys.modules[provider.__module__]


def _import(module: str) -> ModuleType:
    try:
        with _silenced():
            importlib.import_module("torchdata.datapipes")
            return importlib.import_module(module)
    except (ImportError, OSError, AttributeError) as error:  # OSError: its compiled part was built for another torch
        raise ConfigError(
            f"the data set torchtext works with {WORKING_SET}, in an environment of its own: "
            f"pip install 'seqcls[torchtext]'; here is torch {torch.__version__} ({type(error).__name__}: {error})"
        ) from error


@contextmanager
def _silenced() -> Iterator[None]:
    """Hide that torchtext and torchdata are deprecated, since the user cannot change it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
