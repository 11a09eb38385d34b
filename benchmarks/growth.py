"""How cost grows: an epoch with the number of texts, a step with the length of sequences, speed with threads.

An epoch is that of mean-pool over generated texts of 10 to 60 words, from the command line; a step is a forward and a
backward pass of an encoder over eight sequences; threads train the tutorial's network.
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

from benchmarks.scale import write_texts
from benchmarks.throughput import write_reviews

LENGTHS = (100, 300, 1_000, 3_000, 10_000)
ENCODERS: dict[str, dict[str, Any]] = {
    "lstm": {"hidden_size": 64, "bidirectional": True},
    "gru": {"hidden_size": 64, "bidirectional": True},
    "min-gru": {"hidden_size": 64, "bidirectional": True},
    "mean-pool": {},
}
_BATCH, _INPUT_SIZE = 8, 64
_TRIALS = 3


def measure(*, rounds: int, texts: list[int]) -> dict[str, Any]:
    """Return rows by number of texts, by length and by threads, and the ratios of the largest to the smallest."""
    by_texts = [_epoch(count) for count in texts]
    by_length = [row for name in ENCODERS for row in _steps(name)]
    by_threads = _threads(rounds)
    costs = {name: [row["us_per_token"] for row in by_length if row["encoder"] == name] for name in ENCODERS}
    return {
        "texts": by_texts,
        "us_per_text_ratio": round(by_texts[-1]["us_per_text"] / by_texts[0]["us_per_text"], 2),
        "memory_ratio": round(by_texts[-1]["memory_gb"] / by_texts[0]["memory_gb"], 2),
        "lengths": by_length,
        "us_per_token_ratio": {name: round(found[-1] / found[0], 2) for name, found in costs.items()},
        "threads": by_threads,
    }


def _epoch(count: int) -> dict[str, Any]:
    """Run one epoch over that many texts; memory is the most that the training process held, encoding included."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.jsonl"
        write_texts(path, examples=count)
        command = [sys.executable, "-m", "seqcls", "fit", "--encoder", "mean-pool", "--dataset", str(path), "--epochs", "1"]
        command += ["--no-baseline", "--no-report", "--quiet", "--json", "--output", f"{folder}/run"]
        environment = {**os.environ, "SEQCLS_HOME": folder}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(command)} ended with status {process.returncode}")
    result = json.loads(output)
    row = {
        "texts": count,
        "us_per_text": round(1e6 / result["train_examples_per_second"], 1),
        "memory_gb": round(usage.ru_maxrss / 1e6, 2),
        "seconds": result["seconds"],
    }
    print(json.dumps(row), flush=True)
    return row


def _steps(name: str) -> list[dict[str, Any]]:
    import torch

    from seqcls import registry

    encoder = registry.encoders.get(name)(_INPUT_SIZE, **ENCODERS[name]).train()
    rows = []
    for length in LENGTHS:
        x, lengths = torch.randn(_BATCH, length, _INPUT_SIZE, requires_grad=True), torch.full((_BATCH,), length)
        repetitions = max(1, 3_000 // length)
        seconds = []
        for _ in range(_TRIALS + 1):  # the first warms up
            started = time.perf_counter()
            for _ in range(repetitions):
                encoder(x, lengths).sum().backward()
            seconds.append((time.perf_counter() - started) / repetitions)
        cost = 1e6 * statistics.median(seconds[1:]) / (_BATCH * length)
        rows.append({"encoder": name, "length": length, "us_per_token": round(cost, 3)})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def _threads(rounds: int) -> dict[str, Any]:
    """Train and evaluate with one and with two threads, in turn."""
    speeds: dict[str, list[dict[str, float]]] = {"1": [], "2": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reviews.npz"
        write_reviews(path, 2000)
        command = [sys.executable, "-m", "benchmarks.throughput", str(path), "30", "cpu", "64"]
        for _ in range(rounds):
            for threads, found in speeds.items():
                environment = {**os.environ, "OMP_NUM_THREADS": threads}
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
                found.append(json.loads(done.stdout.splitlines()[-1]))
                print(json.dumps({"threads": threads, **found[-1]}), flush=True)
    pairs = list(zip(speeds["1"], speeds["2"], strict=True))
    return {
        f"{what}_ratio": round(statistics.median(two[what] / one[what] for one, two in pairs), 2)
        for what in ("train", "evaluate")
    }


def plot(found: dict[str, Any], path: Path) -> None:
    """Draw the cost of a text and of a token, which are to be level, and memory."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "seqcls", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(10.8, 3.2), facecolor="white", layout="constrained")
        epoch, memory, step = figure.subplots(1, 3)
        texts = [row["texts"] for row in found["texts"]]
        epoch.plot(texts, [row["us_per_text"] for row in found["texts"]], marker="o")
        epoch.set(title="an epoch, mean-pool", xlabel="texts", ylabel="microseconds a text", xscale="log", ylim=(0, None))
        memory.plot(texts, [row["memory_gb"] for row in found["texts"]], marker="o")
        memory.set(title="memory of the run", xlabel="texts", ylabel="GB", xscale="log", ylim=(0, None))
        for name, marker in zip(ENCODERS, "os^v", strict=True):
            rows = [row for row in found["lengths"] if row["encoder"] == name]
            lengths, costs = [row["length"] for row in rows], [row["us_per_token"] for row in rows]
            step.plot(lengths, costs, label=name, marker=marker, fillstyle="none")
        step.set(
            title="a training step", xlabel="length in steps", ylabel="microseconds a token", xscale="log", yscale="log"
        )
        step.set_ylim(bottom=0.01)
        step.legend(frameon=False, loc="lower center", ncols=2)
        for panel in (epoch, memory):
            panel.set_ylim(0, 1.2 * panel.get_ylim()[1])
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
