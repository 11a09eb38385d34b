"""Encoding: a preprocessor turns splits, or what a model is asked about, into `Sequences`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqcls.data.ngrams import NgramVocabulary
from seqcls.data.pairs import sequences_of
from seqcls.data.preprocessor import Preprocessor, Truncating
from seqcls.data.rules import UNK_ID
from seqcls.data.scaler import FeatureScaler
from seqcls.data.sequence_files import offsets_of, write_sequences
from seqcls.data.sequences import Sequences, as_label_array
from seqcls.data.splits import Split, Splits
from seqcls.data.tokenizer import TextTokenizer
from seqcls.data.tokenizer_worker import encode_on_two_cores
from seqcls.errors import DataError

if TYPE_CHECKING:
    from seqcls.config.auto import DataShape

NGRAMS_FILE = "ngrams.safetensors"
"""The file beside tokenizer.json that holds the n-grams of the wide path."""

_MANY_TEXTS = 200_000  # from this number on, a second process is worth its start


@dataclass(frozen=True, eq=False)
class EncodedData:
    """What training reads: the encoded labelled splits by name, and what encodes more sequences in the same way.

    Attributes:
        preprocessor: What encodes.
        splits: The encoded splits.
        label_names: The names of the labels.
        digests: `Splits.digests` of what was encoded.
        label_values: `Splits.label_values`.
    """

    preprocessor: Preprocessor
    splits: dict[str, Sequences]
    label_names: tuple[str, ...]
    digests: Mapping[str, str] = field(default_factory=dict)
    label_values: Mapping[str, bool | int] = field(default_factory=dict)

    @property
    def shape(self) -> DataShape:
        """The size and the shape of the training split, to which settings are fitted."""
        from seqcls.config.auto import DataShape  # here, since `seqcls.NumpyClassifier` does without pydantic

        train = self.splits["train"]
        return DataShape(
            kind=self.preprocessor.kind,
            examples=len(train),
            classes=len(self.label_names),
            mean_length=float(train.lengths.mean()),
            character_ngrams=0 if self.preprocessor.ngrams is None else self.preprocessor.ngrams.max_characters,
        )


def encode(
    preprocessor: Preprocessor,
    sequences: Iterable[Any],
    labels: ArrayLike | None = None,
    weights: NDArray[np.float64] | None = None,
) -> Sequences:
    """Encode N texts, or N float arrays [T, D]; ``labels`` are int [N], or uint8 [N, K], and ``weights`` float64 [N]."""
    ngrams = None
    if preprocessor.ngrams is not None:
        sequences = list(sequences)  # read twice
        ids, lengths = preprocessor.ngrams.encode_batch(sequences)
        ngrams = Sequences(ids, offsets_of(lengths))
    values, offsets = preprocessor.encode_batch(sequences)
    return Sequences(values, offsets, None if labels is None else as_label_array(labels), weights, ngrams)


def encode_splits(preprocessor: Preprocessor, splits: Splits) -> EncodedData:
    """Encode every labelled split in memory."""
    encoded = {
        name: encode(preprocessor, split.sequences, split.labels, split.weights) for name, split in splits.labelled().items()
    }
    return EncodedData(preprocessor, encoded, splits.label_names, splits.digests(), splits.label_values)


def encode_to_file(path: str | os.PathLike[str], preprocessor: Preprocessor, split: Split) -> None:
    """Write what `Sequences.load` reads, with only some thousands of sequences in memory at a time.

    Raises:
        DataError: A sequence is not of the preprocessor's kind.
        OSError: The file cannot be written.
    """
    sequences = split.sequences
    if preprocessor.kind == "text" and len(sequences) >= _MANY_TEXTS:
        chunks = encode_on_two_cores(preprocessor, sequences)
    else:
        chunks = preprocessor.encode_chunks(sequences)
    write_sequences(path, chunks, count=len(sequences), labels=split.labels, weights=split.weights)


def encode_ngrams_to_file(path: str | os.PathLike[str], ngrams: NgramVocabulary, split: Split) -> None:
    """Write the n-grams of a split's texts as `encode_to_file` writes the token ids; raises like it."""
    write_sequences(path, ngrams.encode_chunks(split.sequences), count=len(split), labels=None)


def encode_inputs(preprocessor: Preprocessor, data: Iterable[Any]) -> Sequences:
    """Encode what a model is asked about; see `seqcls.data.pairs.sequences_of`.

    Raises:
        DataError: An item is not of the preprocessor's kind, and the message gives its index; or there are no such items.
    """
    sequences = sequences_of(data)
    if preprocessor.kind == "text":
        for index, text in enumerate(sequences):
            if not isinstance(text, str):
                raise DataError(f"texts[{index}] is a {type(text).__name__}; give a str")
    return encode(preprocessor, sequences)


def parse_preprocessor(
    data: bytes, path: Path, *, max_length: int | None, truncating: Truncating, ngrams: bytes | None = None
) -> Preprocessor:
    """Read the content of the tokenizer.json at ``path``: a tokenizer, or the statistics of features.

    Args:
        data: The content.
        path: The file, for messages.
        max_length: See `Preprocessor`.
        truncating: See `Preprocessor`.
        ngrams: The content of the ngrams.safetensors beside it, if there is one.

    Raises:
        CheckpointError: It is damaged.
    """
    if b'"model"' in data:
        tokenizer = TextTokenizer.from_json(data, path, max_length=max_length, truncating=truncating)
        if ngrams is not None:
            tokenizer.ngrams = NgramVocabulary.from_safetensors(ngrams, path.with_name(NGRAMS_FILE))
        return tokenizer
    return FeatureScaler.from_json(data, path)


def unknown_rates(sequences: Sequences) -> NDArray[np.float64]:
    """Return the share of ids that are the unknown word in each of N sequences, float64 [N]; 0 for features."""
    if sequences.values.ndim == 2 or not len(sequences):
        return np.zeros(len(sequences))
    return np.asarray(np.add.reduceat(sequences.values == UNK_ID, sequences.offsets[:-1]) / sequences.lengths)
