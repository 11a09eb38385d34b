"""The ways in which this machine can compute LSTM layers, to test each."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seqcls.model.native import library

#: PyTorch's own layers, and one library per kind of register.
PATHS = ["torch", "plain", "avx2", "avx512", "amx"]
COMPILED_PATHS = PATHS[1:]


def take(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute LSTM layers in one way; skip the test where this machine cannot."""
    if path != "torch" and path not in library.usable():
        pytest.skip(f"this installation has no {path} library, or the processor cannot run it: {library.describe()}")
    native = None if path == "torch" else library.load(path)
    monkeypatch.setattr(library, "native", lambda: native)


def weights_of(layer: nn.LSTM) -> list[list[Tensor]]:
    """Return the weights of each direction of one layer, as `lstm_layer` takes them."""
    parameters = list(layer.parameters())
    return [parameters[start : start + 4] for start in range(0, len(parameters), 4)]


def note_passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the returned list collect the names of the passes that run."""
    passes: list[str] = []
    run = library.Native.run

    def note(native: library.Native, layer: library.Layer, name: library.Pass, *, dtype: torch.dtype) -> None:
        passes.append(name)
        run(native, layer, name, dtype=dtype)

    monkeypatch.setattr(library.Native, "run", note)
    return passes
