"""Cost of many labels: splitting, training, evaluation, the report and a comparison, on random texts and random labels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

WORDS = 20_000
_SPLIT_ROWS = 1_000_000
_VALIDATION = 1_000


def measure(*, labels: list[int], texts: int) -> list[dict[str, Any]]:
    """Return one row per number of labels: CPU seconds and peak memory of each command, start-up included."""
    rows = []
    for count in labels:
        rows.append({"labels": count, "texts": texts, **_split(count), **_commands(count, texts)})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def _split(num_labels: int) -> dict[str, float]:
    """Return the CPU seconds to hold out a tenth of a million examples: one by one, and in groups of about ten."""
    from seqcls.data.holdout import choose_held_out

    rng = np.random.default_rng(0)
    labels = rng.integers(0, num_labels, _SPLIT_ROWS)
    groups = [str(group) for group in rng.integers(0, _SPLIT_ROWS // 10, _SPLIT_ROWS)]
    return {
        "split_s": _seconds(lambda: choose_held_out(labels, groups=None, fraction=0.1, seed=0)),
        "split_groups_s": _seconds(lambda: choose_held_out(labels, groups=groups, fraction=0.1, seed=0)),
    }


def _seconds(function: Callable[[], object]) -> float:
    started = time.process_time()
    function()
    return round(time.process_time() - started, 2)


def _commands(num_labels: int, texts: int) -> dict[str, Any]:
    """Train a small model on random texts, then time what is done with it."""
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in (("train", texts), ("validation", _VALIDATION), ("test", texts)):
            _write_texts(Path(folder, f"{name}.jsonl"), rows, num_labels)
        fit = ["fit", "--dataset", "train.jsonl", "--encoder", "mean-pool", "--epochs", "1", "--no-baseline", "--no-report"]
        fit += ["--dataset-option", "validation=validation.jsonl", "--dataset-option", "test=test.jsonl"]
        found = {"fit": _run([*fit, "--output", "run"], folder)}
        shutil.copytree(Path(folder, "run", "model"), Path(folder, "copy"))
        found["evaluate"] = _run(["evaluate", "run", "--json"], folder)
        found["report"] = _run(["report", "run"], folder)
        found["compare"] = _run(["compare", "run", "copy"], folder)
        page = Path(folder, "run", "report.html").stat().st_size
    return {f"{name}_{what}": value for name, row in found.items() for what, value in row.items()} | {
        "report_kb": round(page / 1000)
    }


def _write_texts(path: Path, count: int, num_labels: int) -> None:
    """Write JSON Lines of 5 to 25 random words; every label occurs if there are enough texts."""
    rng = np.random.default_rng(len(path.name))
    with path.open("w", encoding="utf-8") as file:
        for number, length in enumerate(rng.integers(5, 26, count).tolist()):
            text = " ".join(f"w{word}" for word in (WORDS * rng.random(length) ** 3).astype(int).tolist())
            file.write(json.dumps({"text": text, "label": f"label {number % num_labels:05}"}) + "\n")


def _run(arguments: list[str], folder: str) -> dict[str, float]:
    """Run a command of seqcls; return its CPU seconds and its peak memory."""
    command = [sys.executable, "-m", "seqcls", *arguments]
    environment = {**os.environ, "SEQCLS_HOME": folder}
    with Path(folder, "output.txt").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with status {process.returncode}: {Path(folder, 'output.txt').read_text()}")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return {"cpu_s": round(usage.ru_utime + usage.ru_stime, 1), "gb": round(usage.ru_maxrss * unit / 1e9, 2)}
