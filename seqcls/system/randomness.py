"""Random generators of Python, NumPy and PyTorch: seeding them, and capturing, restoring and checking their states."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from seqcls.system.untrusted import parse_tensors


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's generators, on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def rank_seed(seed: int, rank: int, step: int = 0) -> int:
    """Return the seed for one of several processes, so that their dropout differs; rank 0 uses ``seed`` itself."""
    return seed if rank == 0 else int(np.random.SeedSequence([seed, rank, step]).generate_state(1, np.uint64)[0]) >> 1


@dataclass(frozen=True, eq=False)
class RandomState:
    """The states of all generators of a process, as a checkpoint stores them.

    Attributes:
        tensors: "rng.torch", uint8; "rng.numpy", int64 [624]; "rng.cuda" or "rng.mps", uint8, for the device. Others are
            ignored.
        values: JSON values: "rng_numpy", [position, has_gauss, cached_gaussian]; "rng_python", as `random.getstate` returns
            it. Others are ignored.
    """

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]

    @classmethod
    def capture(cls, device: torch.device) -> RandomState:
        """Return the current states, including that of ``device``."""
        tensors = {"rng.torch": torch.get_rng_state()}
        if device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state(device)
        elif device.type == "mps":
            tensors["rng.mps"] = torch.mps.get_rng_state()
        _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
        tensors["rng.numpy"] = torch.from_numpy(np.asarray(keys, dtype=np.int64))
        values = {
            "rng_numpy": [int(position), int(has_gauss), float(gauss)],
            "rng_python": random.getstate(),
        }
        return cls(tensors, values)

    def restore(self, device: torch.device) -> None:
        """Set the generators to these states; that of ``device`` stays as it is if it was not captured.

        Raises:
            RuntimeError, ValueError, LookupError, TypeError: These are not valid states.
        """
        torch.set_rng_state(self.tensors["rng.torch"])
        if device.type == "cuda" and "rng.cuda" in self.tensors:
            torch.cuda.set_rng_state(self.tensors["rng.cuda"], device)
        elif device.type == "mps" and "rng.mps" in self.tensors:
            torch.mps.set_rng_state(self.tensors["rng.mps"])
        np.random.set_state(self._numpy_state())
        random.setstate(self._python_state())

    def validate(self) -> None:
        """Check that `restore` would work, by setting generators that nobody uses; raises like `restore`."""
        torch.Generator().set_state(self.tensors["rng.torch"])
        np.random.RandomState().set_state(self._numpy_state())
        random.Random().setstate(self._python_state())

    def to_bytes(self) -> bytes:
        """Return the states as one safetensors file, to be sent to another process."""
        text = torch.frombuffer(bytearray(json.dumps(dict(self.values)), "utf-8"), dtype=torch.uint8)
        return save_tensors({**self.tensors, "values": text})

    @classmethod
    def from_bytes(cls, data: bytes) -> RandomState:
        """Read what `to_bytes` returned.

        Raises:
            CheckpointError, ValueError, LookupError: The data are damaged.
        """
        tensors = parse_tensors(data, Path("the random state of a process"))
        values = json.loads(tensors.pop("values").numpy().tobytes())
        return cls(tensors, values)

    def _numpy_state(self) -> tuple[Any, ...]:
        keys = self.tensors["rng.numpy"].numpy()
        if keys.dtype != np.int64 or keys.min() < 0 or keys.max() >= 1 << 32:
            raise ValueError("rng.numpy does not hold 32-bit words")
        return ("MT19937", keys.astype(np.uint32), *self.values["rng_numpy"])

    def _python_state(self) -> tuple[Any, ...]:
        version, internal, gauss_next = self.values["rng_python"]
        return version, tuple(internal), gauss_next
