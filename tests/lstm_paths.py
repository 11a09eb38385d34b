"""The ways in which this machine can compute LSTM layers, to test each."""

from __future__ import annotations

import pytest

from seqcls.model.native import library as native
from seqcls.model.native import lstm as compiled_lstm

#: PyTorch's own layers, and a library for each kind of register.
PATHS = ["torch", "plain", "avx2", "avx512", "amx"]


def take(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let LSTM layers be computed in one way; skip the test where this machine cannot."""
    if path != "torch" and path not in native.usable():
        pytest.skip(f"this installation has no {path} library, or the processor cannot run it: {native.describe()}")
    library = None if path == "torch" else native.load(path)
    monkeypatch.setattr(compiled_lstm, "native", lambda: library)
