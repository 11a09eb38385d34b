"""Finished runs on each kind of data that a report looks different for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from toy import toy_config, toy_pairs

from seqcls import Splits, Trainer


def train_run(folder: Path, splits: Any, **changes: Any) -> Path:
    """Train for two epochs, and return the run directory."""
    config = toy_config(epochs=2).updated(changes, source="test")
    return Trainer(data=splits, config=config, output=folder, callbacks=[]).fit().run_dir


def multi_label(count: int = 60) -> Splits:
    labels = (["bad"], ["good", "long"], [], ["long"])
    pairs = [(f"{text} {'very ' * (number % 4)}", labels[number % 4]) for number, (text, _) in enumerate(toy_pairs(count))]
    return Splits.from_pairs(pairs, validation=pairs[:20], test=pairs[20:44])


def numbers(count: int = 40) -> Splits:
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(3 + number % 5, 2)) + number % 2 for number in range(count)]
    pairs = [(sequence.astype(np.float32), "ab"[number % 2]) for number, sequence in enumerate(sequences)]
    return Splits.from_pairs(pairs, validation=pairs[:12], test=pairs)


def many_labels(count: int = 50) -> Splits:
    texts = [text for text, _ in toy_pairs(4 * count)]
    pairs = [(f"word{number % count} {text}", f"class {number % count:02}") for number, text in enumerate(texts)]
    return Splits.from_pairs(pairs, validation=pairs[:count], test=pairs)
