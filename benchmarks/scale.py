"""A large file of short texts: how fast it is encoded, in how much memory, and what an epoch over it costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

WORDS = 50_000
FEW = 100_000  # examples of the small file that an epoch over the large one is compared with
_CODE = """
import json, resource, sys, time
started = time.perf_counter()
from seqcls import Config, Trainer
path, steps = sys.argv[1], int(sys.argv[2])
config = Config().replace(encoder="mean-pool", dataset=path, validation_fraction=0.01, epochs=1, seed=1)
trainer = Trainer(config=config, callbacks=[], output=sys.argv[3])
data, model = trainer.prepare()
prepared = time.perf_counter() - started
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
from seqcls.data.batches import batches, training_order
import torch
train = data.splits["train"]
began = time.perf_counter()
order = training_order(train.lengths, batch_size=64, seed=1, epoch=0)
order_seconds = time.perf_counter() - began
optimizer = torch.optim.Adam(model.parameters())
first = None
began = time.perf_counter()
model.train()
for batch in batches(train, order[:steps], torch.device("cpu")):
    loss = torch.nn.functional.cross_entropy(model(batch.inputs, batch.lengths), batch.labels)
    loss.backward(); optimizer.step(); optimizer.zero_grad()
    first = first or time.perf_counter() - started
seconds = time.perf_counter() - began
print(json.dumps({"prepare_s": prepared, "prepare_memory_gb": memory, "first_step_s": first, "examples": len(train),
    "us_per_example": 1e6 * (seconds / (64 * min(steps, len(order))) + order_seconds / len(train)),
    "memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}))
"""


def write_texts(path: Path, *, size: int | None = None, examples: int | None = None) -> int:
    """Write JSON Lines of short texts, some with letters beyond ASCII, up to a size or a number; return the size."""
    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    words = ["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(WORDS)]
    words = [word + "é" if number % 300 == 299 else word for number, word in enumerate(words)]
    probabilities = 1 / np.arange(1, WORDS + 1)  # Zipf's law
    probabilities /= probabilities.sum()
    written = count = 0
    with path.open("w", encoding="utf-8") as file:
        while written < (size or sys.maxsize) and count < (examples or sys.maxsize):
            lengths = rng.integers(10, 60, 1000)
            chosen = rng.choice(WORDS, lengths.sum(), p=probabilities)
            labels = rng.integers(0, 2, 1000)
            for part, label in zip(np.split(chosen, np.cumsum(lengths)[:-1]), labels, strict=True):
                text = " ".join([words[number] for number in part])
                written += file.write(json.dumps({"text": text, "label": int(label)}, ensure_ascii=False) + "\n")
            count += 1000
    return path.stat().st_size


def measure(*, gigabytes: float, steps: int) -> dict[str, Any]:
    """Encode the large file and train some steps, then again from the cache, then the small file; each in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        large, small = Path(folder, "large.jsonl"), Path(folder, "small.jsonl")
        size = write_texts(large, size=int(gigabytes * 1e9))
        write_texts(small, examples=FEW)
        environment = {**os.environ, "SEQCLS_HOME": folder}
        first, again, few = (_run(path, steps, folder, environment) for path in (large, large, small))
    return {
        "gigabytes": round(size / 1e9, 2),
        "examples": first["examples"],
        "encode_mb_per_s": round(size / 1e6 / first["prepare_s"], 1),
        "encode_memory_gb": round(first["prepare_memory_gb"], 2),
        "first_step_again_s": round(again["first_step_s"], 1),
        "us_per_example": round(again["us_per_example"], 1),
        "us_per_example_small": round(few["us_per_example"], 1),
        "ratio": round(again["us_per_example"] / few["us_per_example"], 2),
    }


def _run(path: Path, steps: int, folder: str, environment: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-c", _CODE, str(path), str(steps), f"{folder}/run-{time.monotonic_ns()}"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    result: dict[str, Any] = json.loads(done.stdout)
    return result
