"""Every built-in encoder side by side: speed of the encoder alone, and whole runs on the embedded reviews and on IMDB."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seqcls import registry

# Settings for IMDB beside the default recipe's: the form that is usual for text; attention's cost is quadratic in length.
IMDB_FLAGS: dict[str, list[str]] = {
    "mean-pool": ["--recipe", "fasttext"],
    "lstm": ["--encoder-option", "pooling=mean+max", "--encoder-option", "bidirectional=true"],
    "gru": ["--encoder-option", "pooling=mean+max", "--encoder-option", "bidirectional=true"],
    "transformer": ["--max-length", "200"],
    "min-gru": ["--encoder-option", "pooling=mean+max", "--encoder-option", "bidirectional=true"],
}


def names() -> list[str]:
    """Return the built-in encoders."""
    return sorted(registry.encoders.builtins)


def layer_speed(*, rounds: int, batch: int = 64, steps: int = 200, size: int = 128) -> dict[str, dict[str, float]]:
    """Return each encoder's forward, and forward and backward, passes a second, alternating; medians."""
    import torch

    x, lengths = torch.randn(batch, steps, size, requires_grad=True), torch.full((batch,), steps)
    encoders = {name: registry.encoders.get(name)(size) for name in names()}

    def predict(encoder: Any) -> None:
        with torch.inference_mode():
            encoder.eval()(x, lengths)

    def train(encoder: Any) -> None:
        encoder.train()(x, lengths).sum().backward()

    rates: dict[str, dict[str, list[float]]] = {name: {"predict": [], "train": []} for name in encoders}
    for _ in range(rounds + 1):  # the first round warms up
        for name, encoder in encoders.items():
            rates[name]["predict"].append(_rate(predict, encoder))
            rates[name]["train"].append(_rate(train, encoder))
    return {name: {what: statistics.median(values[1:]) for what, values in kinds.items()} for name, kinds in rates.items()}


def _rate(run: Callable[[Any], None], encoder: Any, *, repetitions: int = 3) -> float:
    started = time.perf_counter()
    for _ in range(repetitions):
        run(encoder)
    return repetitions / (time.perf_counter() - started)


def whole_run(name: str, *, dataset: str, seed: int) -> dict[str, Any]:
    """Fit from the command line, and return the result with the speed of prediction on the test split."""
    flags = [
        "--encoder",
        name,
        "--dataset",
        dataset,
        "--seed",
        str(seed),
        *(IMDB_FLAGS.get(name, []) if dataset == "imdb" else []),
    ]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "seqcls",
            "fit",
            "--no-baseline",
            *flags,
            "--output",
            f"{folder}/run",
            "--json",
            "--quiet",
        ]
        result: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        result["predict_examples_per_second"] = _prediction_speed(Path(folder) / "run")
    return result


def _prediction_speed(model: Path) -> float:
    from seqcls import Classifier
    from seqcls.data.prepare import load_splits

    classifier = Classifier.from_pretrained(model)
    test = load_splits(classifier.config.data).test
    assert test is not None
    texts = test.texts[:2000]
    classifier.predict(texts[:200])
    started = time.perf_counter()
    classifier.predict(texts)
    return len(texts) / (time.perf_counter() - started)


def compare(*, rounds: int, seeds: int, datasets: list[str], only: list[str]) -> list[dict[str, Any]]:
    """Return a row an encoder: medians of ``seeds`` runs on reviews, and one run on IMDB."""
    speeds = layer_speed(rounds=rounds)
    rows = []
    for name in only or names():
        row: dict[str, Any] = {
            "encoder": name,
            **{f"layer_{what}_per_s": round(rate, 1) for what, rate in speeds[name].items()},
        }
        for dataset in datasets:
            runs = [whole_run(name, dataset=dataset, seed=seed) for seed in range(seeds if dataset == "reviews" else 1)]
            row |= {
                f"{dataset}_accuracy": round(statistics.median(run["test"]["accuracy"] for run in runs), 4),
                f"{dataset}_validation": round(statistics.median(run["validation"]["accuracy"] for run in runs), 4),
                f"{dataset}_seconds": round(statistics.median(run["seconds"] for run in runs), 1),
                f"{dataset}_train_per_s": round(statistics.median(run["train_examples_per_second"] for run in runs)),
                f"{dataset}_predict_per_s": round(statistics.median(run["predict_examples_per_second"] for run in runs)),
                f"{dataset}_parameters": runs[0]["parameters"],
            }
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a table."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([str(row.get(column, "")) for column in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
