"""A training state that is made to harm is refused with one error that names the file, quickly and in little memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hostile import Loader, assert_refused, on_linux
from hostile_changes import DEEP, Change, content, tensors, values

BROKEN_TRAINING: dict[str, tuple[Change, str]] = {
    "a negative step": (values("training.json", lambda entries: entries.update(step=-1)), "step: "),
    "a huge step": (values("training.json", lambda entries: entries.update(step=10**30)), "step: "),
    "a step that is a string": (values("training.json", lambda entries: entries.update(step="1")), "step: "),
    "a step that is a bool": (values("training.json", lambda entries: entries.update(step=True)), "step: "),
    "no epoch": (values("training.json", lambda entries: entries.pop("epoch")), "epoch: Field required"),
    "a NaN time": (values("training.json", lambda entries: entries.update(seconds=float("nan"))), "seconds: "),
    "a growing learning rate": (values("training.json", lambda entries: entries.update(lr_reduction=1e9)), "lr_reduction: "),
    "a best evaluation that is a number": (values("training.json", lambda entries: entries.update(best=3)), "best: "),
    "a best evaluation without figures": (
        values("training.json", lambda entries: entries["best"].pop("validation")),
        r"best\.validation",
    ),
    "figures of words": (
        values("training.json", lambda entries: entries["best"]["train"].update(loss="low")),
        r"best\.train\.loss",
    ),
    "an unknown figure": (values("training.json", lambda entries: entries["best"]["train"].update(x=1)), r"best\.train\.x"),
    "a position beyond NumPy's state": (
        values("training.json", lambda entries: entries.update(rng_numpy=[10**6, 0, 0.0])),
        "rng_numpy",
    ),
    "Python's state too short": (
        values("training.json", lambda entries: entries["rng_python"].__setitem__(1, [1, 2])),
        "random generators",
    ),
    "a position beyond Python's state": (
        values("training.json", lambda entries: entries["rng_python"][1].__setitem__(-1, 10**6)),
        "random generators",
    ),
    "nested lists": (content("training.json", DEEP), r"training\.json is not valid JSON"),
    "no state of torch": (tensors(lambda entries: entries.pop("rng.torch"), "training.safetensors"), "random generators"),
    "a short state of torch": (
        tensors(lambda entries: entries.update({"rng.torch": torch.zeros(3, dtype=torch.uint8)}), "training.safetensors"),
        "random generators",
    ),
    "a garbled state of torch": (
        tensors(lambda entries: entries["rng.torch"].fill_(255), "training.safetensors"),
        "random generators",
    ),
    "a short state of NumPy": (
        tensors(lambda entries: entries.update({"rng.numpy": torch.zeros(3, dtype=torch.int64)}), "training.safetensors"),
        "random generators",
    ),
    "NumPy's state of large words": (
        tensors(lambda entries: entries["rng.numpy"].fill_(1 << 40), "training.safetensors"),
        "random generators",
    ),
    "NumPy's state of a word just too large": (
        tensors(lambda entries: entries["rng.numpy"].fill_(1 << 32), "training.safetensors"),
        "32-bit words",
    ),
    "a NaN in the optimizer": (
        tensors(lambda entries: entries["optimizer.0.exp_avg"].fill_(float("nan")), "training.safetensors"),
        r"optimizer\.0\.exp_avg is not finite",
    ),
    "a tensor that belongs to no parameter": (
        tensors(lambda entries: entries.update({"optimizer.x.step": torch.zeros(1)}), "training.safetensors"),
        "unexpected tensor",
    ),
}


@on_linux
@pytest.mark.parametrize("name", BROKEN_TRAINING)
def test_a_broken_training_state_is_refused_at_little_cost(loader: Loader, checkpoint: Path, name: str) -> None:
    change, message = BROKEN_TRAINING[name]
    change(checkpoint)
    assert_refused(loader.load("training", checkpoint), checkpoint, message)
