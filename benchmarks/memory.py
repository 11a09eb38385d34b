"""How far back encoders remember: accuracy on the data set `tasks` against the length of its sequences, and its plot."""

from __future__ import annotations

import json
import statistics
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

# Options beside the hidden size, which all share: no dropout anywhere, since the data is endless and exact.
ENCODERS: dict[str, dict[str, Any]] = {
    "torch-rnn": {},
    "gru": {},
    "lstm": {},
    "min-gru": {},
    "transformer": {"dropout": 0.0, "feedforward_size": 64},
}
TASKS = ("first-symbol", "temporal-order")
CHANCE = 0.25  # both have four classes
Row = dict[str, Any]


def compare(arguments: Namespace) -> list[Row]:
    """Return a row for each task, encoder and length, with the median of the seeds; prints each as it comes."""
    rows = []
    for task in arguments.tasks:
        for encoder in arguments.only:
            for length in arguments.lengths:
                rows.append(measure(task, encoder, length, arguments))
                print(json.dumps(rows[-1]), flush=True)
    return rows


def measure(task: str, encoder: str, length: int, arguments: Namespace) -> Row:
    """Train with every seed on the same texts, and return accuracies on the test split."""
    from seqcls import Trainer, load_recipe

    recipe = load_recipe("default", encoder=encoder, dataset="tasks")
    config = recipe.updated(_settings(task, encoder, length, arguments))
    results = []
    for seed in range(arguments.seeds):
        seeded = config.replace(seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            results.append(Trainer(config=seeded, callbacks=[], output=Path(folder) / "run").fit())
        if results[-1].test is None:
            raise SystemExit(results[-1].stop_reason)
    accuracies = [result.test.accuracy for result in results if result.test]
    return {
        "task": task,
        "encoder": encoder,
        "length": length,
        "median_accuracy": round(statistics.median(accuracies), 4),
        "accuracies": [round(accuracy, 4) for accuracy in accuracies],
        "parameters": results[0].parameters,
        "median_seconds": round(statistics.median(result.seconds for result in results), 1),
    }


def _settings(task: str, encoder: str, length: int, arguments: Namespace) -> dict[str, Any]:
    sizes = {"train_size": arguments.train_size, "validation_size": 500, "test_size": 1000}
    return {
        "data": {"dataset_options": {"task": task, "length": length, **sizes}, "max_length": length},
        "model": {
            "encoder_options": {"hidden_size": arguments.hidden_size, **ENCODERS[encoder]},
            "embedding_size": arguments.hidden_size,
            **{f"{place}_dropout": 0.0 for place in ("word", "embedding", "output")},
        },
        "fit": {
            "epochs": arguments.epochs,
            "batch_size": arguments.batch_size,
            "lr": arguments.lr,
            "threads": arguments.threads,
            "device": "cpu",
        },
    }


def as_markdown(rows: list[Row]) -> str:
    """Return a table: a line for each task and encoder, a column for each length; medians, worst and best in brackets."""
    lengths = sorted({row["length"] for row in rows})
    lines = [["task", "encoder", "weights", *map(str, lengths)]]
    lines.append(["---"] * len(lines[0]))
    cells: dict[tuple[str, str, int], dict[int, str]] = {}
    for row in rows:
        spread = f"{min(row['accuracies']):.2f}–{max(row['accuracies']):.2f}"
        key = (row["task"], row["encoder"], row["parameters"])
        cells.setdefault(key, {})[row["length"]] = f"{row['median_accuracy']:.2f} ({spread})"
    for key, by_length in cells.items():
        lines.append([*map(str, key), *(by_length.get(length, "") for length in lengths)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot(rows: list[Row], path: Path) -> None:
    """Draw accuracy against length, a panel for each task, on white so that it can be read on any page."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(row["task"] for row in rows))
    with rc_context({"svg.hashsalt": "seqcls", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(3.6 * len(tasks), 3.2), facecolor="white", layout="constrained")
        panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
        for panel, task in zip(panels, tasks, strict=True):
            _draw_panel(panel, task, [row for row in rows if row["task"] == task])
        panels[0].set_ylabel("test accuracy, median of the seeds")
        panels[-1].legend(frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_panel(panel: Any, task: str, rows: list[Row]) -> None:
    for encoder, marker, size in zip(ENCODERS, "os^vD", (10, 8, 6, 6, 4), strict=True):
        points = sorted((row["length"], row["median_accuracy"]) for row in rows if row["encoder"] == encoder)
        if points:  # hollow markers of unlike shapes, since lines at 1 lie on each other
            panel.plot(*zip(*points, strict=True), label=encoder, marker=marker, markersize=size, fillstyle="none")
    panel.axhline(CHANCE, color="grey", linestyle=":", linewidth=1)
    panel.set(title=task, xlabel="length in words", xscale="log", ylim=(0, 1.05))
    lengths = sorted({row["length"] for row in rows})
    panel.set_xticks(lengths, labels=map(str, lengths))
    panel.minorticks_off()
