"""A task that a tiny model learns in a second, for tests of everything around the model."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqcls import Config, Encoder, Predictions, Splits, load_recipe

WORDS = ["film", "room", "the", "was", "very", "and", "meal"]


def toy_pairs(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Texts of many lengths, all different, whose label is that of one telling word."""
    rng = random.Random(seed)
    pairs = []
    for number in range(count):
        label = ("bad", "good")[number % 2]
        words = [rng.choice(WORDS) for _ in range(rng.randint(1, 8))]
        words.insert(rng.randint(0, len(words)), {"bad": "awful", "good": "superb"}[label])
        pairs.append((" ".join([*words, f"n{number}"]), label))
    return pairs


def toy_splits(count: int = 64) -> Splits:
    return Splits.from_pairs(toy_pairs(count), validation=toy_pairs(16, seed=1), test=toy_pairs(20, seed=2))


def toy_config(**fit: Any) -> Config:
    changes = {
        "fit": {"epochs": 2, "batch_size": 8, "lr": 0.01, "device": "cpu", **fit},
        "model": {
            "embedding_size": 8,
            "encoder_options": {"hidden_size": 4},
            "word_dropout": 0.3,
            "embedding_dropout": 0.5,
            "output_dropout": 0.5,
        },
        "data": {"vocab_size": 100},
    }
    return load_recipe("default", encoder="lstm").updated(changes, source="test")


def random_predictions(seed: int, count: int, classes: int, *, is_multi_label: bool = False) -> Predictions:
    """Return predictions that do no better than chance."""
    rng = np.random.default_rng(seed)
    names = tuple(f"label {number}" for number in range(classes))
    logits = rng.normal(size=(count, classes)) * 2
    if is_multi_label:
        labels = (rng.random((count, classes)) < 0.4).astype(np.uint8)
        return Predictions(names, logits, labels, thresholds=tuple(rng.uniform(0.2, 0.8, classes)))
    return Predictions(names, logits, rng.integers(0, classes, count), temperature=1.5)


class LastStep(Encoder):
    """An encoder that is registered nowhere."""

    def __init__(self, input_size: int, *, size: int = 4, poison_after: int | None = None) -> None:
        super().__init__()
        self.projection = nn.Linear(input_size, size)
        self.output_size = size
        self.calls = 0
        self.poison_after = poison_after

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        self.calls += self.training
        result: Tensor = self.projection(x[torch.arange(len(x)), lengths - 1])
        return result * float("nan") if self.poison_after is not None and self.calls > self.poison_after else result
