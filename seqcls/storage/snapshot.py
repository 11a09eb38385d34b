"""The state of training in a checkpoint: training.safetensors and training.json, beside the model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from seqcls.errors import CheckpointError
from seqcls.storage.description import MIXED_FILES
from seqcls.storage.schemas import Progress, TrainingRecord
from seqcls.storage.weights import has_broken_value
from seqcls.system.randomness import RandomState
from seqcls.system.untrusted import GARBLED, JSON_LIMIT, check_form, parse_json, parse_tensors, read_verified

TRAINING_FILES = {"training.json": JSON_LIMIT, "training.safetensors": None}
"""The most bytes of each file; None for one whose size depends on the model."""
_TENSOR_NAME = re.compile(r"optimizer\.[0-9]{1,9}\.\w+|(weights|gradient|rows|waiting)\..+|rng\.\w+")


@dataclass(frozen=True, eq=False)
class TrainingSnapshot:
    """What a run needs besides the model to go on: tensors (optimizer, random generators) and plain JSON values."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]

    def named(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with ``prefix``, without it."""
        return {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}


def load_training(path: Path) -> TrainingSnapshot:
    """Read the training state of the checkpoint at ``path``; CheckpointError if it is missing or damaged."""
    contents = read_verified(path, TRAINING_FILES)
    tensors = parse_tensors(contents["training.safetensors"], path / "training.safetensors")
    values = parse_json(contents["training.json"], path / "training.json")
    check_form(values, Progress, path / "training.json")
    check_form(values, TrainingRecord, path / "training.json")
    for name, tensor in tensors.items():
        if not _TENSOR_NAME.fullmatch(name):
            raise CheckpointError(f"{path}/training.safetensors has the unexpected tensor {name:.200}; {MIXED_FILES}")
        if has_broken_value(tensor):
            raise CheckpointError(f"{path}/training.safetensors: a value of {name} is not finite; {MIXED_FILES}")
    try:
        RandomState(tensors, values).validate()
    except (RuntimeError, *GARBLED) as error:
        raise CheckpointError(f"{path} does not hold the states of the random generators: {error}; {MIXED_FILES}") from error
    return TrainingSnapshot(tensors, values)
