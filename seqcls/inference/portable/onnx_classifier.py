"""Prediction from an ONNX file that `seqcls export` wrote, by ONNX Runtime; torch is not imported."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqcls.data.encoding import encode_inputs, parse_preprocessor, unknown_rates
from seqcls.data.labels import Scalar, as_given
from seqcls.data.sequences import Sequences, pad_bags
from seqcls.errors import CheckpointError, MissingExtraError
from seqcls.evaluation.decisions import decide, label_probabilities
from seqcls.inference.portable.onnx_file import CONFIG, NGRAMS, PRECISION, REMEDY, TOKENIZER, read_file, read_metadata
from seqcls.storage.description import read_description
from seqcls.system.deprecation import warn_renamed
from seqcls.system.threads import cpu_quota

if TYPE_CHECKING:
    import onnxruntime

INPUTS = ("inputs", "lengths", "ngrams")
"""The inputs of a graph, the last only where the model has a wide path."""

_BATCH_SIZE = 32


class OnnxClassifier:
    """A trained model in an ONNX file, with its tokenizer and label names; built by `from_pretrained`.

    It answers as `Classifier` does, on the CPU, and needs the extra `onnx`.

    Attributes:
        config: The settings of the run that made the model.
        label_names: The names of the labels, in the order of the columns of `predict_proba`.
        labels: The labels as they were given for training; see `Classifier.labels`.
        thresholds: Where a text may have several labels, the least probability with which it has each; otherwise None.
        temperature: The number that the logits are divided by.
        precision: "float32" or "int8".
    """

    def __init__(self, data: bytes, path: Path, *, threads: int | None = None) -> None:
        metadata = read_metadata(data, path)
        description, self.config = read_description(metadata[CONFIG], path / CONFIG)
        self.label_names: tuple[str, ...] = tuple(description.label_names)
        self.labels = as_given(self.label_names, description.label_values)
        self.thresholds: tuple[float, ...] | None = None if description.thresholds is None else tuple(description.thresholds)
        self.temperature: float = description.temperature
        self.precision: str = metadata[PRECISION].decode()
        self.preprocessor = parse_preprocessor(
            metadata[TOKENIZER],
            path / TOKENIZER,
            max_length=self.config.data.max_length,
            truncating=self.config.data.truncating,
            ngrams=_decoded(metadata[NGRAMS], path) if NGRAMS in metadata else None,
        )
        self._path = path
        self._session = _start(data, path, threads)
        self._check_fit()

    @classmethod
    def from_pretrained(cls, path: str | Path, *, threads: int | None = None) -> OnnxClassifier:
        """Load an ONNX file that `export_onnx` wrote. Only the operators of such files are executed.

        Args:
            path: The file.
            threads: CPU threads within an operation; by default one per core, within the quota of a container.

        Raises:
            CheckpointError: The file is missing or damaged, or was not written by seqcls.
            MissingExtraError: onnx or onnxruntime is not installed.
        """
        path = Path(path)
        return cls(read_file(path), path, threads=threads)

    @property
    def is_text(self) -> bool:
        """Deprecated: whether ``preprocessor.kind`` is "text"."""
        warn_renamed('OnnxClassifier.is_text is now preprocessor.kind == "text"')
        return self.preprocessor.kind == "text"

    @property
    def is_multi_label(self) -> bool:
        """Whether a text may have several labels, or none."""
        return self.thresholds is not None

    def encode(self, texts: Iterable[Any]) -> Sequences:
        """Return the token ids that the model would read."""
        return encode_inputs(self.preprocessor, texts)

    def unknown_rates(self, texts: Iterable[Any]) -> NDArray[np.float64]:
        """Return, for each text, the share of its words that the model does not know: float64 [N]."""
        return unknown_rates(self.encode(texts))

    def predict_logits(self, texts: Iterable[Any]) -> NDArray[np.float32]:
        """Return the logits of N texts, or N sequences of numbers [T, D]: float32 [N, C], not divided by the temperature.

        Raises:
            DataError: An item is not a str.
            CheckpointError: The graph in the file cannot be computed.
        """
        sequences = self.encode(texts)
        logits = np.zeros((len(sequences), len(self.label_names)), dtype=np.float32)
        # In 8 bits, the largest value of a batch determines how all are rounded. One by one, texts do not affect each other.
        size = 1 if self.precision == "int8" else _BATCH_SIZE
        order = np.argsort(sequences.lengths, kind="stable")
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            ngrams = () if sequences.ngrams is None else (pad_bags(sequences.ngrams, rows),)
            logits[rows] = self._run(*sequences.pad(rows), *ngrams)
        return logits

    def predict_proba(self, texts: Iterable[Any]) -> NDArray[np.float32]:
        """Return the probability of each label for each text, float32 [N, C]; see `Classifier.predict_proba`."""
        logits = self.predict_logits(texts)
        return label_probabilities(logits, temperature=self.temperature, is_multi_label=self.is_multi_label)

    def predict(self, texts: Iterable[Any], *, min_confidence: float = 0.0) -> Any:
        """Return the label of each text, or the tuple of its labels; see `Classifier.predict`."""
        return self.decide(self.predict_proba(texts), min_confidence=min_confidence)

    def decide(
        self, probabilities: NDArray[np.float32], *, min_confidence: float = 0.0
    ) -> list[Scalar | None] | list[tuple[Scalar, ...] | None]:
        """Return what `predict` returns, from the probabilities [N, C] of N texts."""
        return decide(probabilities, self.labels, self.thresholds, min_confidence=min_confidence)

    def _run(self, *inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Return the logits of inputs, lengths and, where the model has a wide path, n-grams [B, L], -1 in the padding."""
        try:
            [logits] = self._session.run(["logits"], dict(zip(INPUTS, inputs, strict=False)))
        except Exception as error:  # the only base class of onnxruntime's exceptions
            raise CheckpointError(f"{self._path} cannot be computed: {_first_line(error)}; {REMEDY}") from error
        return np.asarray(logits, dtype=np.float32)

    def _check_fit(self) -> None:
        """Raise a CheckpointError unless the graph takes what the preprocessor returns, and returns one logit per label."""
        inputs: dict[str, Any] = {value.name: (value.type, value.shape[2:]) for value in self._session.get_inputs()}
        outputs = {value.name: (value.type, value.shape[1:]) for value in self._session.get_outputs()}
        is_text = self.preprocessor.kind == "text"
        steps = ("tensor(int64)", []) if is_text else ("tensor(float)", [self.preprocessor.input_size])
        expected = {"inputs": steps, "lengths": ("tensor(int64)", [])}
        if self.preprocessor.ngrams is not None:
            expected["ngrams"] = ("tensor(int64)", [])
        if inputs != expected or outputs != {"logits": ("tensor(float)", [len(self.label_names)])}:
            raise CheckpointError(f"the graph of {self._path} does not fit its {CONFIG} and {TOKENIZER}; {REMEDY}")


def _start(data: bytes, path: Path, threads: int | None) -> onnxruntime.InferenceSession:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise MissingExtraError("onnxruntime", "onnx") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised as well
    quota = cpu_quota() or 0
    options.intra_op_num_threads = threads or (quota if quota < (os.cpu_count() or 1) else 0)  # 0: one per core
    # Threads that wait actively would take the cores from PyTorch's and from other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the only base class of onnxruntime's exceptions
        raise CheckpointError(f"ONNX Runtime cannot load {path}: {_first_line(error)}; {REMEDY}") from error


def _decoded(data: bytes, path: Path) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {NGRAMS} is not base 64; {REMEDY}") from error


def _first_line(error: Exception) -> str:
    return f"{error}".partition("\n")[0][:200]
