"""Prediction from a model directory with only `numpy`, `safetensors` and `tokenizers` installed.

It is written to be small and correct, not fast. Where torch is installed, use `seqcls.Classifier`, whose probabilities are
the same to five digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqcls.data.encoding import NGRAMS_FILE, encode_inputs, parse_preprocessor
from seqcls.data.labels import as_given
from seqcls.data.preprocessor import Preprocessor
from seqcls.data.sequences import Sequences, pad_bags
from seqcls.errors import CheckpointError
from seqcls.evaluation.decisions import decide, label_probabilities
from seqcls.inference.portable.numpy_network import EMBEDDINGS, ENCODERS, Floats, linear, read_ngrams
from seqcls.inference.portable.plugins import Weights, bind, members, within
from seqcls.storage.upgrade import read_format
from seqcls.system.untrusted import JSON_LIMIT, parse_json, read_verified

_FILES = {"config.json": JSON_LIMIT, "model.safetensors": None, "tokenizer.json": 64 << 20}
_BATCH_SIZE = 32


class NumpyClassifier:
    """A trained model with its tokenizer and label names, computed by NumPy; built by `from_pretrained`.

    Attributes:
        label_names: The names of the labels, in the order of the columns of `predict_proba`.
        labels: The labels as they were given for training; see `Classifier.labels`.
        thresholds: Where a text may have several labels, the least probability with which it has each; otherwise None.
        temperature: The number that the logits are divided by.

    Example:
        ```python
        NumpyClassifier.from_pretrained("run").predict(["Not a good film."])
        ```
    """

    def __init__(self, description: Mapping[str, Any], weights: Weights, preprocessor: Preprocessor) -> None:
        if preprocessor.kind != description["input"]:
            kinds = f"config.json is for {description['input']}, but tokenizer.json is for {preprocessor.kind}"
            raise CheckpointError(f"the files belong to different models: {kinds}")
        model = description["config"]["model"]
        self.label_names: tuple[str, ...] = tuple(description["label_names"])
        self.labels = as_given(self.label_names, description.get("label_values", {}))
        self.thresholds: list[float] | None = description["thresholds"]
        self.temperature = float(description.get("temperature", 1.0))
        self._preprocessor = preprocessor
        self._weights = weights
        plugins = description["plugins"]
        embed = bind(EMBEDDINGS, plugins["embedding"], model["embedding_options"])
        self._has_sequence = plugins["encoder"]["name"] != "linear"
        encode = bind(ENCODERS, plugins["encoder"], model["encoder_options"])
        if embed is None or encode is None:
            name = plugins["embedding" if embed is None else "encoder"]["name"]
            raise CheckpointError(f"{name} has no NumPy implementation; use seqcls.Classifier, which needs torch")
        self._embed, self._encode = embed, encode

    @classmethod
    def from_pretrained(cls, path: str | Path) -> NumpyClassifier:
        """Load a model directory, or the one in the directory of a finished run, and compare every file with its hash.

        Raises:
            CheckpointError: A file is missing or damaged, or the encoder or embedding has no NumPy implementation.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        path = Path(path)
        folder = path if (path / "config.json").is_file() else path / "model"
        contents = read_verified(folder, {**_FILES, NGRAMS_FILE: None} if (folder / NGRAMS_FILE).exists() else _FILES)
        where = folder / "config.json"
        description = read_format(parse_json(contents["config.json"], where), where)
        try:
            data = description["config"]["data"]
            preprocessor = parse_preprocessor(
                contents["tokenizer.json"],
                folder / "tokenizer.json",
                max_length=data["max_length"],
                truncating=data["truncating"],
                ngrams=contents.get(NGRAMS_FILE),
            )
            return cls(description, load(contents["model.safetensors"]), preprocessor)
        except (SafetensorError, LookupError, TypeError, ValueError) as error:
            raise CheckpointError(f"{folder} is not a model that this version of seqcls can read: {error}") from error

    def predict_proba(self, texts: Iterable[Any]) -> Floats:
        """Return the probability of each label for each text, float32 [N, C].

        Args:
            texts: N texts, or N sequences of numbers, float [T, D].

        Raises:
            DataError: An item is not what the model reads.
        """
        sequences = encode_inputs(self._preprocessor, texts)
        logits = np.zeros((len(sequences), len(self.label_names)), dtype=np.float32)
        order = np.argsort([len(sequence) for sequence in sequences], kind="stable")
        for start in range(0, len(order), _BATCH_SIZE):
            rows = order[start : start + _BATCH_SIZE]
            logits[rows] = self._logits(sequences, rows)
        return label_probabilities(logits, temperature=self.temperature, is_multi_label=self.thresholds is not None)

    def predict(self, texts: Iterable[Any]) -> list[Any]:
        """Return the label of each text, of the type that it had in training, or the tuple of its labels."""
        labels: Any = decide(self.predict_proba(texts), self.labels, self.thresholds)
        return list(labels)

    def _logits(self, sequences: Sequences, rows: NDArray[np.int64]) -> Floats:
        """Return the logits [B, C] of some encoded sequences."""
        wide = within(self._weights, "wide.")
        if sequences.ngrams is None or not wide:
            return self._read_sequences(*sequences.pad(rows))
        num_words = self._preprocessor.ngrams.num_words if self._preprocessor.ngrams is not None else 0
        of_ngrams = read_ngrams(wide, pad_bags(sequences.ngrams, rows), num_words=num_words)
        if not self._has_sequence:
            return of_ngrams
        shares = wide["shares"]
        return np.asarray(shares[0] * of_ngrams + shares[1] * self._read_sequences(*sequences.pad(rows)))

    def _read_sequences(self, inputs: NDArray[Any], lengths: NDArray[np.int64]) -> Floats:
        logits = []
        for weights in members(self._weights):
            x = self._embed(within(weights, "embedding."), inputs)
            logits.append(linear(within(weights, "head."), self._encode(within(weights, "encoder."), x, lengths)))
        return np.asarray(np.mean(logits, axis=0))
