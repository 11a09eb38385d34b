"""The networks of the built-in embeddings and encoders as ONNX graphs; in NumPy they are in numpy_network.py.

PyTorch's own exporter records a single run with some of its sizes, so that for recurrent encoders and attention the file is
wrong for other batches. The recurrent operators of ONNX, which are used here, respect each sequence's length.

Importing this module needs the extra `onnx`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from seqcls.errors import UsageError
from seqcls.inference.portable.onnx_graph import Graph
from seqcls.inference.portable.plugins import Weights, bind, members, within
from seqcls.model.embeddings.hashing import FASTTEXT_MULTIPLIER

OPSET, IR_VERSION = 17, 8  # of 2022: every onnxruntime that the extra admits can read them
_MOST_BYTES = 2_000_000_000  # a protocol buffer ends at 2 GiB
_INF = math.inf


def build_graph(
    weights: Weights,
    plugins: Mapping[str, Mapping[str, Any]],
    model: Mapping[str, Any],
    *,
    num_words: int = 0,
) -> onnx.ModelProto:
    """Return a model as an ONNX graph.

    The graph has the inputs ``inputs``, int64 [B, T] or float32 [B, T, D], and ``lengths``, int64 [B], each in 1..T, and the
    output ``logits``, float32 [B, C], not divided by the temperature. Where the model has a wide path, there is also the
    input ``ngrams``, int64 [B, L], -1 in the padding.

    Args:
        weights: The arrays of model.safetensors.
        plugins: The plugins in config.json, by "embedding" and "encoder".
        model: The settings of the model in config.json, with every option.
        num_words: The number of n-grams of words, which come before those of characters.

    Raises:
        UsageError: The embedding or encoder has no ONNX form, or the model is too large for an ONNX file.
    """
    size = sum(4 * array.size for array in weights.values())  # as float32
    if size > _MOST_BYTES:
        raise UsageError(f"the model has {size:,} bytes, and an ONNX file holds at most {_MOST_BYTES:,}")
    graph = Graph()
    wide = within(weights, "wide.")
    of_ngrams = _read_ngrams(graph, wide, num_words) if wide else None
    if "head.weight" in weights:
        logits = _read_sequences(graph, weights, plugins, model)
        if of_ngrams is not None:
            shares = [graph.constant(share) for share in wide["shares"]]
            logits = graph("Add", graph("Mul", of_ngrams, shares[0]), graph("Mul", logits, shares[1]))
    else:
        assert of_ngrams is not None
        logits = of_ngrams
    graph.nodes.append(helper.make_node("Identity", [logits], ["logits"], name="logits"))
    projection = weights.get("embedding.projection.weight")  # of features; ids have none
    type_, shape = TensorProto.INT64, ["batch", "steps"]
    if projection is not None:
        type_, shape = TensorProto.FLOAT, [*shape, projection.shape[1]]
    inputs = [
        helper.make_tensor_value_info("inputs", type_, shape),
        helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
    ]
    classes = len(wide["bias"] if wide else weights["head.bias"])
    if wide:
        inputs.append(helper.make_tensor_value_info("ngrams", TensorProto.INT64, ["batch", "ngrams"]))
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])]
    proto = helper.make_graph(graph.nodes, "seqcls", inputs, outputs, graph.initializers)
    built = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(built, full_check=True)
    return built


def _read_sequences(
    graph: Graph, weights: Weights, plugins: Mapping[str, Mapping[str, Any]], model: Mapping[str, Any]
) -> str:
    """Add embedding, encoder and head; return the logits of the sequences."""
    embed = _plugin(_EMBEDDINGS, plugins["embedding"], model["embedding_options"])
    encode = _plugin(_ENCODERS, plugins["encoder"], model["encoder_options"])
    logits = []
    for member in members(weights):
        x = embed(graph, within(member, "embedding."), "inputs")
        encoded = encode(graph, within(member, "encoder."), x, "lengths")
        logits.append(graph.linear(within(member, "head."), encoded))
    return logits[0] if len(logits) == 1 else graph("Mean", *logits)


def _read_ngrams(g: Graph, weights: Weights, num_words: int) -> str:
    """Add the wide path, as in `numpy_network.read_ngrams`."""
    zero, axis = g.constant(0, np.int64), g.constant([1], np.int64)
    is_padding = g("Less", "ngrams", zero)  # [B, L]
    ids = g("Where", is_padding, zero, "ngrams")
    scales = g.where(g("Equal", is_padding, g.constant(False)), g("Gather", g.constant(weights["scales"]), ids), 0.0)
    is_word = g("Less", "ngrams", g.constant(num_words, np.int64))
    squares, norms = g("Mul", scales, scales), []
    for part in (is_word, g("Equal", is_word, g.constant(False))):
        total = g("ReduceSum", g.where(part, squares, 0.0), axis, keepdims=1)  # [B, 1]
        norms.append(g("Sqrt", g("Max", total, g.constant(1e-12, np.float32))))
    values = g("Div", scales, g("Where", is_word, *norms))  # [B, L]
    rows = g("Gather", g.constant(weights["weights"]), ids)  # [B, L, C]
    products = g("Mul", rows, g("Unsqueeze", values, g.constant([2], np.int64)))
    summed = g("ReduceSum", products, axis, keepdims=0)  # [B, C]
    return g("Add", summed, g.constant(weights["bias"]))


def _plugin(
    functions: Mapping[str, Callable[..., str]], plugin: Mapping[str, Any], options: Mapping[str, Any]
) -> Callable[..., str]:
    function = bind(functions, plugin, options)
    if function is None:
        raise UsageError(
            f"{plugin['name']} has no ONNX form; those that have one are {', '.join(sorted(functions))}. "
            "Use the model directory, or train with one of them"
        )
    return function


# Embeddings: from int64 [B, T], or float32 [B, T, D], to float32 [B, T, E].


def _words(g: Graph, weights: Weights, inputs: str) -> str:
    return g("Gather", g.constant(weights["table.weight"], np.float32), inputs)


def _ngrams(g: Graph, weights: Weights, inputs: str, *, max_n: int) -> str:
    vectors, hashes, pad = _words(g, weights, inputs), inputs, g.constant(0, np.int64)
    table = g.constant(weights["ngram_table.weight"])
    multiplier = g.constant(FASTTEXT_MULTIPLIER, np.int64)
    buckets = g.constant(len(weights["ngram_table.weight"]) - 1, np.int64)
    for n in range(2, max_n + 1):
        last = g.slice(inputs, n - 1, np.iinfo(np.int64).max, 1)  # [B, T - n + 1]
        hashes = g("Mod", g("Add", g("Mul", g.slice(hashes, 0, -1, 1), multiplier), last), buckets)
        rows = g("Where", g("Equal", last, pad), pad, g("Add", hashes, g.constant(1, np.int64)))
        padded = g("Pad", g("Gather", table, rows), g.constant([0, n - 1, 0, 0, 0, 0], np.int64))
        vectors = g("Add", vectors, g.slice(padded, 0, g.size(inputs, 1), 1))  # if T < n - 1, there are too many zeros
    return vectors


def _features(g: Graph, weights: Weights, inputs: str) -> str:
    return g.linear(within(weights, "projection."), inputs)


# Pooling: from x, float32 [B, T, D], to float32 [B, output_size].


def _pool(g: Graph, weights: Weights, x: str, lengths: str, pooling: str, *, half: int | None = None) -> str:
    """Add a pooling; the values from ``half`` on were computed from the end of the sequence."""
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
"""Adds a layer of one or two directions: from float32 [T, B, D] to [T, B, directions * H]."""


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
    """Add a recurrent operator; ``gates`` are the positions in PyTorch's weights of the gates in the order of ONNX."""

    def ordered(name: str) -> NDArray[np.float32]:
        arrays = []
        for weights in directions:
            parts = np.split(weights[f"{name}_l0"], len(gates))
            arrays.append(np.concatenate([parts[gate] for gate in gates]))
        return np.stack(arrays)

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
        steps = _reversed(g, x, lengths) if number else x
        gate = g("Sigmoid", g.linear(within(weights, "gate."), steps))  # [T, B, H]
        decay = g("Sub", g.constant(1, np.float32), gate)
        inputs = g("Mul", gate, g.linear(within(weights, "candidate."), steps))
        first = g("Gather", inputs, g.constant(0, np.int64))
        zeros = g("Sub", first, first)  # [B, H]
        scanned = _linear_scan(g, zeros, decay, inputs)
        states.append(_reversed(g, scanned, lengths) if number else scanned)
    return g("Concat", *states, axis=2) if len(states) == 2 else states[0]


def _reversed(g: Graph, x: str, lengths: str) -> str:
    """Add x [T, B, D], each sequence reversed within its own length."""
    return g("ReverseSequence", x, lengths, time_axis=0, batch_axis=1)


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
    layer = {f"recurrence.layers.0.0.{name}": weights[short] for name, short in names.items()}
    layer["recurrence.layers.0.0.bias_hh_l0"] = np.zeros_like(weights["b"])
    rnn = partial(_simple_rnn_layer, nonlinearity="tanh")
    states = _stack(g, layer, x, lengths, rnn, num_layers=1, bidirectional=False)
    return _pool(g, weights, states, lengths, pooling)


def _cnn(g: Graph, weights: Weights, x: str, lengths: str) -> str:
    channels = g("Transpose", g.where(g.mask(x, lengths), x, 0), perm=[0, 2, 1])  # [B, D, T]
    features: list[str] = []
    while filters := within(weights, f"convolutions.{len(features)}."):
        width = filters["weight"].shape[2]
        arrays = g.constant(filters["weight"]), g.constant(filters["bias"])
        windows = g("Conv", channels, *arrays, pads=[width - 1, width - 1])
        windows = g("Transpose", g("Relu", windows), perm=[0, 2, 1])  # [B, T + width - 1, num_filters]
        features.append(_pool(g, weights, windows, g("Add", lengths, g.constant(width - 1, np.int64)), "max"))
    return g("Concat", *features, axis=1)


def _transformer(g: Graph, weights: Weights, x: str, lengths: str, *, num_layers: int, num_heads: int, pooling: str) -> str:
    real = g("Unsqueeze", g.flat_mask(x, lengths), g.constant([1, 2], np.int64))  # [B, 1, 1, T]
    x = g.linear(within(weights, "projection."), g.where(g.mask(x, lengths), x, 0))
    size = len(weights["projection.bias"])
    x = g("Add", x, _positions(g, x, size))
    for layer in range(num_layers):
        block = within(weights, f"blocks.layers.{layer}.")
        attended = _attention(g, within(block, "self_attn."), _normalized(g, within(block, "norm1."), x), real, num_heads)
        x = g("Add", x, attended)
        inside = g.linear(within(block, "linear1."), _normalized(g, within(block, "norm2."), x))
        x = g("Add", x, g.linear(within(block, "linear2."), _gelu(g, inside)))
    return _pool(g, weights, _normalized(g, within(weights, "blocks.norm."), x), lengths, pooling)


def _positions(g: Graph, x: str, size: int) -> str:
    """Add the sines and cosines of the positions of x [B, T, size], float32 [T, size]."""
    frequencies = np.exp(np.arange(0, size, 2, dtype=np.float32) * np.float32(-math.log(10_000) / size))
    steps = g("Unsqueeze", g("Cast", g.steps(x), to=TensorProto.FLOAT), g.constant([1], np.int64))
    angles = g("Mul", steps, g.constant(frequencies))  # [T, size / 2]
    pair = [g("Unsqueeze", g(function, angles), g.constant([2], np.int64)) for function in ("Sin", "Cos")]
    return g.reshape(g("Concat", *pair, axis=2), 0, -1)


def _attention(g: Graph, weights: Weights, x: str, real: str, num_heads: int) -> str:
    joint = {"weight": weights["in_proj_weight"], "bias": weights["in_proj_bias"]}
    head_size = len(weights["in_proj_bias"]) // 3 // num_heads
    heads = g.reshape(g.linear(joint, x), 0, 0, 3, num_heads, head_size)
    heads = g("Transpose", heads, perm=[2, 0, 3, 1, 4])  # [3, B, heads, T, head_size]
    q, k, v = (g("Gather", heads, g.constant(part, np.int64)) for part in range(3))
    scores = g("MatMul", q, g("Transpose", k, perm=[0, 1, 3, 2]))
    scores = g("Mul", scores, g.constant(1 / math.sqrt(head_size), np.float32))
    shares = g("Softmax", g.where(real, scores, -_INF), axis=-1)
    attended = g("Transpose", g("MatMul", shares, v), perm=[0, 2, 1, 3])  # [B, T, heads, head_size]
    return g.linear(within(weights, "out_proj."), g.reshape(attended, 0, 0, -1))


def _normalized(g: Graph, weights: Weights, x: str) -> str:
    return g("LayerNormalization", x, g.constant(weights["weight"]), g.constant(weights["bias"]), axis=-1, epsilon=1e-5)


def _gelu(g: Graph, x: str) -> str:
    erf = g("Erf", g("Mul", x, g.constant(1 / math.sqrt(2), np.float32)))
    return g("Mul", g("Mul", x, g.constant(0.5, np.float32)), g("Add", erf, g.constant(1, np.float32)))


def _mean_pool(g: Graph, weights: Weights, x: str, lengths: str, *, pooling: str, normalized: bool) -> str:
    pooled = _pool(g, weights, x, lengths, pooling)
    if not normalized:
        return pooled
    squares = g("ReduceSum", g("Mul", pooled, pooled), g.constant([1], np.int64), keepdims=1)
    return g("Div", pooled, g("Max", g("Sqrt", squares), g.constant(1e-12, np.float32)))


_EMBEDDINGS: dict[str, Callable[..., str]] = {
    "word": _words,
    "pretrained": _words,
    "static": _words,
    "ngram-hash": _ngrams,
    "features": _features,
}
_ENCODERS: dict[str, Callable[..., str]] = {
    "lstm": partial(_recurrent, _lstm_layer),
    "gru": partial(_recurrent, _gru_layer),
    "min-gru": partial(_recurrent, _min_gru_layer),
    "torch-rnn": partial(_recurrent, _simple_rnn_layer),
    "bilstm": _bilstm,
    "bilstm-mean-pool": _bilstm,
    "numpy-simple-rnn": _numpy_simple_rnn,
    "cnn": _cnn,
    "transformer": _transformer,
    "mean-pool": _mean_pool,
}
