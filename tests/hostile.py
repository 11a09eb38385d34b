"""Loads directories in processes of their own and reports the cost: a test can fail on a hang or on too much memory."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from seqcls.errors import CheckpointError

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the harness forks, and reads /proc")

_MOST_SECONDS = 10
_MOST_MEMORY = 2 << 30  # bytes beyond those in use: a failing test must not take the machine with it


@dataclass(frozen=True)
class Outcome:
    """The result of loading a directory: the error's class and message (empty if there was none), and the costs."""

    error: str
    message: str
    seconds: float
    megabytes: float


class Loader:
    """A process that loads each directory in a fork of itself; it has imported everything, so a load is quick."""

    def __init__(self, warm_up: Path) -> None:
        command = [sys.executable, __file__, str(warm_up)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def load(self, what: str, path: Path) -> Outcome:
        """Load the "model" or "training" at ``path``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([what, str(path)]) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


def assert_refused(outcome: Outcome, directory: Path, message: str) -> None:
    assert outcome.error == "CheckpointError", outcome
    assert str(directory) in outcome.message
    assert len(outcome.message) < 2_000
    with pytest.raises(CheckpointError, match=message):
        raise CheckpointError(outcome.message)
    assert outcome.seconds < 1
    assert outcome.megabytes < 200


def _load(what: str, path: Path) -> None:
    from seqcls import Classifier
    from seqcls.storage.snapshot import load_training

    if what == "training":
        load_training(path)
    else:
        Classifier.from_pretrained(path, device="cpu").predict_proba(["superb film", "é"])


def _measure(what: str, path: Path) -> dict[str, Any]:
    signal.alarm(_MOST_SECONDS)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (in_use + _MOST_MEMORY, resource.RLIM_INFINITY))
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    error, message = "", ""
    try:
        _load(what, path)
    except BaseException as raised:
        error, message = type(raised).__name__, str(raised)[:5_000]
    seconds, after = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"error": error, "message": message, "seconds": seconds, "megabytes": (after - before) / 1024}


def _serve(warm_up: Path) -> None:
    _load("model", warm_up)
    for line in sys.stdin:
        receiver, sender = os.pipe()
        child = os.fork()
        if not child:
            what, path = json.loads(line)
            os.write(sender, json.dumps(_measure(what, Path(path))).encode())
            os._exit(0)
        os.close(sender)
        with os.fdopen(receiver, "rb") as answer:
            outcome = answer.read().decode()
        _, status = os.waitpid(child, 0)
        lost = {"error": f"status {status}", "message": "", "seconds": float(_MOST_SECONDS), "megabytes": 0.0}
        sys.stdout.write((outcome or json.dumps(lost)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
