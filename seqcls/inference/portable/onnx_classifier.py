"""Prediction from an ONNX file that `seqcls export` wrote, by ONNX Runtime; torch is not imported.

The file holds all that prediction needs: beside the graph, in its metadata, config.json and tokenizer.json of the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqcls.data.encoding import encode_inputs, parse_preprocessor, unknown_rates
from seqcls.data.sequences import Sequences
from seqcls.errors import CheckpointError, MissingExtraError
from seqcls.evaluation.decisions import decide, label_probabilities
from seqcls.storage.description import read_description
from seqcls.system.untrusted import GARBLED, JSON_LIMIT

if TYPE_CHECKING:
    import onnx
    import onnxruntime

CONFIG, TOKENIZER, PRECISION = "seqcls.config.json", "seqcls.tokenizer.json", "seqcls.precision"
"""The names of what is in the metadata."""

PRECISIONS = ("float32", "int8")
_TOKENIZER_LIMIT = 64 << 20
_FILE_LIMIT = (1 << 31) - 1  # that of protocol buffers
_BATCH = 32
# The operators that `seqcls export` writes, and those that 8 bits make of them. A file with others, such as Loop, is none of
# ours, and could run for ever.
_WRITTEN = (
    "Add Cast Concat Conv Div Equal Erf GRU Gather GatherND Identity LSTM LayerNormalization Less MatMul Mod Mul Pad RNN "
    "Range ReduceMax ReduceSum Relu Reshape ReverseSequence Scan Shape Sigmoid Sin Cos Slice Softmax Squeeze Sub Tanh "
    "Transpose Unsqueeze Where"
)
_QUANTIZED = "ConvInteger DequantizeLinear DynamicQuantizeLSTM DynamicQuantizeLinear MatMulInteger"
_OPERATORS = frozenset(f"{_WRITTEN} {_QUANTIZED}".split())


class OnnxClassifier:
    """A trained model in an ONNX file, with its tokenizer and label names; made by `from_pretrained`.

    It answers as `Classifier` does, on the CPU; needs the extra `onnx`.

    Attributes:
        config: The settings of the run that made the model.
        label_names: The labels, in the order of `predict_proba`'s columns.
        thresholds: Where a text may have several labels, the probability from which on it has each; else None.
        temperature: What the logits are divided by.
        precision: "float32" or "int8".
    """

    def __init__(self, data: bytes, path: Path) -> None:
        model = _parse(data, path)
        metadata = _metadata(model, path)
        description, self.config = read_description(metadata[CONFIG], path / CONFIG)
        self.label_names: tuple[str, ...] = tuple(description.label_names)
        self.thresholds: tuple[float, ...] | None = None if description.thresholds is None else tuple(description.thresholds)
        self.temperature: float = description.temperature
        self.precision: str = metadata[PRECISION].decode()
        self.preprocessor = parse_preprocessor(
            metadata[TOKENIZER],
            path / TOKENIZER,
            max_length=self.config.data.max_length,
            truncating=self.config.data.truncating,
        )
        self._path = path
        self._session = _start(data, path)
        self._check_fit()

    @classmethod
    def from_pretrained(cls, path: str | Path) -> OnnxClassifier:
        """Load an ONNX file that `export_onnx` wrote. Nothing in it is executed but the operators of such files.

        Raises:
            CheckpointError: The file is missing or damaged, or was not written by seqcls.
            MissingExtraError: onnx or onnxruntime is not installed.
        """
        path = Path(path)
        try:
            if not path.is_file():
                raise CheckpointError(f"there is no file {path}")
            if path.stat().st_size > _FILE_LIMIT:
                raise CheckpointError(f"{path} is larger than an ONNX file can be; {_ONLY_OURS}")
            data = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
        return cls(data, path)

    @property
    def is_multi_label(self) -> bool:
        """Whether a text may have several labels, or none."""
        return self.thresholds is not None

    def encode(self, texts: Sequence[Any]) -> Sequences:
        """Return the token ids that the model would read."""
        return encode_inputs(self.preprocessor, texts)

    def unknown_rates(self, texts: Sequence[Any]) -> NDArray[np.float64]:
        """Return, for each text, the share of its words that the model does not know: float64 [N]."""
        return unknown_rates(self.encode(texts))

    def predict_logits(self, texts: Sequence[Any]) -> NDArray[np.float32]:
        """Return the logits of N texts, or N sequences of numbers [T, D]: float32 [N, C], not divided by the temperature.

        Raises:
            DataError: An item is not a str.
            CheckpointError: The graph in the file cannot be computed.
        """
        sequences = self.encode(texts)
        logits = np.zeros((len(sequences), len(self.label_names)), dtype=np.float32)
        # In 8 bits the largest value of a batch tells how all are rounded: alone, a text has the same answer in any company.
        size = 1 if self.precision == "int8" else _BATCH
        order = np.argsort(sequences.lengths, kind="stable")
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            logits[rows] = self._run(*sequences.pad(rows))
        return logits

    def predict_proba(self, texts: Sequence[Any]) -> NDArray[np.float32]:
        """Return the probability of each label for each text, float32 [N, C]; see `Classifier.predict_proba`."""
        logits = self.predict_logits(texts)
        return label_probabilities(logits, temperature=self.temperature, is_multi_label=self.is_multi_label)

    def predict(self, texts: Sequence[Any], *, min_confidence: float = 0.0) -> Any:
        """Return the label of each text, or the tuple of its labels; see `Classifier.predict`."""
        return self.decide(self.predict_proba(texts), min_confidence=min_confidence)

    def decide(
        self, probabilities: NDArray[np.float32], *, min_confidence: float = 0.0
    ) -> list[str | None] | list[tuple[str, ...] | None]:
        """Return what `predict` says of the probabilities [N, C] of N texts."""
        return decide(probabilities, self.label_names, self.thresholds, min_confidence=min_confidence)

    def _run(self, inputs: NDArray[Any], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        try:
            [logits] = self._session.run(["logits"], {"inputs": inputs, "lengths": lengths})
        except Exception as error:  # onnxruntime's own exceptions have no base class but Exception
            raise CheckpointError(f"{self._path} cannot be computed: {_first_line(error)}; {_ONLY_OURS}") from error
        found: NDArray[np.float32] = logits
        return found

    def _check_fit(self) -> None:
        """Raise a CheckpointError unless the graph takes what the tokenizer gives and gives a logit a label."""
        inputs: dict[str, Any] = {value.name: (value.type, value.shape[2:]) for value in self._session.get_inputs()}
        outputs = {value.name: (value.type, value.shape[1:]) for value in self._session.get_outputs()}
        is_text = self.preprocessor.kind == "text"
        steps = ("tensor(int64)", []) if is_text else ("tensor(float)", [self.preprocessor.input_size])
        expected = {"inputs": steps, "lengths": ("tensor(int64)", [])}
        if inputs != expected or outputs != {"logits": ("tensor(float)", [len(self.label_names)])}:
            raise CheckpointError(f"the graph of {self._path} does not fit its {CONFIG} and {TOKENIZER}; {_ONLY_OURS}")


_ONLY_OURS = "seqcls reads the ONNX files that `seqcls export` wrote: export the model again"


def _parse(data: bytes, path: Path) -> onnx.ModelProto:
    """Return the graph, which must be one that `seqcls export` could have written."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ModuleNotFoundError:
        raise MissingExtraError("onnx", "onnx") from None
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, *GARBLED) as error:
        raise CheckpointError(f"{path} is cut off or damaged, or no ONNX file; {_ONLY_OURS}") from error
    if model.functions or model.training_info:
        raise CheckpointError(f"{path} has functions of its own; {_ONLY_OURS}")
    for graph in _graphs(model.graph):
        attributes = [attribute for node in graph.node for attribute in node.attribute]
        tensors = [*graph.initializer, *(attribute.t for attribute in attributes)]
        tensors += [tensor for attribute in attributes for tensor in attribute.tensors]
        if graph.sparse_initializer or any(tensor.external_data or tensor.data_location for tensor in tensors):
            raise CheckpointError(f"{path} keeps values outside of the file, which is not read; {_ONLY_OURS}")
        for node in graph.node:
            if node.op_type not in _OPERATORS:
                raise CheckpointError(f"{path} has the operator {node.op_type!r:.60}; {_ONLY_OURS}")
    return model


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and those inside of its operators."""
    remaining = [graph]
    while remaining:
        yield (graph := remaining.pop())
        for node in graph.node:
            for attribute in node.attribute:
                remaining += [attribute.g] if attribute.HasField("g") else []
                remaining += attribute.graphs


def _metadata(model: onnx.ModelProto, path: Path) -> dict[str, bytes]:
    entries: Iterable[Any] = model.metadata_props
    if any(isinstance(entry.value, bytes) for entry in entries):  # what protobuf gives of text that is no UTF-8
        raise CheckpointError(f"{path} is damaged: its metadata is no text; {_ONLY_OURS}")
    found = {entry.key: entry.value.encode() for entry in entries}
    for name, limit in {CONFIG: JSON_LIMIT, TOKENIZER: _TOKENIZER_LIMIT, PRECISION: 16}.items():
        if name not in found:
            raise CheckpointError(f"{path} lacks {name} in its metadata; {_ONLY_OURS}")
        if len(found[name]) > limit:
            raise CheckpointError(f"{path} has {len(found[name]):,} bytes of {name}, above {limit:,}; {_ONLY_OURS}")
    if found[PRECISION].decode() not in PRECISIONS:
        raise CheckpointError(f"{path} has the precision {found[PRECISION].decode()!r}; {_ONLY_OURS}")
    return found


def _start(data: bytes, path: Path) -> onnxruntime.InferenceSession:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise MissingExtraError("onnxruntime", "onnx") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised as well
    # Threads that wait actively take the cores from PyTorch's, and from other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no base class but Exception
        raise CheckpointError(f"ONNX Runtime cannot load {path}: {_first_line(error)}; {_ONLY_OURS}") from error


def _first_line(error: Exception) -> str:
    return f"{error}".partition("\n")[0][:200]
