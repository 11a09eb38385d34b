"""The contract of what turns sequences into arrays: the text tokenizer and the feature scaler are the two kinds."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from seqcls.data.ngrams import NgramVocabulary
from seqcls.system.files import replace_file

Kind = Literal["text", "features"]
Truncating = Literal["pre", "post", "middle"]


class Preprocessor(Protocol):
    """Turns sequences into arrays; fitted on the training split, saved with the model.

    Attributes:
        kind: Whether a sequence is a text, encoded as token ids, or an array of feature vectors.
        max_length: Length of the longest sequence that it returns; None if it cuts none.
        truncating: Where longer sequences are cut.
        ngrams: The n-grams that the wide path of the network reads beside the steps; None if there is no such path.
    """

    kind: ClassVar[Kind]
    max_length: int | None = None
    truncating: Truncating = "middle"
    ngrams: NgramVocabulary | None = None

    @property
    @abstractmethod
    def input_size(self) -> int:
        """The number of different ids, or the number of features: what the embedding takes as ``input_size``."""

    def words(self) -> list[str]:
        """Return the word of each id; an empty list if the kind is "features"."""
        return []

    @abstractmethod
    def encode_chunks(self, sequences: Iterable[Any]) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
        """Encode some sequences at a time.

        Yields:
            The steps of these sequences, int32 [total] or float32 [total, D], and the length of each sequence, int64.

        Raises:
            DataError: A sequence is not of the preprocessor's kind.
        """

    @abstractmethod
    def encode_with_spans(self, sequence: Any) -> tuple[NDArray[Any], NDArray[np.int64], int]:
        """Encode one sequence and tell where each step comes from.

        Returns:
            The steps, int32 [T] or float32 [T, D]; spans, int64 [T, 2], such that step t comes from
            sequence[spans[t, 0] : spans[t, 1]]; and the number of steps before truncation.
        """

    @abstractmethod
    def to_json(self) -> str:
        """Return the content of tokenizer.json."""

    def encode_batch(self, sequences: Iterable[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Encode N sequences.

        Returns:
            The steps of all sequences, int32 [total] or float32 [total, D], and offsets, int64 [N + 1]; those of sequence i
            are steps[offsets[i] : offsets[i + 1]].

        Raises:
            DataError: A sequence is not of the preprocessor's kind.
        """
        dtype, shape = (np.int32, (0,)) if self.kind == "text" else (np.float32, (0, self.input_size))
        values, lengths = [np.empty(shape, dtype=dtype)], [np.zeros(1, dtype=np.int64)]
        for chunk_values, chunk_lengths in self.encode_chunks(sequences):
            values.append(chunk_values)
            lengths.append(chunk_lengths)
        return np.concatenate(values), np.cumsum(np.concatenate(lengths))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write tokenizer.json, whole or not at all; OSError if it cannot be written."""
        replace_file(Path(path), self.to_json().encode())
