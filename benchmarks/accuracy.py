"""How long it takes from the IMDB archive to a saved model of some test accuracy, each system in processes of its own.

A system's time begins with its process and has everything in it: imports, reading the archive, training, validation, writing
the model. Of peers that train in epochs each epoch whose validation loss is the best so far gives a model; scoring it on
test is left out of their time. Ours are whole commands, each with its test score in its time. Our settings were
chosen on validation; the peers' are usual ones, not tuned here.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TARGETS = (86, 88, 89, 90, 91)
OURS = {
    "mean-pool, 1 epoch": ["--recipe", "fasttext", "--dataset", "imdb", "--epochs", "1"],
    "mean-pool, 2 epochs": ["--recipe", "fasttext", "--dataset", "imdb", "--epochs", "2"],
    "mean-pool": ["--recipe", "fasttext", "--dataset", "imdb"],
    "bilstm": ["--encoder", "bilstm", "--dataset", "imdb"],
    "tutorial recipe": ["--recipe", "tutorial", "--epochs", "3"],
}
PEERS = ("fasttext", "tfidf_logistic_regression", "keras_tensorflow", "plain_pytorch")
ONCE = ("bilstm", "tutorial recipe", "keras_tensorflow", "plain_pytorch")  # minutes each
NEEDS_OTHERS = ("fasttext", "keras_tensorflow")  # packages that seqcls does not need


def compare(*, rounds: int, only: list[str], peers_python: str, device: str = "cpu") -> list[dict[str, Any]]:
    """Return a row a system: seconds to each accuracy, None where it does not get there, and its last model's accuracy.

    On another device than the CPU rows say which: only ours and plain PyTorch run there.
    """
    found: dict[str, list[list[tuple[float, float]]]] = {}
    for number in range(rounds):
        for system in only or [*OURS, *PEERS]:
            if number and system in ONCE:
                continue
            with tempfile.TemporaryDirectory() as folder:
                curve = _ours(system, folder, device) if system in OURS else _peer(system, folder, peers_python, device)
            if curve:
                found.setdefault(system, []).append(curve)
                print(json.dumps({"system": system, "seconds_and_accuracy": curve}), flush=True)
    rows = [_row(system, curves) for system, curves in found.items()]
    return rows if device == "cpu" else [{"device": device if _runs_on_gpu(row["system"]) else "cpu", **row} for row in rows]


def _runs_on_gpu(system: str) -> bool:
    return system in OURS or system == "plain_pytorch"


def _row(system: str, curves: list[list[tuple[float, float]]]) -> dict[str, Any]:
    row: dict[str, Any] = {"system": system, "runs": len(curves)}
    for target in TARGETS:
        times = [next((seconds for seconds, accuracy in curve if 100 * accuracy >= target), None) for curve in curves]
        reached = [seconds for seconds in times if seconds is not None]
        row[f"{target}%"] = round(statistics.median(reached), 1) if len(reached) == len(curves) else None
    row["its accuracy"] = round(100 * statistics.median(curve[-1][1] for curve in curves), 2)
    row["its seconds"] = round(statistics.median(curve[-1][0] for curve in curves), 1)
    return row


def _ours(system: str, folder: str, device: str) -> list[tuple[float, float]]:
    command = [sys.executable, "-m", "seqcls", "fit", "--no-baseline", "--no-report", "--quiet", "--json", *OURS[system]]
    command += ["--device", device, "--output", f"{folder}/run"]
    environment = {**os.environ, "SEQCLS_HOME": folder}  # nothing is prepared yet
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode:  # it has said why
        print(f"{system} is not measured", file=sys.stderr)
        return []
    return [(time.perf_counter() - started, json.loads(done.stdout)["test"]["accuracy"])]


def _peer(system: str, folder: str, peers_python: str, device: str) -> list[tuple[float, float]]:
    script = str(Path(__file__).parent / "accuracy_peers.py")
    python = peers_python if system in NEEDS_OTHERS else sys.executable
    archive = Path(os.environ["SEQCLS_DATA_DIR"]) / "imdb" / "aclImdb_v1.tar.gz"
    command = [python, script, system, str(archive), folder, str(time.time()), device]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"{system} is not measured: {(done.stderr.splitlines() or ['no reason given'])[-1]}", file=sys.stderr)
        return []
    return [(row["seconds"], row["test"]) for row in map(json.loads, done.stdout.splitlines()) if row["is_best"]]


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a table."""
    columns = list(rows[0])
    lines = [
        columns,
        ["---"] * len(columns),
        *(["–" if row[name] is None else str(row[name]) for name in columns] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
