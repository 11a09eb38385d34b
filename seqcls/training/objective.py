"""What training minimizes: cross-entropy with label smoothing, class weights and weights of the examples."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqcls.config.settings import FitConfig
from seqcls.data.encoding import EncodedData
from seqcls.data.labels import listed
from seqcls.errors import ConfigError
from seqcls.evaluation.scores import example_losses
from seqcls.system.device import to_device
from seqcls.system.untrusted import GARBLED


class Objective:
    """The loss of an update of the network: the weighted mean of the examples' losses over all batches of the update.

    For the examples i of these batches, with weights w_i (1 where the data have none),

        loss = sum_i w_i * loss_i / sum_i w_i,

    so that a weight of 2 equals having the example twice, and a weight of 0 equals leaving it out. If all weights are 0,
    so are the loss and its gradient. ``loss_i`` has class weights and label smoothing; see
    `seqcls.evaluation.scores.example_losses`.

    Args:
        config: The settings, of which ``class_weights`` and ``label_smoothing`` count here.
        data: The data, whose training split has the labels and the weights.
        device: Where the logits are.
    """

    def __init__(self, config: FitConfig, data: EncodedData, device: torch.device) -> None:
        self._smoothing = config.label_smoothing
        self._example_weights = data.splits["train"].weights  # float64 [N]
        weights = training_class_weights(config, data)
        self._class_weights = None if weights is None else torch.from_numpy(weights).to(device, torch.float32)  # [C]

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each example [B] from float32 logits [B, C], not multiplied by the example's weight."""
        return example_losses(logits, labels, self._class_weights, label_smoothing=self._smoothing)

    def total_weight(self, indices: NDArray[np.int64]) -> float:
        """Return the sum of the weights of the training examples at ``indices``."""
        return len(indices) if self._example_weights is None else float(self._example_weights[indices].sum())

    def share(self, losses: Tensor, indices: NDArray[np.int64], total_weight: float) -> Tensor:
        """Return what a batch adds to the loss of an update.

        Args:
            losses: [B], the losses of its examples.
            indices: int64 [B], the indices of its examples in the training split.
            total_weight: The weight of all examples of the update.
        """
        if self._example_weights is None:
            return losses.sum() / total_weight
        shares = self._example_weights[indices] / (total_weight or 1.0)
        return losses @ to_device(torch.from_numpy(shares.astype(np.float32)), losses.device)


def training_class_weights(config: FitConfig, data: EncodedData) -> NDArray[np.float64] | None:
    """Return the class weights that the settings give for the training split, float64 [C]; None if there are none."""
    train = data.splits["train"]
    if config.class_weights is None or train.labels is None:
        return None
    return class_weights(config.class_weights, train.labels, data.label_names, train.weights)


def class_weights(
    setting: str | Mapping[str, float],
    labels: NDArray[Any],
    label_names: Sequence[str],
    example_weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the weight of each label in the loss, float64 [C].

    Args:
        setting: "balanced", one weight per label, such as {"spam": 4.0, "ham": 1.0}, or the path of a JSON file of them.
        labels: Those of the training split: int64 [N], or uint8 [N, C].
        label_names: C names.
        example_weights: float64 [N]; None if each example has the weight 1.

    Balanced weights are N / (C * count of the label), which average to 1 over the examples (King & Zeng 2001); where a text
    may have several labels, the number of texts without the label, a text with it. Examples count by their weights.

    Raises:
        ConfigError: The file cannot be read, or the weights are not one number above 0 per label.
    """
    if isinstance(setting, Mapping):
        return _weights_of(setting, label_names, source="class_weights")
    if setting != "balanced":
        return _weights_of(_read_weights(Path(setting)), label_names, source=setting)
    examples = np.ones(len(labels)) if example_weights is None else example_weights
    total, counts = examples.sum(), _count_labels(labels, examples, len(label_names))
    others = total - counts if labels.ndim == 2 else np.full(len(counts), total / len(label_names))
    # The weight of a label that no example has counts only where label smoothing gives it a share.
    return np.asarray(np.divide(others, counts, out=np.ones(len(counts)), where=counts > 0))


def _count_labels(labels: NDArray[Any], examples: NDArray[np.float64], num_labels: int) -> NDArray[np.float64]:
    """Return the sum of the weights of the examples that have each label, float64 [C]."""
    if labels.ndim == 1:
        return np.asarray(np.bincount(labels, examples, minlength=num_labels), dtype=np.float64)
    return np.asarray(np.einsum("n,nc->c", examples, labels))  # unlike @, it makes no copy of the labels as floats


def _read_weights(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, *GARBLED) as error:
        raise ConfigError(
            f"class_weights takes balanced, none, a table, or a JSON file; cannot read {path}: {error}"
        ) from error


def _weights_of(weights: object, label_names: Sequence[str], *, source: str) -> NDArray[np.float64]:
    if not isinstance(weights, Mapping) or set(label_names) != set(weights):
        wrong = sorted(set(label_names) ^ set(weights)) if isinstance(weights, Mapping) else label_names
        labels, wrong_ones = (listed(list(map(str, names)), most=20) for names in (label_names, wrong))
        raise ConfigError(f"{source} needs one weight per label ({labels}); missing or unknown: {wrong_ones}")
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= sys.float_info.max:
            raise ConfigError(f"{source}: the weight of {name!r} is {weight!r:.60}; give a number above 0")
    return np.array([weights[name] for name in label_names], dtype=np.float64)
