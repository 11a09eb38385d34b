"""The feature scaler, which standardizes sequences of numbers."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqcls.data.preprocessor import Kind, Preprocessor
from seqcls.errors import CheckpointError, DataError
from seqcls.system.untrusted import GARBLED, JSON_LIMIT, parse_json

_CHUNK = 2_000  # sequences


class FeatureScaler(Preprocessor):
    """Standardizes each feature: (x - mean) / std, both taken over all steps of the training split.

    A feature that is constant in the training split is only centred.

    Args:
        mean: float64 [D].
        std: float64 [D], above 0.
    """

    kind: ClassVar[Kind] = "features"

    def __init__(self, mean: NDArray[np.float64], std: NDArray[np.float64]) -> None:
        self.mean = mean
        self.std = std

    @classmethod
    def fit(cls, sequences: Sequence[Any]) -> FeatureScaler:
        """Compute mean and standard deviation of the training sequences, each float [T, D].

        Raises:
            DataError: A sequence has another form, or no step.
        """
        count, mean, squares = 0, np.zeros(1), np.zeros(1)
        for number, sequence in enumerate(sequences):
            steps = as_features(sequence, size=None if number == 0 else len(mean), where=f"sequence {number}").astype(
                np.float64
            )
            # Chan, Golub & LeVeque 1983, eq. 2.1: sums of squared differences are added part by part, which is stable.
            part_mean = steps.mean(axis=0)
            delta = part_mean - mean if count else part_mean
            total = count + len(steps)
            squares = squares + ((steps - part_mean) ** 2).sum(axis=0) + delta**2 * (count * len(steps) / total)
            mean = mean + delta * (len(steps) / total) if count else part_mean
            count = total
        std = np.sqrt(squares / max(count, 1))
        return cls(mean, np.where(std > 1e-12 * np.maximum(1, np.abs(mean)), std, 1.0))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FeatureScaler:
        """Read what `save` wrote.

        Raises:
            CheckpointError: It is missing or damaged.
        """
        try:
            return cls.from_json(Path(path).read_bytes(), Path(path))
        except OSError as error:
            raise CheckpointError(f"cannot read the feature statistics {path}: {error.strerror}") from error

    @classmethod
    def from_json(cls, data: bytes, path: Path) -> FeatureScaler:
        """Read the content of the file ``path``; raises like `load`."""
        if len(data) > JSON_LIMIT:
            raise CheckpointError(f"{path} has {len(data):,} bytes, too many for the statistics of features")
        content = parse_json(data, path)
        try:
            mean, std = (np.array(content[name], dtype=np.float64) for name in ("mean", "std"))
        except GARBLED as error:
            raise CheckpointError(f"cannot read the feature statistics {path}: {error}") from error
        if mean.ndim != 1 or mean.shape != std.shape or not len(mean) or not _are_sound(mean, std):
            raise CheckpointError(f"{path} does not hold a mean and a standard deviation above 0 for each feature")
        return cls(mean, std)

    @property
    def input_size(self) -> int:
        """The number of features, D."""
        return len(self.mean)

    def encode_chunks(self, sequences: Iterable[Any]) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Yield the steps of some sequences at a time, float32 [total of the chunk, D], and their lengths, int64."""
        chunk: list[NDArray[np.float32]] = []
        for number, sequence in enumerate(sequences):
            steps = as_features(sequence, size=self.input_size, where=f"sequence {number}")
            chunk.append(((steps - self.mean) / self.std).astype(np.float32))
            if len(chunk) == _CHUNK:
                yield np.concatenate(chunk), np.array(list(map(len, chunk)), dtype=np.int64)
                chunk = []
        if chunk:
            yield np.concatenate(chunk), np.array(list(map(len, chunk)), dtype=np.int64)

    def encode_with_spans(self, sequence: Any) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
        """Standardize one sequence; see `Preprocessor.encode_with_spans`."""
        steps, _ = self.encode_batch([sequence])
        return steps, np.arange(len(steps))[:, None] + np.arange(2), len(steps)

    def to_json(self) -> str:
        """Return mean and standard deviation as JSON."""
        return json.dumps({"mean": self.mean.tolist(), "std": self.std.tolist()}, indent=2) + "\n"


def _are_sound(mean: NDArray[np.float64], std: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all())


def as_features(sequence: Any, *, size: int | None, where: str) -> NDArray[Any]:
    """Return a sequence as an array [T, D]; a sequence of single numbers, [T], becomes [T, 1].

    Raises:
        DataError: It has another form, no step, another D than ``size``, or a value that is not finite; the message says
            ``where`` it stands.
    """
    try:
        steps = np.asarray(sequence)
    except ValueError as error:
        raise DataError(f"{where} is not a table of numbers, [T, D]: {error}") from None
    if steps.dtype.kind not in "fiub" or steps.ndim not in (1, 2):
        raise DataError(f"{where} is {steps.dtype} of shape {list(steps.shape)}; give numbers, [T, D] or [T]")
    steps = steps.reshape(len(steps), math.prod(steps.shape[1:])) if steps.ndim == 2 or len(steps) else steps.reshape(0, 1)
    if not len(steps) or not steps.shape[1]:
        raise DataError(f"{where} has no steps; leave it out")
    if size is not None and steps.shape[1] != size:
        raise DataError(f"{where} has {steps.shape[1]} features, but the others have {size}")
    bad = ~np.isfinite(steps)
    if bad.any():
        step, feature = np.argwhere(bad)[0]
        raise DataError(f"{where}, step {step}, feature {feature} is {steps[step, feature]}; fill in missing values first")
    return steps
