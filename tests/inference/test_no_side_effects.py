"""A classifier in someone's program changes nothing but itself, and a training gives everything back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from toy import toy_splits

from seqcls import Trainer
from seqcls.system import memory
from seqcls.training.environment import fast_arithmetic

CODE = """
import json, os, random, signal, sys, warnings
import numpy as np, torch
import seqcls
from seqcls import Classifier

calls = []
import seqcls.system.memory as memory
memory._set_limits = lambda limits: calls.append(dict(limits))

def state():
    torch.manual_seed(0); np.random.seed(0); random.seed(0)
    return [
        torch.get_num_threads(), torch.get_default_dtype() is torch.float32, torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(), dict(os.environ),
        str(warnings.showwarning),
        [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)],
        float(torch.tensor(1e-40) * 1),  # denormal numbers count
    ]

def drawn():
    return [torch.rand(1).item(), np.random.rand(), random.random()]

before = state(); expected = drawn(); state()
classifier = Classifier.from_pretrained(sys.argv[1], device="cpu")
classifier.predict(["a superb room"]); classifier.explain("an awful meal")
after_drawn = drawn(); after = state()
changed = [one for one, other in zip(before, after) if one != other]
print(json.dumps([changed == [], expected == after_drawn, calls, changed], default=str))
"""


def test_a_classifier_changes_nothing_of_the_process(tmp_path: Path) -> None:
    Trainer(toy_splits(), encoder="lstm", epochs=1, device="cpu", callbacks=[], output=tmp_path / "run").fit()
    done = subprocess.run([sys.executable, "-c", CODE, str(tmp_path / "run")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    is_same, draws_the_same, limits, changed = json.loads(done.stdout)
    assert is_same, changed
    assert draws_the_same
    assert limits == []


def test_training_gives_the_allocator_back(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    calls: list[Any] = []
    monkeypatch.setattr(memory, "_own", [])
    monkeypatch.setattr(memory, "_set_limits", calls.append)
    with pytest.raises(ValueError, match="fails"), fast_arithmetic(torch.device("cpu")):
        raise ValueError("fails")
    assert calls == [memory._KEEPING, memory._USUAL]
    calls.clear()
    memory.keep_freed_memory()  # a process of our own keeps it
    with fast_arithmetic(torch.device("cpu")):
        pass
    assert calls == [memory._KEEPING]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_that_the_user_frees_goes_back_to_the_system() -> None:
    """As it does in a process without any training."""
    code = """
import gc
import numpy as np, torch
from seqcls.training.environment import fast_arithmetic

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

with fast_arithmetic(torch.device("cpu")):
    np.ones(1 << 20)
before = resident()
arrays = [np.ones(1 << 17) for _ in range(300)]  # 300 MB in pieces of a megabyte
assert resident() - before > 250e6
del arrays
gc.collect()
assert resident() - before < 50e6, resident() - before
"""
    subprocess.run([sys.executable, "-c", code], check=True)
