"""Prediction without torch: a model directory in NumPy, with `numpy`, `safetensors` and `tokenizers` alone installed.

    from seqcls.inference.portable.numpy_classifier import NumpyClassifier

    NumpyClassifier.from_pretrained("run").predict(["Not a good film."])

It is written to be small and right, not fast: the recurrences are those of `seqcls.model.encoders.numpy_reference`.
A machine that has torch should use `seqcls.Classifier`, whose answers are the same to five digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqcls.data.encoding import encode_inputs, parse_preprocessor
from seqcls.data.preprocessor import Preprocessor
from seqcls.data.rules import PAD_ID
from seqcls.errors import CheckpointError
from seqcls.evaluation.decisions import decide, label_probabilities
from seqcls.model.encoders import numpy_reference as reference
from seqcls.storage.upgrade import read_format
from seqcls.system.untrusted import JSON_LIMIT, parse_json, read_verified

Floats = NDArray[np.float32]
Lengths = NDArray[np.int64]
Weights = Mapping[str, Floats]
_FILES = {"config.json": JSON_LIMIT, "model.safetensors": None, "tokenizer.json": 64 << 20}
_BATCH = 32
FASTTEXT_MULTIPLIER = 116_049_371  # what hashes are multiplied by; see seqcls/model/embeddings/ngram_hash.py


class NumpyClassifier:
    """A trained model with its tokenizer and label names, computed by NumPy; made by `from_pretrained`.

    Attributes:
        label_names: The labels, in the order of `predict_proba`'s columns.
        thresholds: Where a text may have several labels, the probability from which on it has each; else None.
        temperature: What the logits are divided by.
    """

    def __init__(self, description: Mapping[str, Any], weights: Weights, preprocessor: Preprocessor) -> None:
        if preprocessor.kind != description["input"]:
            raise CheckpointError(
                f"config.json is of a model for {description['input']}, tokenizer.json for {preprocessor.kind}"
            )
        model = description["config"]["model"]
        self.label_names: tuple[str, ...] = tuple(description["label_names"])
        self.thresholds: list[float] | None = description["thresholds"]
        self.temperature = float(description.get("temperature", 1.0))
        self._preprocessor = preprocessor
        self._weights = weights
        self._embed = _plugin(EMBEDDINGS, description["plugins"]["embedding"], model["embedding_options"])
        self._encode = _plugin(ENCODERS, description["plugins"]["encoder"], model["encoder_options"])

    @classmethod
    def from_pretrained(cls, path: str | Path) -> NumpyClassifier:
        """Load a model directory, or that of a run directory whose run has ended, and compare every file with its hash.

        Raises:
            CheckpointError: A file is missing or damaged, or the model has an encoder that is not written in NumPy.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        path = Path(path)
        folder = path if (path / "config.json").is_file() else path / "model"
        contents = read_verified(folder, _FILES)
        where = folder / "config.json"
        description = read_format(parse_json(contents["config.json"], where), where)
        try:
            data = description["config"]["data"]
            preprocessor = parse_preprocessor(
                contents["tokenizer.json"],
                folder / "tokenizer.json",
                max_length=data["max_length"],
                truncating=data["truncating"],
            )
            return cls(description, load(contents["model.safetensors"]), preprocessor)
        except (SafetensorError, LookupError, TypeError, ValueError) as error:
            raise CheckpointError(f"{folder} is no model of this version of seqcls: {error}") from error

    def predict_proba(self, texts: Sequence[Any]) -> Floats:
        """Return the probability of each label for each text, float32 [N, C].

        Args:
            texts: N texts, or N sequences of numbers, [T, D].
        """
        sequences = encode_inputs(self._preprocessor, texts)
        logits = np.zeros((len(sequences), len(self.label_names)), dtype=np.float32)
        order = np.argsort([len(sequence) for sequence in sequences], kind="stable")
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            logits[rows] = self._logits([sequences[row] for row in rows])
        return label_probabilities(logits, temperature=self.temperature, is_multi_label=self.thresholds is not None)

    def predict(self, texts: Sequence[Any]) -> list[str] | list[tuple[str, ...]]:
        """Return the label of each text, or the tuple of its labels."""
        labels: Any = decide(self.predict_proba(texts), self.label_names, self.thresholds)  # never None without a threshold
        return list(labels)

    def _logits(self, sequences: list[NDArray[Any]]) -> Floats:
        lengths = np.array([len(sequence) for sequence in sequences])
        shape = (len(sequences), lengths.max(), *sequences[0].shape[1:])
        inputs = np.zeros(shape, dtype=sequences[0].dtype)
        for row, sequence in enumerate(sequences):
            inputs[row, : len(sequence)] = sequence
        x = self._embed(within(self._weights, "embedding."), inputs)
        encoded = self._encode(within(self._weights, "encoder."), x, lengths)
        return _linear(within(self._weights, "head."), encoded)


def _plugin(known: Mapping[str, tuple[Any, tuple[str, ...]]], plugin: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    if plugin["distribution"] != "seqcls" or plugin["name"] not in known:
        raise CheckpointError(f"{plugin['name']} is not written in NumPy; use seqcls.Classifier, which needs torch")
    function, names = known[plugin["name"]]
    return partial(function, **{name: options[name] for name in names})


def within(weights: Weights, prefix: str) -> dict[str, Floats]:
    """Return the weights whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _linear(weights: Weights, x: Floats) -> Floats:
    product: Floats = x @ weights["weight"].T + weights["bias"]
    return product


# Embeddings: from int64 [B, T], or float32 [B, T, D], to float32 [B, T, E].


def _words(weights: Weights, inputs: NDArray[Any]) -> Floats:
    vectors: Floats = weights["table.weight"][inputs]
    return vectors


def _ngrams(weights: Weights, inputs: NDArray[Any], *, max_n: int) -> Floats:
    vectors, table = _words(weights, inputs), weights["ngram_table.weight"]
    hashes = inputs = inputs.astype(np.int64)
    for n in range(2, max_n + 1):
        hashes = (hashes[:, :-1] * FASTTEXT_MULTIPLIER + inputs[:, n - 1 :]) % (len(table) - 1)
        vectors[:, n - 1 :] += table[np.where(inputs[:, n - 1 :] == PAD_ID, PAD_ID, hashes + 1)]
    return vectors


def _features(weights: Weights, inputs: NDArray[Any]) -> Floats:
    return _linear(within(weights, "projection."), inputs)


# Encoders: from x, float32 [B, T, D], and lengths, int64 [B], to float32 [B, output_size].


def _pool(weights: Weights, states: Floats, lengths: Lengths, pooling: str, *, bidirectional: bool = False) -> Floats:
    if pooling == "last":
        final = reference.last_state(states, lengths)
        half = states.shape[2] // 2
        return np.concatenate([final[:, :half], states[:, 0, half:]], axis=1) if bidirectional else final
    if pooling == "attention":
        scores = np.tanh(_linear(within(weights, "pool.key."), states)) @ weights["pool.query.weight"].T  # [B, T, 1]
        scores[np.arange(states.shape[1]) >= lengths[:, None]] = -np.inf
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
    projected = np.maximum(_linear(within(weights, "projection."), states), 0)
    return _pool(weights, projected, lengths, pooling)


def _numpy_simple_rnn(weights: Weights, x: Floats, lengths: Lengths, *, pooling: str) -> Floats:
    step = _step(reference.simple_rnn_step, weights["W"], weights["U"], weights["b"])
    state = reference.zeros(len(x), len(weights["b"]), np.dtype(np.float32))
    return _pool(weights, reference.run(step, x, lengths, state), lengths, pooling)


def _cnn(weights: Weights, x: Floats, lengths: Lengths) -> Floats:
    real = (np.arange(x.shape[1]) < lengths[:, None])[:, :, None]
    x, found, number = np.where(real, x, np.float32(0)), [], 0
    while f"convolutions.{number}.weight" in weights:
        own = within(weights, f"convolutions.{number}.")
        width = own["weight"].shape[2]
        padded = np.pad(x, ((0, 0), (width - 1, width - 1), (0, 0)))
        steps = x.shape[1] + width - 1
        windows = sum(padded[:, place : place + steps] @ own["weight"][:, :, place].T for place in range(width))
        found.append(reference.max_pool(np.maximum(windows + own["bias"], 0), lengths + width - 1))
        number += 1
    return np.concatenate(found, axis=1)


def _transformer(weights: Weights, x: Floats, lengths: Lengths, *, num_layers: int, num_heads: int, pooling: str) -> Floats:
    real = np.arange(x.shape[1]) < lengths[:, None]
    x = _linear(within(weights, "projection."), np.where(real[:, :, None], x, np.float32(0)))
    frequencies = np.exp(np.arange(0, x.shape[2], 2) * (-math.log(10_000) / x.shape[2]))
    angles = np.arange(x.shape[1])[:, None] * frequencies
    x = x + np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(x.shape[1:]).astype(np.float32)
    for layer in range(num_layers):
        own = within(weights, f"blocks.layers.{layer}.")
        x = x + _attention(own, _normalized(within(own, "norm1."), x), real, num_heads)
        inside = _linear(within(own, "linear1."), _normalized(within(own, "norm2."), x))
        x = x + _linear(within(own, "linear2."), _gelu(inside))
    return _pool(weights, _normalized(within(weights, "blocks.norm."), x), lengths, pooling)


def _attention(weights: Weights, x: Floats, real: NDArray[np.bool_], num_heads: int) -> Floats:
    batch, steps, size = x.shape
    joint = x @ weights["self_attn.in_proj_weight"].T + weights["self_attn.in_proj_bias"]
    q, k, v = joint.reshape(batch, steps, 3, num_heads, size // num_heads).transpose(2, 0, 3, 1, 4)  # [B, heads, T, size]
    scores = q @ k.swapaxes(2, 3) / np.float32(math.sqrt(size // num_heads))
    scores = np.where(real[:, None, None], scores, -np.inf)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    heads = (shares / shares.sum(axis=-1, keepdims=True)).astype(np.float32) @ v
    return _linear(within(weights, "self_attn.out_proj."), heads.swapaxes(1, 2).reshape(batch, steps, size))


def _normalized(weights: Weights, x: Floats) -> Floats:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(1e-5))
    return np.asarray(scaled * weights["weight"] + weights["bias"])


def _gelu(x: Floats) -> Floats:
    erf = np.frompyfunc(math.erf, 1, 1)(x / math.sqrt(2)).astype(np.float32)
    return np.asarray(0.5 * x * (1 + erf))


def _mean_pool(weights: Weights, x: Floats, lengths: Lengths, *, pooling: str) -> Floats:
    return _pool(weights, x, lengths, pooling)


_LAYERS = ("hidden_size", "num_layers", "bidirectional", "pooling")

EMBEDDINGS: dict[str, tuple[Callable[..., Floats], tuple[str, ...]]] = {
    "word": (_words, ()),
    "pretrained": (_words, ()),
    "ngram-hash": (_ngrams, ("max_n",)),
    "features": (_features, ()),
}
"""The function that computes each embedding, by name, and the options that it takes."""

ENCODERS: dict[str, tuple[Callable[..., Floats], tuple[str, ...]]] = {
    "lstm": (partial(_recurrent, _lstm_step, 2), _LAYERS),
    "gru": (partial(_recurrent, _gru_step, 1), _LAYERS),
    "min-gru": (partial(_recurrent, _min_gru_step, 1), _LAYERS),
    "torch-rnn": (
        partial(_recurrent, _simple_rnn_step, 1),
        (*_LAYERS, "nonlinearity"),
    ),
    "bilstm-mean-pool": (_bilstm, ("hidden_size", "num_layers", "pooling")),
    "numpy-simple-rnn": (_numpy_simple_rnn, ("pooling",)),
    "cnn": (_cnn, ()),
    "transformer": (_transformer, ("num_layers", "num_heads", "pooling")),
    "mean-pool": (_mean_pool, ("pooling",)),
}
"""The same, for encoders."""
