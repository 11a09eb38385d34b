"""How many CPU threads there are, and what OpenMP is told before it is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seqcls.system import device
from seqcls.system.threads import SPINS, cpu_quota, leave_cores_to_others

NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that what the test sets is taken back
        monkeypatch.delenv(name)


def test_waiting_threads_sleep_soon_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_cores_to_others()
    assert os.environ["GOMP_SPINCOUNT"] == str(SPINS)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    leave_cores_to_others()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    leave_cores_to_others()
    assert "GOMP_SPINCOUNT" not in os.environ


def test_the_command_line_says_it_before_pytorch_is_loaded_and_the_library_says_nothing() -> None:
    code = """
import json, os, sys
from seqcls.apps.cli import app
sys.argv = ["seqcls", "list"]
before = "torch" in sys.modules
try:
    app.main()
except SystemExit:
    pass
print(json.dumps([before, os.environ.get("GOMP_SPINCOUNT")]), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr.splitlines()[-1]) == [False, str(SPINS)]
    code = "import os; before = dict(os.environ); import seqcls; seqcls.Classifier; assert dict(os.environ) == before"
    subprocess.run([sys.executable, "-c", code], check=True)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("files", "own", "quota"),
    [
        ({}, "0::/\n", None),
        ({"cpu.max": "max 100000\n"}, "0::/\n", None),
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 2),
        ({"cpu.max": "50000 100000\n"}, "0::/\n", 1),
        ({"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, "0::/a/b\n", 3),
        ({"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "100000 100000\n"}, "0::/a/b\n", 1),
        ({"other/cpu.max": "100000 100000\n"}, "0::/a\n", None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4:cpu,cpuacct:/\n", None),
        (
            {"cpu/a/cpu.cfs_quota_us": "250000\n", "cpu/a/cpu.cfs_period_us": "100000\n"},
            "4:cpu,cpuacct:/a\n1:memory:/b\n",
            3,
        ),
        ({"cpu.max": "a form of the future\n"}, "0::/\n", None),
    ],
)
def test_the_quota_of_a_container_is_read(tmp_path: Path, files: dict[str, str], own: str, quota: int | None) -> None:
    (tmp_path / "groups").mkdir()
    for name, text in files.items():
        write(tmp_path / "groups" / name, text)
    write(tmp_path / "own", own)
    assert cpu_quota(tmp_path / "groups", tmp_path / "own") == quota
    assert cpu_quota(tmp_path / "nowhere", tmp_path / "nothing") is None


def test_threads_keep_within_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    try:
        torch.set_num_threads(4)
        monkeypatch.setattr(device, "cpu_quota", lambda: 8)
        device.set_threads(None)
        assert torch.get_num_threads() == 4
        monkeypatch.setattr(device, "cpu_quota", lambda: 2)
        device.set_threads(None)
        assert torch.get_num_threads() == 2
        device.set_threads(3)  # what is asked for counts
        assert torch.get_num_threads() == 3
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        device.set_threads(None)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
