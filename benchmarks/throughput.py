"""Training and evaluation speed of the tutorial's model on the same reviews, each system in processes of its own, in turn.

This is for the CPU; throughput_gpu.py is for a GPU.
python -m benchmarks.throughput REVIEWS.npz STEPS DEVICE BATCH_SIZE measures seqcls alone, in this process.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
# Two bidirectional layers of 128 units, each a product of the input and one of the state with four gates.
MACS_A_TOKEN = 2 * (128 + 128) * 512 + 2 * (256 + 128) * 512
LENGTH = 200


def compare(*, rounds: int, steps: int, reviews: int, peers_python: str, batch_size: int = 64) -> dict[str, Any]:
    """Return medians of reviews a second, ratios of rounds, and useful GFLOP/s beside the machine's peak."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reviews.npz"
        tokens = write_reviews(path, reviews)
        arguments = [str(path), str(steps), "cpu", str(batch_size)]
        systems = {
            "seqcls": ([sys.executable, "-m", "benchmarks.throughput", *arguments], {}),
            "seqcls_without_compiled": ([sys.executable, "-m", "benchmarks.throughput", *arguments], {"SEQCLS_NATIVE": "0"}),
            "plain_pytorch": ([sys.executable, str(HERE / "plain_pytorch.py"), *arguments], {}),
            "keras_tensorflow": ([peers_python, str(HERE / "keras_tensorflow.py"), *arguments[:2]], {}),
        }
        rows: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
        for _ in range(rounds):
            for name, (command, environment) in systems.items():
                found = run(name, command, environment)
                if found is not None:
                    rows[name].append(found)
                    print(json.dumps({"system": name, **{what: round(found[what], 1) for what in found}}), flush=True)
    return _summary(rows, tokens)


def run(name: str, command: list[str], environment: Mapping[str, str] = {}) -> dict[str, Any] | None:
    """Return what a command prints last, a JSON object; None, with a line on stderr, if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode:
        print(f"{name} is not measured: {(done.stderr.splitlines() or ['no reason given'])[-1]}", file=sys.stderr)
        return None
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _summary(rows: dict[str, list[dict[str, float]]], tokens: float) -> dict[str, Any]:
    measured = {name: found for name, found in rows.items() if found}
    summary: dict[str, Any] = {"unit": "reviews/s, medians", "tokens_a_review": round(tokens, 1)}
    for name, found in measured.items():
        summary[name] = {what: round(statistics.median(row[what] for row in found), 1) for what in ("train", "evaluate")}
    for name, found in measured.items():
        if name != "seqcls":
            pairs = list(zip(measured["seqcls"], found, strict=False))
            summary[f"ratio_to_{name}"] = {
                what: round(statistics.median(ours[what] / theirs[what] for ours, theirs in pairs), 2)
                for what in ("train", "evaluate")
            }
    summary["matrix_peak_gflops"] = round(statistics.median(row["peak"] for row in measured["seqcls"]))
    speed = summary["seqcls"]["train"] * tokens
    summary["useful_gflops"] = round(speed * 6 * MACS_A_TOKEN / 1e9)  # backward is twice forward, a product is two
    return summary


def write_reviews(path: Path, reviews: int) -> float:
    """Write the tutorial's reviews, padded, for systems that know nothing of ours; return the mean length."""
    from seqcls import load_recipe
    from seqcls.data.prepare import prepare_data

    data = prepare_data(load_recipe("tutorial").data)
    train, test = data.splits["train"], data.splits["test"].take(range(reviews))
    arrays: dict[str, Any] = {"vocab_size": np.array(data.preprocessor.input_size)}
    for name, split in (("train", train), ("test", test)):
        padded = np.zeros((len(split), LENGTH), dtype=np.int32)
        for row, ids in enumerate(split):
            padded[row, : len(ids)] = ids
        arrays |= {name: padded, f"{name}_labels": np.asarray(split.labels)}
    np.savez(path, **arrays)
    return float(train.lengths.mean())


def measure(path: Path, steps: int, device: str, batch_size: int) -> dict[str, Any]:
    """Train for ``steps`` batches after five, with everything that a run does, and evaluate; then the matrix peak."""
    from benchmarks.plain_pytorch import now, where
    from seqcls import Trainer, load_recipe
    from seqcls.model.forward import predict_logits
    from seqcls.training.callbacks.base import Callback
    from seqcls.training.state import FitState

    class Clock(Callback):
        """Counts the time of the steps after the fifth, and ends the run."""

        def on_step_end(self, state: FitState) -> None:
            if state.step == 5:
                self.began, self.examples = now(state.device), state.examples
            if state.step == steps + 5:
                self.ended = now(state.device)
                self.speed = (state.examples - self.examples) / (self.ended - self.began)
                raise KeyboardInterrupt

    clock = Clock()
    config = load_recipe("tutorial").replace(device=device, batch_size=batch_size)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config=config, callbacks=[clock], output=Path(folder) / "run")
        data, model = trainer.prepare()
        train, needed = data.splits["train"], (steps + 6) * batch_size
        if needed > len(train):  # large batches: else an evaluation would come amid the steps
            data.splits["train"] = train.take(np.resize(np.arange(len(train)), needed))
        with contextlib.suppress(KeyboardInterrupt):  # the clock's
            trainer.fit()
    test = data.splits["test"].take(range(len(np.load(path, allow_pickle=False)["test"])))
    place = next(model.parameters()).device
    predict_logits(model, test.take(range(200)), device=place, batch_size=200)
    started = time.perf_counter()
    predict_logits(model, test, device=place, batch_size=200)
    evaluation_speed = len(test) / (time.perf_counter() - started)
    speeds = {"train": clock.speed, "evaluate": evaluation_speed, "peak": _matrix_peak(place)}
    return {**speeds, **where(place, clock.began, clock.ended)}


def _matrix_peak(place: Any, size: int = 2048) -> float:
    """Return the GFLOP/s of the best of some products of square matrices."""
    import torch

    a, seconds = torch.randn(size, size, device=place), []
    for _ in range(10):
        started = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for the device
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / min(seconds) / 1e9


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
