"""`pretrained`: word vectors from a GloVe, word2vec (text) or fastText (.vec) file."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from io import BufferedReader
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqcls.errors import ConfigError, DataError
from seqcls.model.embeddings.base import Embedding, new_table

INITIAL_STD = 0.1

logger = logging.getLogger("seqcls")


class PretrainedEmbedding(Embedding):
    """Word vectors from a file of GloVe (Pennington et al. 2014), word2vec (text) or fastText (.vec), perhaps as .gz.

    The file is read line by line, and only the vectors of words in the vocabulary are kept. Words are looked up as the
    tokenizer spells them, in lower case. A word that the file lacks gets a random vector of the same spread.

    Args:
        path: The file.
        freeze: Keep the vectors as they are instead of training them further.
    """

    is_table = True

    def __init__(self, input_size: int, embedding_size: int, *, path: str, freeze: bool = False) -> None:
        super().__init__()
        self.path = Path(path)
        self.table = new_table(input_size, embedding_size, std=INITIAL_STD)
        self.table.weight.requires_grad_(not freeze)

    def forward(self, inputs: Tensor) -> Tensor:
        """Embed ids [B, T] as [B, T, embedding_size]; see `Embedding.forward`."""
        vectors: Tensor = self.table(inputs)
        return vectors

    @torch.no_grad()
    def start(self, words: Sequence[str]) -> None:
        """Read the vectors of ``words`` and log how many the file has.

        Raises:
            DataError: The file is missing, has none of the words, or is damaged; the message then names the line.
            ConfigError: The vectors of the file have another size than the settings say.
        """
        ids = {word: index for index, word in enumerate(words)}
        weight = self.table.weight
        is_known = torch.zeros(len(words), dtype=torch.bool)
        for word, vector in read_vectors(self.path, expected_size=weight.shape[1]):
            index = ids.get(word)
            if index is not None and not is_known[index]:
                weight[index] = torch.from_numpy(vector)
                is_known[index] = True
        count = int(is_known.sum())
        if not count:
            raise DataError(f"{self.path} has a vector for none of the {len(words):,} words; is it in another language?")
        is_missing = ~is_known
        is_missing[:2] = False  # padding stays zero, and no file has the unknown word
        weight[is_missing] *= weight[is_known].std() / INITIAL_STD
        share = 100 * count / len(words)
        logger.info(f"{self.path} has vectors for {count:,} of {len(words):,} words ({share:.1f}%)")


def read_vectors(path: Path, *, expected_size: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield (word, float32 [size]) from a file with one word and its numbers per line; the first may be "COUNT SIZE".

    Raises:
        DataError: The file cannot be read, or a line is broken; the message has its number.
        ConfigError: The vectors do not have ``expected_size`` numbers.
    """
    try:
        with closing(_open(path)) as file:
            yield from _parse(file, path, expected_size)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read the word vectors {path}: {error}") from error


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _parse(file: Iterable[bytes], path: Path, expected_size: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for number, line in enumerate(file, start=1):
        # Split from the right: the words of GloVe's largest file contain spaces.
        fields = line.rstrip().split(b" ") if number == 1 else line.rstrip().rsplit(b" ", expected_size)
        if number == 1:
            is_header = len(fields) == 2 and all(field.isdigit() and len(field) < 20 for field in fields)
            size = int(fields[1]) if is_header else len(fields) - 1
            if size != expected_size:
                raise ConfigError(
                    f"the vectors of {path} have {size} numbers, but model.embedding_size is {expected_size}; "
                    f"use --set embedding_size={size}"
                )
            if is_header:
                continue
        yield fields[0].decode("utf-8", "replace"), _vector(fields[1:], expected_size, f"{path}, line {number}")


def _vector(fields: list[bytes], expected_size: int, where: str) -> NDArray[np.float32]:
    if len(fields) != expected_size:
        raise DataError(f"{where}: {len(fields)} numbers after the word, not {expected_size}; the file is damaged")
    try:
        with np.errstate(over="ignore"):  # an overflow becomes an infinity, which is refused below
            vector = np.array(fields, dtype=np.float32)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    if not np.isfinite(vector).all():
        raise DataError(f"{where}: a number is not finite")
    return vector
