"""The networks of the built-in embeddings and encoders in NumPy, as functions of their weights, for prediction only.

Recurrences and pooling are those of `seqcls.model.encoders.numpy_reference`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqcls.data.rules import PAD_ID
from seqcls.inference.portable.plugins import Weights, within
from seqcls.model.embeddings.hashing import extend_hashes
from seqcls.model.encoders import numpy_reference as reference

Floats = NDArray[np.float32]
Lengths = NDArray[np.int64]


def linear(weights: Weights, x: Floats) -> Floats:
    """Return x W^T + b."""
    product: Floats = x @ weights["weight"].T + weights["bias"]
    return product


def read_ngrams(weights: Weights, ngrams: NDArray[np.int64], *, num_words: int) -> Floats:
    """Return the logits of the wide path, float32 [B, C], from n-grams [B, L], -1 in the padding."""
    scales = np.where(ngrams >= 0, weights["scales"][ngrams], 0)  # [B, L]
    is_word = ngrams < num_words
    norms = [np.sqrt(np.maximum((scales**2 * part).sum(axis=1, keepdims=True), 1e-12)) for part in (is_word, ~is_word)]
    values = scales / np.where(is_word, *norms)
    logits: Floats = np.einsum("bl,blc->bc", values, weights["weights"][ngrams]) + weights["bias"]
    return logits.astype(np.float32)


# Embeddings: from int64 [B, T], or float32 [B, T, D], to float32 [B, T, E].


def _words(weights: Weights, inputs: NDArray[Any]) -> Floats:
    vectors: Floats = weights["table.weight"][inputs]
    return vectors.astype(np.float32, copy=False)  # frozen ones are kept in 16 bits


def _ngrams(weights: Weights, inputs: NDArray[Any], *, max_n: int) -> Floats:
    vectors, table = _words(weights, inputs), weights["ngram_table.weight"]
    hashes = inputs = inputs.astype(np.int64)
    for n in range(2, max_n + 1):
        last = inputs[:, n - 1 :]  # the words that n-grams end with, [B, T - n + 1]
        hashes = extend_hashes(hashes[:, :-1], last, buckets=len(table) - 1)
        vectors[:, n - 1 :] += table[np.where(last == PAD_ID, PAD_ID, hashes + 1)]
    return vectors


def _features(weights: Weights, inputs: NDArray[Any]) -> Floats:
    return linear(within(weights, "projection."), inputs)


def _nothing(_weights: Weights, x: Floats, _lengths: Lengths) -> Floats:
    return np.zeros((len(x), 0), dtype=np.float32)


# Encoders: from x, float32 [B, T, D], and lengths, int64 [B], to float32 [B, output_size].


def _is_real(x: Floats, lengths: Lengths) -> NDArray[np.bool_]:
    """Return bool [B, T], True at the real steps of x [B, T, D]."""
    is_real: NDArray[np.bool_] = np.arange(x.shape[1]) < lengths[:, None]
    return is_real


def _pool(weights: Weights, states: Floats, lengths: Lengths, pooling: str, *, bidirectional: bool = False) -> Floats:
    if pooling == "last":
        final = reference.last_state(states, lengths)
        half = states.shape[2] // 2
        return np.concatenate([final[:, :half], states[:, 0, half:]], axis=1) if bidirectional else final
    if pooling == "attention":
        scores = np.tanh(linear(within(weights, "pool.key."), states)) @ weights["pool.query.weight"].T  # [B, T, 1]
        scores[~_is_real(states, lengths)] = -np.inf
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray((shares / shares.sum(axis=1, keepdims=True) * states).sum(axis=1))
    parts = {"mean": [reference.mean_pool], "max": [reference.max_pool]}
    parts["mean+max"] = [reference.mean_pool, reference.max_pool]
    return np.concatenate([part(states, lengths) for part in parts[pooling]], axis=1)


def _stack(
    weights: Weights,
    x: Floats,
    lengths: Lengths,
    step: Callable[[Weights], reference.Step[np.float32]],
    *,
    hidden_size: int,
    num_layers: int,
    bidirectional: bool,
    parts: int = 1,
) -> Floats:
    """Run layers one above the other; ``step`` makes the recurrence of a layer and direction from its weights."""
    state = reference.zeros(len(x), hidden_size, np.dtype(np.float32), parts=parts)
    for layer in range(num_layers):
        ahead, *back = (
            step(within(weights, f"recurrence.layers.{layer}.{direction}.")) for direction in range(1 + bidirectional)
        )
        x = (
            reference.run_both_ways(ahead, back[0], x, lengths, state)
            if bidirectional
            else reference.run(ahead, x, lengths, state)
        )
    return x


def _step(function: Callable[..., Any], *arrays: Floats) -> Any:
    return lambda x, state: function(x, state, *arrays)


def _lstm_step(weights: Weights) -> Any:
    bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    return _step(reference.lstm_step, weights["weight_ih_l0"], weights["weight_hh_l0"], bias)


def _gru_step(weights: Weights) -> Any:
    return _step(reference.gru_step, *(weights[f"{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")))


def _min_gru_step(weights: Weights) -> Any:
    names = ("gate.weight", "gate.bias", "candidate.weight", "candidate.bias")
    return _step(reference.min_gru_step, *(weights[name] for name in names))


def _simple_rnn_step(weights: Weights, *, nonlinearity: str) -> Any:
    inputs, states = weights["weight_ih_l0"], weights["weight_hh_l0"]
    bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    if nonlinearity == "tanh":
        return _step(reference.simple_rnn_step, inputs, states, bias)
    return lambda x, state: (np.maximum(x @ inputs.T + state[0] @ states.T + bias, 0),)


def _recurrent(
    step: Callable[..., Any], parts: int, weights: Weights, x: Floats, lengths: Lengths, *, pooling: str, **options: Any
) -> Floats:
    if "nonlinearity" in options:
        step = partial(step, nonlinearity=options.pop("nonlinearity"))
    states = _stack(weights, x, lengths, step, parts=parts, **options)
    return _pool(weights, states, lengths, pooling, bidirectional=options["bidirectional"])


def _bilstm(weights: Weights, x: Floats, lengths: Lengths, *, pooling: str, **options: Any) -> Floats:
    states = _stack(weights, x, lengths, _lstm_step, parts=2, bidirectional=True, **options)
    projected = np.maximum(linear(within(weights, "projection."), states), 0)
    return _pool(weights, projected, lengths, pooling)


def _numpy_simple_rnn(weights: Weights, x: Floats, lengths: Lengths, *, pooling: str) -> Floats:
    step = _step(reference.simple_rnn_step, weights["W"], weights["U"], weights["b"])
    state = reference.zeros(len(x), len(weights["b"]), np.dtype(np.float32))
    return _pool(weights, reference.run(step, x, lengths, state), lengths, pooling)


def _cnn(weights: Weights, x: Floats, lengths: Lengths) -> Floats:
    x = np.where(_is_real(x, lengths)[:, :, None], x, np.float32(0))
    features: list[Floats] = []
    while filters := within(weights, f"convolutions.{len(features)}."):
        width = filters["weight"].shape[2]
        steps = x.shape[1] + width - 1
        padded = np.pad(x, ((0, 0), (width - 1, width - 1), (0, 0)))
        windows = sum(padded[:, shift : shift + steps] @ filters["weight"][:, :, shift].T for shift in range(width))
        features.append(reference.max_pool(np.maximum(windows + filters["bias"], 0), lengths + width - 1))
    return np.concatenate(features, axis=1)


def _transformer(weights: Weights, x: Floats, lengths: Lengths, *, num_layers: int, num_heads: int, pooling: str) -> Floats:
    real = _is_real(x, lengths)
    x = linear(within(weights, "projection."), np.where(real[:, :, None], x, np.float32(0)))
    frequencies = np.exp(np.arange(0, x.shape[2], 2) * (-math.log(10_000) / x.shape[2]))
    angles = np.arange(x.shape[1])[:, None] * frequencies
    x = x + np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(x.shape[1:]).astype(np.float32)
    for layer in range(num_layers):
        block = within(weights, f"blocks.layers.{layer}.")
        x = x + _attention(block, _normalized(within(block, "norm1."), x), real, num_heads)
        inside = linear(within(block, "linear1."), _normalized(within(block, "norm2."), x))
        x = x + linear(within(block, "linear2."), _gelu(inside))
    return _pool(weights, _normalized(within(weights, "blocks.norm."), x), lengths, pooling)


def _attention(weights: Weights, x: Floats, real: NDArray[np.bool_], num_heads: int) -> Floats:
    batch, steps, size = x.shape
    joint = x @ weights["self_attn.in_proj_weight"].T + weights["self_attn.in_proj_bias"]
    q, k, v = joint.reshape(batch, steps, 3, num_heads, size // num_heads).transpose(2, 0, 3, 1, 4)  # [B, heads, T, size]
    scores = q @ k.swapaxes(2, 3) / np.float32(math.sqrt(size // num_heads))
    scores = np.where(real[:, None, None], scores, -np.inf)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    heads = (shares / shares.sum(axis=-1, keepdims=True)).astype(np.float32) @ v
    return linear(within(weights, "self_attn.out_proj."), heads.swapaxes(1, 2).reshape(batch, steps, size))


def _normalized(weights: Weights, x: Floats) -> Floats:
    centered = x - x.mean(axis=-1, keepdims=True)
    scaled = centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + np.float32(1e-5))
    return np.asarray(scaled * weights["weight"] + weights["bias"])


def _gelu(x: Floats) -> Floats:
    erf = np.frompyfunc(math.erf, 1, 1)(x / math.sqrt(2)).astype(np.float32)
    return np.asarray(0.5 * x * (1 + erf))


def _mean_pool(weights: Weights, x: Floats, lengths: Lengths, *, pooling: str, normalized: bool) -> Floats:
    pooled = _pool(weights, x, lengths, pooling)
    if not normalized:
        return pooled
    norms = np.sqrt((pooled**2).sum(axis=1, keepdims=True))
    return np.asarray(pooled / np.maximum(norms, np.float32(1e-12)))


EMBEDDINGS: dict[str, Callable[..., Floats]] = {
    "word": _words,
    "pretrained": _words,
    "static": _words,
    "ngram-hash": _ngrams,
    "features": _features,
}
"""The function that computes each embedding, by name."""

ENCODERS: dict[str, Callable[..., Floats]] = {
    "linear": _nothing,
    "lstm": partial(_recurrent, _lstm_step, 2),
    "gru": partial(_recurrent, _gru_step, 1),
    "min-gru": partial(_recurrent, _min_gru_step, 1),
    "torch-rnn": partial(_recurrent, _simple_rnn_step, 1),
    "bilstm": _bilstm,
    "bilstm-mean-pool": _bilstm,
    "numpy-simple-rnn": _numpy_simple_rnn,
    "cnn": _cnn,
    "transformer": _transformer,
    "mean-pool": _mean_pool,
}
"""The function that computes each encoder, by name."""
