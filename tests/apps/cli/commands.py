"""What the tests of the commands share: flags of a training that takes a second, and the form of a finished command."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

DATA = ["--dataset-option", "train_size=40", "--dataset-option", "validation_size=20", "--dataset-option", "test_size=20"]
SMALL = ["--encoder", "lstm", "--epochs", "1", "--batch-size", "16", "--device", "cpu"]
SMALL += ["--set", "embedding_size=8", "--encoder-option", "hidden_size=4"]
SMALL += ["--no-report"]  # which takes longer than the training
SMALL += DATA


class Done(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Done]
