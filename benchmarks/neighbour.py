"""Training speed beside processes that keep cores busy: ours, with the library's own waiting, and with one thread."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What differs from `seqcls fit` on the machine as it is. OpenMP's own number of looks for work is 300,000.
SYSTEMS: dict[str, dict[str, str]] = {
    "seqcls": {},
    "own_waiting": {"GOMP_SPINCOUNT": "300000"},
    "one_thread": {"OMP_NUM_THREADS": "1"},
}


def compare(*, rounds: int, encoder: str, examples: int) -> list[dict[str, Any]]:
    """Return one row per system: median training examples per second beside 0, 1, … busy processes, up to one per core."""
    neighbours = range((os.cpu_count() or 1) + 1)
    speeds: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as home:
        for _ in range(rounds):
            for count in neighbours:
                for name, environment in SYSTEMS.items():
                    with busy(count):
                        speed = _measure({**environment, "SEQCLS_HOME": home}, Path(home, "run"), encoder, examples)
                    speeds.setdefault((name, count), []).append(speed)
                    print(json.dumps({"system": name, "neighbours": count, "examples_per_second": speed}), flush=True)
    return [
        {"system": name, **{f"{count} busy": round(statistics.median(speeds[name, count])) for count in neighbours}}
        for name in SYSTEMS
    ]


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep so many processes computing during the block."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _measure(environment: dict[str, str], run: Path, encoder: str, examples: int) -> float:
    data = {"train_size": examples, "validation_size": 200, "test_size": 50}
    options = [part for name, value in data.items() for part in ("--dataset-option", f"{name}={value}")]
    command = [sys.executable, "-m", "seqcls", "fit", "--dataset", "reviews", *options, "--encoder", encoder]
    command += ["--epochs", "1", "--no-baseline", "--no-report", "--quiet", "--json", "--force", "--output", str(run)]
    known = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_NUM_THREADS")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**known, **environment})
    speed: float = json.loads(done.stdout)["train_examples_per_second"]
    return speed
