"""A model as an ONNX graph, written operator by operator: every built-in embedding, encoder and pooling.

PyTorch's own exporter records one run, with the sizes of that run in places: for the recurrent encoders and attention the
file is wrong for other batches. ONNX has recurrent operators that heed each sequence's length, which are used here. The same
networks in NumPy are in numpy_classifier.py. Importing this module needs the extra `onnx`.

The graph has the inputs `inputs`, int64 [B, T] or float32 [B, T, D], and `lengths`, int64 [B], each in 1..T, and the output
`logits`, float32 [B, C], not divided by the temperature.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from seqcls.errors import UsageError
from seqcls.inference.portable.numpy_classifier import EMBEDDINGS as EMBEDDING_OPTIONS
from seqcls.inference.portable.numpy_classifier import ENCODERS as ENCODER_OPTIONS
from seqcls.inference.portable.numpy_classifier import FASTTEXT_MULTIPLIER, within

Weights = Mapping[str, NDArray[Any]]
OPSET, IR_VERSION = 17, 8  # of 2022, which every onnxruntime of the extra reads
_MOST_BYTES = 2_000_000_000  # a protocol buffer ends at 2 GiB
_INF = math.inf


class Graph:
    """An ONNX graph under construction. Values are known by their names, which operators are called with and return."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Add a constant array."""
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(value, dtype=dtype), name))
        return name

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator of one output, and return its name."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=f"{operator}_{name}", **attributes))
        return name

    def linear(self, weights: Weights, x: str) -> str:
        """Add x W^T + b, without b if there is none."""
        product = self("MatMul", x, self.constant(np.ascontiguousarray(weights["weight"].T)))
        return self("Add", product, self.constant(weights["bias"])) if "bias" in weights else product

    def slice(self, x: str, start: int | str, end: int | str, axis: int) -> str:
        """Add x[start:end] of an axis; a name stands for an int64 [1]."""
        ends = [place if isinstance(place, str) else self.constant([place], np.int64) for place in (start, end)]
        return self("Slice", x, *ends, self.constant([axis], np.int64))

    def reshape(self, x: str, *shape: int) -> str:
        """Add a change of shape, in which 0 keeps an axis and -1 takes what remains."""
        return self("Reshape", x, self.constant(shape, np.int64))

    def size(self, x: str, axis: int) -> str:
        """Add the size of an axis, int64 [1]."""
        return self("Shape", x, start=axis, end=axis + 1)

    def steps(self, x: str) -> str:
        """Add the numbers of the time steps of x [B, T, ...], int64 [T]."""
        end = self("Squeeze", self.size(x, 1))
        return self("Range", self.constant(0, np.int64), end, self.constant(1, np.int64))

    def mask(self, x: str, lengths: str) -> str:
        """Add bool [B, T, 1], true at the real steps of x [B, T, ...]."""
        return self("Unsqueeze", self.flat_mask(x, lengths), self.constant([2], np.int64))

    def flat_mask(self, x: str, lengths: str) -> str:
        """Add bool [B, T], true at the real steps of x [B, T, ...]."""
        return self("Less", self.steps(x), self("Unsqueeze", lengths, self.constant([1], np.int64)))

    def where(self, mask: str, x: str, other: float) -> str:
        """Add x where the mask is true, and a number elsewhere."""
        return self("Where", mask, x, self.constant(other, np.float32))


def build_graph(
    weights: Weights,
    plugins: Mapping[str, Mapping[str, Any]],
    model: Mapping[str, Any],
) -> onnx.ModelProto:
    """Return a model as an ONNX graph.

    Args:
        weights: The arrays of model.safetensors.
        plugins: The plugins of config.json, by "embedding" and "encoder".
        model: The settings of the model in config.json.

    Raises:
        UsageError: The embedding or encoder is not one of seqcls, or the model is too large for a file of ONNX.
    """
    embed = _plugin(_EMBEDDINGS, EMBEDDING_OPTIONS, plugins["embedding"], model["embedding_options"])
    encode = _plugin(_ENCODERS, ENCODER_OPTIONS, plugins["encoder"], model["encoder_options"])
    size = sum(array.nbytes for array in weights.values())
    if size > _MOST_BYTES:
        raise UsageError(f"the model has {size:,} bytes, and an ONNX file holds at most {_MOST_BYTES:,}")
    graph = Graph()
    x = embed(graph, within(weights, "embedding."), "inputs")
    encoded = encode(graph, within(weights, "encoder."), x, "lengths")
    logits = graph.linear(within(weights, "head."), encoded)
    graph.nodes.append(helper.make_node("Identity", [logits], ["logits"], name="logits"))
    features = "embedding.projection.weight" in weights
    shape = ["batch", "steps", weights["embedding.projection.weight"].shape[1]] if features else ["batch", "steps"]
    inputs = [
        helper.make_tensor_value_info("inputs", TensorProto.FLOAT if features else TensorProto.INT64, shape),
        helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
    ]
    classes = len(weights["head.bias"])
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])]
    proto = helper.make_graph(graph.nodes, "seqcls", inputs, outputs, graph.initializers)
    found = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(found, full_check=True)
    return found


def _plugin(
    known: Mapping[str, Callable[..., str]],
    names_of: Mapping[str, tuple[Any, tuple[str, ...]]],
    plugin: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Callable[..., str]:
    if plugin["distribution"] != "seqcls" or plugin["name"] not in known:
        raise UsageError(
            f"{plugin['name']} has no ONNX form; those that have one are {', '.join(sorted(known))}. "
            "Use the model directory, or train with one of them"
        )
    name, (_, names) = plugin["name"], names_of[plugin["name"]]
    return partial(known[name], **{option: options[option] for option in names})


# Embeddings: from int64 [B, T], or float32 [B, T, D], to float32 [B, T, E].


def _words(g: Graph, weights: Weights, inputs: str) -> str:
    return g("Gather", g.constant(weights["table.weight"]), inputs)


def _ngrams(g: Graph, weights: Weights, inputs: str, *, max_n: int) -> str:
    vectors, hashes, pad = _words(g, weights, inputs), inputs, g.constant(0, np.int64)
    table = g.constant(weights["ngram_table.weight"])
    multiplier = g.constant(FASTTEXT_MULTIPLIER, np.int64)
    buckets = g.constant(len(weights["ngram_table.weight"]) - 1, np.int64)
    for n in range(2, max_n + 1):
        later = g.slice(inputs, n - 1, np.iinfo(np.int64).max, 1)  # [B, T - n + 1]
        hashes = g("Mod", g("Add", g("Mul", g.slice(hashes, 0, -1, 1), multiplier), later), buckets)
        rows = g("Where", g("Equal", later, pad), pad, g("Add", hashes, g.constant(1, np.int64)))
        found = g("Pad", g("Gather", table, rows), g.constant([0, n - 1, 0, 0, 0, 0], np.int64))
        vectors = g("Add", vectors, g.slice(found, 0, g.size(inputs, 1), 1))  # of T < n - 1 steps the zeros are too many
    return vectors


def _features(g: Graph, weights: Weights, inputs: str) -> str:
    return g.linear(within(weights, "projection."), inputs)


# Pooling: from x, float32 [B, T, D], to float32 [B, output_size].


def _pool(g: Graph, weights: Weights, x: str, lengths: str, pooling: str, *, half: int | None = None) -> str:
    """Add a pooling; values of a vector from ``half`` on were computed from the end of the sequence."""
    time = g.constant([1], np.int64)
    if pooling == "last":
        last = g("Unsqueeze", g("Sub", lengths, g.constant(1, np.int64)), time)  # [B, 1]
        final = g("GatherND", x, last, batch_dims=1)
        if half is None:
            return final
        first = g("Gather", x, g.constant(0, np.int64), axis=1)
        return g("Concat", g.slice(final, 0, half, 1), g.slice(first, half, 2 * half, 1), axis=1)
    mask = g.mask(x, lengths)
    if pooling == "attention":
        keys = g("Tanh", g.linear(within(weights, "pool.key."), x))
        scores = g.where(mask, g.linear(within(weights, "pool.query."), keys), -_INF)  # [B, T, 1]
        shares = g("Mul", g("Softmax", scores, axis=1), g.where(mask, x, 0))
        return g("ReduceSum", shares, time, keepdims=0)
    parts = []
    if "mean" in pooling:
        count = g("Cast", g("Unsqueeze", lengths, time), to=TensorProto.FLOAT)
        parts.append(g("Div", g("ReduceSum", g.where(mask, x, 0), time, keepdims=0), count))
    if "max" in pooling:
        parts.append(g("ReduceMax", g.where(mask, x, -_INF), axes=[1], keepdims=0))
    return g("Concat", *parts, axis=1) if len(parts) == 2 else parts[0]


# Encoders: from x, float32 [B, T, D], and lengths, int64 [B], to float32 [B, output_size].

_Layer = Callable[..., str]
"""Adds a layer of one direction or two: from float32 [T, B, D] to [T, B, directions * H]."""


def _stack(g: Graph, weights: Weights, x: str, lengths: str, layer: _Layer, *, num_layers: int, bidirectional: bool) -> str:
    x = g("Transpose", x, perm=[1, 0, 2])
    for number in range(num_layers):
        parts = [within(weights, f"recurrence.layers.{number}.{direction}.") for direction in range(1 + bidirectional)]
        x = layer(g, parts, x, lengths)
    return g("Transpose", x, perm=[1, 0, 2])


def _rnn_layer(
    g: Graph,
    directions: Sequence[Weights],
    x: str,
    lengths: str,
    *,
    operator: str,
    gates: tuple[int, ...],
    **attributes: Any,
) -> str:
    """Add a recurrent operator of ONNX, which has the gates in another order than PyTorch: ``gates`` are their places."""

    def ordered(name: str) -> NDArray[Any]:
        found = []
        for weights in directions:
            parts = np.split(weights[f"{name}_l0"], len(gates))
            found.append(np.concatenate([parts[place] for place in gates]))
        return np.stack(found)

    biases = np.concatenate([ordered("bias_ih"), ordered("bias_hh")], axis=1)
    size = directions[0]["weight_hh_l0"].shape[1]
    states = g(  # [T, directions, B, H]
        operator,
        x,
        g.constant(ordered("weight_ih")),
        g.constant(ordered("weight_hh")),
        g.constant(biases),
        g("Cast", lengths, to=TensorProto.INT32),
        hidden_size=size,
        direction="bidirectional" if len(directions) == 2 else "forward",
        **attributes,
    )
    return g.reshape(g("Transpose", states, perm=[0, 2, 1, 3]), 0, 0, len(directions) * size)


_lstm_layer = partial(_rnn_layer, operator="LSTM", gates=(0, 3, 1, 2))  # i, f, g, o become i, o, f, g
_gru_layer = partial(_rnn_layer, operator="GRU", gates=(1, 0, 2), linear_before_reset=1)  # r, z, n become z, r, n


def _simple_rnn_layer(g: Graph, directions: Sequence[Weights], x: str, lengths: str, *, nonlinearity: str) -> str:
    activations = [nonlinearity.capitalize()] * len(directions)
    return _rnn_layer(g, directions, x, lengths, operator="RNN", gates=(0,), activations=activations)


def _min_gru_layer(g: Graph, directions: Sequence[Weights], x: str, lengths: str) -> str:
    states = []
    for number, weights in enumerate(directions):
        own = g("ReverseSequence", x, lengths, time_axis=0, batch_axis=1) if number else x
        gate = g("Sigmoid", g.linear(within(weights, "gate."), own))  # [T, B, H]
        decay = g("Sub", g.constant(1, np.float32), gate)
        inputs = g("Mul", gate, g.linear(within(weights, "candidate."), own))
        first = g("Gather", inputs, g.constant(0, np.int64))
        found = _linear_scan(g, g("Sub", first, first), decay, inputs)
        states.append(g("ReverseSequence", found, lengths, time_axis=0, batch_axis=1) if number else found)
    return g("Concat", *states, axis=2) if len(states) == 2 else states[0]


def _linear_scan(g: Graph, initial: str, decay: str, inputs: str) -> str:
    """Add h_t = decay_t h_{t-1} + inputs_t over the first axis."""
    names = ("state", "decay", "input")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (*names, "next", "output")]
    nodes = [
        helper.make_node("Mul", ["state", "decay"], ["kept"]),
        helper.make_node("Add", ["kept", "input"], ["next"]),
        helper.make_node("Identity", ["next"], ["output"]),
    ]
    body = helper.make_graph(nodes, "step", values[:3], values[3:])
    name = f"v{len(g.nodes)}"
    outputs = [f"{name}_last", name]
    g.nodes.append(helper.make_node("Scan", [initial, decay, inputs], outputs, name=name, body=body, num_scan_inputs=2))
    return name


def _recurrent(layer: _Layer, g: Graph, weights: Weights, x: str, lengths: str, *, pooling: str, **options: Any) -> str:
    if "nonlinearity" in options:
        layer = partial(layer, nonlinearity=options.pop("nonlinearity"))
    size = options.pop("hidden_size")
    states = _stack(g, weights, x, lengths, layer, **options)
    return _pool(g, weights, states, lengths, pooling, half=size if options["bidirectional"] else None)


def _bilstm(g: Graph, weights: Weights, x: str, lengths: str, *, hidden_size: int, num_layers: int, pooling: str) -> str:
    del hidden_size  # the weights have it
    states = _stack(g, weights, x, lengths, _lstm_layer, num_layers=num_layers, bidirectional=True)
    return _pool(g, weights, g("Relu", g.linear(within(weights, "projection."), states)), lengths, pooling)


def _numpy_simple_rnn(g: Graph, weights: Weights, x: str, lengths: str, *, pooling: str) -> str:
    names = {"weight_ih_l0": "W", "weight_hh_l0": "U", "bias_ih_l0": "b"}
    layer = {f"recurrence.layers.0.0.{name}": weights[own] for name, own in names.items()}
    layer["recurrence.layers.0.0.bias_hh_l0"] = np.zeros_like(weights["b"])
    rnn = partial(_simple_rnn_layer, nonlinearity="tanh")
    states = _stack(g, layer, x, lengths, rnn, num_layers=1, bidirectional=False)
    return _pool(g, weights, states, lengths, pooling)


def _cnn(g: Graph, weights: Weights, x: str, lengths: str) -> str:
    channels = g("Transpose", g.where(g.mask(x, lengths), x, 0), perm=[0, 2, 1])  # [B, D, T]
    found: list[str] = []
    while f"convolutions.{len(found)}.weight" in weights:
        own = within(weights, f"convolutions.{len(found)}.")
        width = own["weight"].shape[2]
        windows = g("Conv", channels, g.constant(own["weight"]), g.constant(own["bias"]), pads=[width - 1, width - 1])
        windows = g("Transpose", g("Relu", windows), perm=[0, 2, 1])  # [B, T + width - 1, num_filters]
        found.append(_pool(g, weights, windows, g("Add", lengths, g.constant(width - 1, np.int64)), "max"))
    return g("Concat", *found, axis=1)


def _transformer(g: Graph, weights: Weights, x: str, lengths: str, *, num_layers: int, num_heads: int, pooling: str) -> str:
    others = g("Unsqueeze", g.flat_mask(x, lengths), g.constant([1, 2], np.int64))  # [B, 1, 1, T]
    x = g.linear(within(weights, "projection."), g.where(g.mask(x, lengths), x, 0))
    size = len(weights["projection.bias"])
    x = g("Add", x, _positions(g, x, size))
    for layer in range(num_layers):
        own = within(weights, f"blocks.layers.{layer}.")
        attended = _attention(g, within(own, "self_attn."), _normalized(g, within(own, "norm1."), x), others, num_heads)
        x = g("Add", x, attended)
        inside = g.linear(within(own, "linear1."), _normalized(g, within(own, "norm2."), x))
        x = g("Add", x, g.linear(within(own, "linear2."), _gelu(g, inside)))
    return _pool(g, weights, _normalized(g, within(weights, "blocks.norm."), x), lengths, pooling)


def _positions(g: Graph, x: str, size: int) -> str:
    """Add the sines and cosines of the positions of x [B, T, size], float32 [T, size]."""
    frequencies = np.exp(np.arange(0, size, 2, dtype=np.float32) * np.float32(-math.log(10_000) / size))
    steps = g("Unsqueeze", g("Cast", g.steps(x), to=TensorProto.FLOAT), g.constant([1], np.int64))
    angles = g("Mul", steps, g.constant(frequencies))  # [T, size / 2]
    pair = [g("Unsqueeze", g(function, angles), g.constant([2], np.int64)) for function in ("Sin", "Cos")]
    return g.reshape(g("Concat", *pair, axis=2), 0, -1)


def _attention(g: Graph, weights: Weights, x: str, others: str, num_heads: int) -> str:
    joint = {"weight": weights["in_proj_weight"], "bias": weights["in_proj_bias"]}
    head_size = len(weights["in_proj_bias"]) // 3 // num_heads
    heads = g.reshape(g.linear(joint, x), 0, 0, 3, num_heads, head_size)
    heads = g("Transpose", heads, perm=[2, 0, 3, 1, 4])  # [3, B, heads, T, head_size]
    q, k, v = (g("Gather", heads, g.constant(place, np.int64)) for place in range(3))
    scores = g("MatMul", q, g("Transpose", k, perm=[0, 1, 3, 2]))
    scores = g("Mul", scores, g.constant(1 / math.sqrt(head_size), np.float32))
    shares = g("Softmax", g.where(others, scores, -_INF), axis=-1)
    found = g("Transpose", g("MatMul", shares, v), perm=[0, 2, 1, 3])
    return g.linear(within(weights, "out_proj."), g.reshape(found, 0, 0, -1))


def _normalized(g: Graph, weights: Weights, x: str) -> str:
    return g("LayerNormalization", x, g.constant(weights["weight"]), g.constant(weights["bias"]), axis=-1, epsilon=1e-5)


def _gelu(g: Graph, x: str) -> str:
    erf = g("Erf", g("Mul", x, g.constant(1 / math.sqrt(2), np.float32)))
    return g("Mul", g("Mul", x, g.constant(0.5, np.float32)), g("Add", erf, g.constant(1, np.float32)))


def _mean_pool(g: Graph, weights: Weights, x: str, lengths: str, *, pooling: str) -> str:
    return _pool(g, weights, x, lengths, pooling)


_EMBEDDINGS: dict[str, Callable[..., str]] = {
    "word": _words,
    "pretrained": _words,
    "ngram-hash": _ngrams,
    "features": _features,
}
_ENCODERS: dict[str, Callable[..., str]] = {
    "lstm": partial(_recurrent, _lstm_layer),
    "gru": partial(_recurrent, _gru_layer),
    "min-gru": partial(_recurrent, _min_gru_layer),
    "torch-rnn": partial(_recurrent, _simple_rnn_layer),
    "bilstm-mean-pool": _bilstm,
    "numpy-simple-rnn": _numpy_simple_rnn,
    "cnn": _cnn,
    "transformer": _transformer,
    "mean-pool": _mean_pool,
}
