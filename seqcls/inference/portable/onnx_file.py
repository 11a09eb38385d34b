"""Reading the ONNX files that `seqcls export` writes; files with anything else in them are refused.

The file holds all that prediction needs: beside the graph, its metadata hold config.json and tokenizer.json of the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqcls.errors import CheckpointError, MissingExtraError
from seqcls.system.untrusted import GARBLED, JSON_LIMIT

if TYPE_CHECKING:
    import onnx

CONFIG, TOKENIZER, PRECISION = "seqcls.config.json", "seqcls.tokenizer.json", "seqcls.precision"
NGRAMS = "seqcls.ngrams.safetensors"  # in base 64, and only where the model has a wide path
"""The names of the metadata."""

PRECISIONS = ("float32", "int8")
REMEDY = "seqcls reads only the ONNX files that `seqcls export` wrote: export the model again"

_METADATA_LIMITS = {CONFIG: JSON_LIMIT, TOKENIZER: 64 << 20, PRECISION: 16}
_NGRAMS_LIMIT = 1 << 28
_FILE_LIMIT = (1 << 31) - 1  # that of protocol buffers
# The operators that `seqcls export` writes, and those that replace them in 8 bits. Others, such as Loop, could run forever.
_WRITTEN = (
    "Add Cast Concat Conv Div Equal Erf GRU Gather GatherND Identity LSTM LayerNormalization Less MatMul Max Mean Mod Mul "
    "Pad RNN Range ReduceMax ReduceSum Relu Reshape ReverseSequence Scan Shape Sigmoid Sin Cos Slice Softmax Sqrt Squeeze "
    "Sub Tanh Transpose Unsqueeze Where"
)
_QUANTIZED = "ConvInteger DequantizeLinear DynamicQuantizeLSTM DynamicQuantizeLinear MatMulInteger"
_OPERATORS = frozenset(f"{_WRITTEN} {_QUANTIZED}".split())


def read_file(path: Path) -> bytes:
    """Return the content of an ONNX file.

    Raises:
        CheckpointError: There is no such file, or it is larger than an ONNX file can be.
    """
    try:
        if not path.is_file():
            raise CheckpointError(f"there is no file {path}")
        if path.stat().st_size > _FILE_LIMIT:
            raise CheckpointError(f"{path} is larger than an ONNX file can be; {REMEDY}")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


def read_metadata(data: bytes, path: Path) -> dict[str, bytes]:
    """Return the metadata of a file by name, after a look at everything in it.

    Args:
        data: The content of the file.
        path: The file, for messages.

    Raises:
        CheckpointError: `seqcls export` did not write it, or it is damaged.
        MissingExtraError: onnx is not installed.
    """
    return _metadata(_parse(data, path), path)


def _parse(data: bytes, path: Path) -> onnx.ModelProto:
    """Parse the model, and refuse it unless `seqcls export` could have written its graph."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ModuleNotFoundError:
        raise MissingExtraError("onnx", "onnx") from None
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, *GARBLED) as error:
        raise CheckpointError(f"{path} is truncated or damaged, or is not an ONNX file; {REMEDY}") from error
    if model.functions or model.training_info:
        raise CheckpointError(f"{path} has functions of its own; {REMEDY}")
    for graph in _graphs(model.graph):
        attributes = [attribute for node in graph.node for attribute in node.attribute]
        tensors = [*graph.initializer, *(attribute.t for attribute in attributes)]
        tensors += [tensor for attribute in attributes for tensor in attribute.tensors]
        if graph.sparse_initializer or any(tensor.external_data or tensor.data_location for tensor in tensors):
            raise CheckpointError(f"{path} keeps values outside of the file, which are not read; {REMEDY}")
        for node in graph.node:
            if node.op_type not in _OPERATORS:
                raise CheckpointError(f"{path} has the operator {node.op_type!r:.60}; {REMEDY}")
    return model


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and those inside its operators."""
    remaining = [graph]
    while remaining:
        yield (graph := remaining.pop())
        for node in graph.node:
            for attribute in node.attribute:
                remaining += [attribute.g] if attribute.HasField("g") else []
                remaining += attribute.graphs


def _metadata(model: onnx.ModelProto, path: Path) -> dict[str, bytes]:
    """Return the metadata by name, each within its limit."""
    entries: Iterable[Any] = model.metadata_props
    if any(isinstance(entry.value, bytes) for entry in entries):  # which is how protobuf returns text that is not UTF-8
        raise CheckpointError(f"{path} is damaged: its metadata are not text; {REMEDY}")
    metadata = {entry.key: entry.value.encode() for entry in entries}
    for name, limit in _METADATA_LIMITS.items():
        if name not in metadata:
            raise CheckpointError(f"{path} lacks {name} in its metadata; {REMEDY}")
        if len(metadata[name]) > limit:
            raise CheckpointError(f"{path} has {len(metadata[name]):,} bytes of {name}, above {limit:,}; {REMEDY}")
    if len(metadata.get(NGRAMS, b"")) > _NGRAMS_LIMIT:
        raise CheckpointError(f"{path} has {len(metadata[NGRAMS]):,} bytes of {NGRAMS}, above {_NGRAMS_LIMIT:,}; {REMEDY}")
    if metadata[PRECISION].decode() not in PRECISIONS:
        raise CheckpointError(f"{path} has the precision {metadata[PRECISION].decode()!r}; {REMEDY}")
    return metadata
