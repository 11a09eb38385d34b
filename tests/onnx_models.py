"""Small models for the tests of ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toy import toy_pairs, toy_splits

from seqcls import Splits, Trainer, load_recipe

TEXTS = [text for text, _ in toy_pairs(20, seed=7)] + ["", "?!", "完全に", "superb " * 300, "a\ud800b"]
SMALL = {"hidden_size": 8}
# Options that do not change the form of the graph, small so that tests are quick.
SIZES: dict[str, dict[str, Any]] = {
    "mean-pool": {},
    "cnn": {"num_filters": 3},
    "transformer": {**SMALL, "num_heads": 2, "feedforward_size": 8},
}


def train(folder: Path, encoder: str, options: dict[str, Any], splits: Splits | None = None, **more: Any) -> Path:
    changes = {
        "fit": {"epochs": 1, "batch_size": 32, "lr": 0.01, "device": "cpu"},
        "model": {"embedding_size": 6, "encoder_options": options, **more},
        "data": {"vocab_size": 100, "max_length": 60},
    }
    config = load_recipe("default", encoder=encoder).replace(encoder_options={}).updated(changes, source="test")
    return Trainer(None, splits or toy_splits(), config=config, callbacks=[], output=folder / "run").fit().run_dir
