"""Training and evaluation speed of the tutorial's model on a GPU, ours and plain PyTorch's, at several sizes of batches."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_load import GpuLoad
from benchmarks.throughput import HERE, run, write_reviews

BATCH_SIZES = (64, 128, 256, 512, 1024, 2048)
SYSTEMS = {"seqcls": ["-m", "benchmarks.throughput"], "plain_pytorch": [str(HERE / "plain_pytorch.py")]}
Figures = dict[str, Any]


def compare(*, rounds: int, steps: int, reviews: int, device: str, batch_sizes: Sequence[int]) -> Figures:
    """Return medians of reviews a second and utilization by system and size, None for what does not fit, and the best."""
    rows: dict[str, dict[int, list[Figures]]] = {name: {size: [] for size in batch_sizes} for name in SYSTEMS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reviews.npz"
        tokens = write_reviews(path, reviews)
        for _ in range(rounds):
            for size in batch_sizes:
                for name, script in SYSTEMS.items():
                    figures = _measure(name, [sys.executable, *script, str(path), str(steps), device, str(size)])
                    if figures is not None:
                        rows[name][size].append(figures)
                        print(json.dumps({"system": name, "batch_size": size, **figures}), flush=True)
    return {"unit": "reviews/s, medians", "tokens_a_review": round(tokens, 1), **summary(rows)}


def _measure(name: str, command: list[str]) -> Figures | None:
    with GpuLoad() as load:
        found = run(f"{name} at a batch of {command[-1]}", command)
    if found is None:
        return None
    utilization = load.mean(found["gpu"], found["began"], found["ended"])
    if utilization is None:
        print(f"the utilization by {name} is not measured: nvidia-smi says nothing of the GPU", file=sys.stderr)
    return {"train": round(found["train"], 1), "evaluate": round(found["evaluate"], 1), "utilization": utilization}


def summary(rows: dict[str, dict[int, list[Figures]]]) -> Figures:
    """Return the medians of rounds, and training at 64 and at each system's best size with the ratio of the two systems."""
    medians = {name: {size: _medians(found) for size, found in sizes.items()} for name, sizes in rows.items()}
    at_64 = {name: sizes.get(64) for name, sizes in medians.items()}
    at_best = {name: _best(sizes) for name, sizes in medians.items()}
    return {**medians, "at_64": {**at_64, "ratio": _ratio(at_64)}, "at_best": {**at_best, "ratio": _ratio(at_best)}}


def _medians(found: list[Figures]) -> Figures | None:
    """Return the median of each figure; None where nothing was measured."""
    values = {what: [row[what] for row in found if row[what] is not None] for what in ("train", "evaluate", "utilization")}
    return {what: round(statistics.median(known), 1) if known else None for what, known in values.items()} if found else None


def _best(sizes: dict[int, Figures | None]) -> Figures | None:
    measured = [{"batch_size": size, **figures} for size, figures in sizes.items() if figures is not None]
    return max(measured, key=lambda figures: figures["train"], default=None)


def _ratio(figures: dict[str, Figures | None]) -> float | None:
    ours, theirs = figures["seqcls"], figures["plain_pytorch"]
    return None if ours is None or theirs is None else round(ours["train"] / theirs["train"], 2)
