"""Which compiled library is used, and what is said about it."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest
import torch

from seqcls.model.native import library


def test_a_library_of_another_version_is_not_used(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    longer = type("Layer", (ctypes.Structure,), {"_fields_": [("one", ctypes.c_int64)]})
    monkeypatch.setattr(library, "Layer", longer)
    with pytest.raises(OSError, match="install seqcls again"):
        library.load(path)


def _described(switch: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from seqcls.model.native.library import describe; print(describe())"]
    return subprocess.run(command, env={"SEQCLS_NATIVE": switch}, capture_output=True, text=True, check=True)


def test_the_switch_turns_it_off_and_is_told() -> None:
    assert _described("0").stdout.strip() == "PyTorch's own layers: SEQCLS_NATIVE is 0"


def test_the_switch_names_a_library(path: str) -> None:
    assert _described(path).stdout.startswith(f"compiled for {path}")
    wrong = _described("avx1024")
    assert wrong.stdout.strip() == library.describe()
    assert "SEQCLS_NATIVE=avx1024 is not a library" in wrong.stderr
    assert path in wrong.stderr


def test_a_library_that_cannot_be_loaded_is_said_once_and_done_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(name: str) -> library.Native:
        raise OSError("invalid ELF header")

    monkeypatch.delenv("SEQCLS_NATIVE", raising=False)
    monkeypatch.setattr(library, "usable", lambda: ("plain",))
    monkeypatch.setattr(library, "load", fail)
    library._best.cache_clear()
    try:
        assert library._best() == (None, "lstm-plain.so cannot be loaded: invalid ELF header")
        assert library._best()[0] is None
        assert ["invalid ELF header" in record.message for record in caplog.records] == [True]
    finally:
        library._best.cache_clear()


def test_denormal_numbers_count_as_zero_in_all_threads_while_it_is_asked_for(path: str) -> None:
    small = torch.full((4_000_000,), 1e-38)

    def kept() -> int:
        return int((small * 0.01).count_nonzero())

    assert kept() == len(small)
    with library.load(path).flushing_denormals():
        assert kept() == 0
    assert kept() == len(small)
