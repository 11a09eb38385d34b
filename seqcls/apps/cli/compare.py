"""`seqcls compare`: is one model better than another?"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqcls.apps.cli import flags
from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import print_json, readable, say

if TYPE_CHECKING:
    from seqcls.config.settings import Config
    from seqcls.evaluation.intervals import Interval

_TRAINING = "With --encoders"
_WITHOUT_TRAINING = {"device", "callback_options"}  # what comparing runs takes, or has an empty value


def compare(
    context: typer.Context,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN", help="Two or more run or model directories.", show_default=False),
    ] = None,
    split: flags.Split = "test",
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the accuracies into a .png, .svg or .pdf file.")
    ] = None,
    encoders: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…", help="Train these encoders and compare them, instead of runs.", rich_help_panel=_TRAINING
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(metavar="INT", help="Runs per encoder, each with its own seed.", min=1, rich_help_panel=_TRAINING)
    ] = 3,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="Named settings to start from.", rich_help_panel=_TRAINING)
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting, such as epochs=3.", rich_help_panel=_TRAINING),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder of the runs; those already in it are not trained again.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    as_json: flags.Json = False,
) -> None:
    """Tell which model is better, and how certain that is."""
    with uninterrupted():
        from seqcls.apps.cli.settings import resolve
        from seqcls.errors import UsageError

    if (encoders is None) == (not runs) or (runs is not None and len(runs) == 1):
        raise UsageError("give two or more run directories, or --encoders A,B,… to train and compare")
    chosen = flags.setting_flags(context)
    changes = chosen.changes(setting)
    if encoders is None:
        assert runs is not None
        if changes["model"].keys() - {"encoder_options", "embedding_options"} or set(changes["fit"]) - _WITHOUT_TRAINING:
            raise UsageError("settings of model and training need --encoders, which are trained with them")
        result = _compare_runs(runs, chosen.names["dataset"], changes, split=split)
    else:
        names = list(dict.fromkeys(name.strip() for name in encoders.split(",") if name.strip()))
        configs = {name: resolve({**chosen.names, "encoder": name}, changes, recipe=recipe) for name in names}
        result = _compare_encoders(configs, seeds=seeds, output=output)
    if plot is not None:
        from seqcls.apps.report.interval_plot import plot_intervals

        plot_intervals(result.intervals, plot, label=f"accuracy on {split}")
        say(f"Plot: {plot}")
    if as_json:
        print_json(result.values)
    else:
        for line in result.lines:
            typer.echo(line)


@dataclass(frozen=True)
class _Result:
    values: dict[str, Any]
    intervals: dict[str, Interval]
    lines: list[str]


def _compare_runs(
    runs: Sequence[Path], dataset: str | None, changes: Mapping[str, Mapping[str, Any]], *, split: str
) -> _Result:
    """Compare trained models by their predictions for the same examples."""
    from seqcls.apps.report.contestants import ask
    from seqcls.errors import UsageError
    from seqcls.evaluation.differences import differences
    from seqcls.evaluation.intervals import accuracy_interval

    if len({str(run) for run in runs}) < len(runs):
        raise UsageError("a run is given twice")
    contestants = []
    for run in runs:
        say(f"evaluating {run}")
        device = changes["fit"].get("device", "auto")
        contestants.append(ask(run, dataset, split=split, options=changes["data"]["dataset_options"], device=device))
    models = [contestant.as_dict() for contestant in contestants]
    predictions = {contestant.name: contestant.predictions for contestant in contestants}
    intervals = {name: accuracy_interval(answers) for name, answers in predictions.items()}
    compared = differences(predictions)
    rows = [
        [
            row["name"],
            intervals[row["name"]].in_percent(),
            f"{100 * row['macro_f1']:.1f}%",
            f"{row['loss']:.4f}",
            f"{row['examples_per_second']:,}",
            f"{row['parameters']:,}",
            f"{row['megabytes']:.1f}",
        ]
        for row in models
    ]
    lines = _table([["model", "accuracy, 95% interval", "macro F1", "loss", "ex./s", "parameters", "MB"], *rows])
    values = {"split": split, "models": models, "differences": [difference.as_dict() for difference in compared]}
    return _Result(values, intervals, [*lines, "", *(difference.sentence() for difference in compared)])


def _compare_encoders(configs: Mapping[str, Config], *, seeds: int, output: Path | None) -> _Result:
    """Train each encoder with each seed, and compare the accuracies."""
    with uninterrupted():
        from seqcls.evaluation.differences import seed_differences
        from seqcls.evaluation.intervals import mean_interval

    folder = output or Path("comparisons") / next(iter(configs.values())).data.dataset.replace("/", "_")
    trained = _train(configs, folder, seeds=seeds)
    accuracies = {name: [(row["test"] or row["validation"])["accuracy"] for row in rows] for name, rows in trained.items()}
    intervals = {name: mean_interval(values) for name, values in accuracies.items()}
    models = [
        {
            "name": name,
            "accuracy": asdict(intervals[name]),
            "accuracies": accuracies[name],
            "seconds": statistics.median(row["seconds"] for row in rows),
            "parameters": rows[0]["parameters"],
        }
        for name, rows in trained.items()
    ]
    compared = seed_differences(accuracies)
    rows = [
        [model["name"], intervals[model["name"]].in_percent(), f"{model['seconds']:.1f}", f"{model['parameters']:,}"]
        for model in models
    ]
    lines = _table([["encoder", f"accuracy, mean of {seeds}", "seconds", "parameters"], *rows])
    values = {"runs": str(folder), "models": models, "differences": [difference.as_dict() for difference in compared]}
    return _Result(values, intervals, [*lines, "", *(difference.sentence() for difference in compared)])


def _train(configs: Mapping[str, Config], folder: Path, *, seeds: int) -> dict[str, list[dict[str, Any]]]:
    """Train the encoders and return the results of their runs; those that are in the folder are only read."""
    from seqcls.apps.report.contestants import train
    from seqcls.training.callbacks.console import ConsoleReporter

    trained: dict[str, list[dict[str, Any]]] = {name: [] for name in configs}
    for seed in range(seeds):  # each encoder once before any of them twice: an interrupted comparison then compares
        for name, config in configs.items():
            run = folder / f"{name}-{seed}"
            say(f"{name}, seed {seed}: {run}")
            seeded = config.updated({"fit": {"seed": seed}}, source="--seeds")
            trained[name].append(train(seeded, run, callbacks=[ConsoleReporter()]))
    return trained


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines; the first column is left-aligned, the others are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if position else readable(cell).ljust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
