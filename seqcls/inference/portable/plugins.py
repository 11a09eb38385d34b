"""What the runtimes without torch need to know about built-in plugins: their options, and how to find their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Weights = Mapping[str, NDArray[np.float32]]

_RECURRENT = ("hidden_size", "num_layers", "bidirectional", "pooling")
# The options that a function of a runtime takes; the others matter in training only, or show in the weights.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "word": (),
    "pretrained": (),
    "static": (),
    "ngram-hash": ("max_n",),
    "features": (),
    "linear": (),
    "lstm": _RECURRENT,
    "gru": _RECURRENT,
    "min-gru": _RECURRENT,
    "torch-rnn": (*_RECURRENT, "nonlinearity"),
    "bilstm": ("hidden_size", "num_layers", "pooling"),
    "bilstm-mean-pool": ("hidden_size", "num_layers", "pooling"),
    "numpy-simple-rnn": ("pooling",),
    "cnn": (),
    "transformer": ("num_layers", "num_heads", "pooling"),
    "mean-pool": ("pooling", "normalized"),
}


def bind(
    functions: Mapping[str, Callable[..., T]], plugin: Mapping[str, Any], options: Mapping[str, Any]
) -> Callable[..., T] | None:
    """Return the function of a plugin with the model's options; None if the plugin is not one of ``functions``.

    Args:
        functions: Functions by the names of built-in plugins. Names, since 0.1 recorded module paths that no longer exist.
        plugin: The description of the plugin in config.json.
        options: All of its options.
    """
    name = plugin["name"]
    if plugin["distribution"] != "seqcls" or name not in functions:
        return None
    return partial(functions[name], **{option: options[option] for option in _OPTIONS[name]})


def within(weights: Weights, prefix: str) -> dict[str, NDArray[np.float32]]:
    """Return the weights whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def members(weights: Weights) -> list[Weights]:
    """Return the weights of each network whose logits are averaged: one, or all those of an ensemble."""
    found: list[Weights] = [weights]
    while other := within(weights, f"others.{len(found) - 1}."):
        found.append(other)
    return found
