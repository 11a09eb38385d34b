"""`seqcls compare`: is one model better than another?"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import print_json, readable, say

if TYPE_CHECKING:
    from seqcls.evaluation.intervals import Interval


def compare(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run or model directories, two or more.", show_default=False)
    ] = None,
    encoders: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Train these encoders, and compare them, instead.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Data set; by default the one of the first model.")
    ] = None,
    dataset_option: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Option of the data set.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    recipe: Annotated[str, typer.Option(help="With --encoders: named settings to train with.")] = "default",
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="With --encoders: a setting, such as epochs=3.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="With --encoders: trainings of each, with other seeds.", min=1)] = 3,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="With --encoders: folder of the runs; what is there is not trained again."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the figures: a .png, .svg or .pdf file.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which of several models is better, by how much, and how sure that is."""
    with uninterrupted():
        from seqcls.config.pairs import parse_pairs
        from seqcls.errors import UsageError

    pairs = parse_pairs(dataset_option or [], flag="--dataset-option")
    if (encoders is None) == (not runs) or (runs is not None and len(runs) == 1):
        raise UsageError("give two or more run directories, or --encoders A,B,… to train and compare")
    if encoders is None:
        assert runs is not None
        if len({str(run) for run in runs}) < len(runs):
            raise UsageError("a run is given twice")
        result = _asked(runs, dataset, pairs, split=split, device=device)
    else:
        names = list(dict.fromkeys(name.strip() for name in encoders.split(",") if name.strip()))
        result = _trained(names, dataset, pairs, setting or [], recipe=recipe, seeds=seeds, output=output, device=device)
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


def _asked(runs: list[Path], dataset: str | None, pairs: dict[str, str], *, split: str, device: str) -> _Result:
    """Compare trained models by their answers."""
    from seqcls.apps.report.contestants import ask
    from seqcls.evaluation.differences import differences
    from seqcls.evaluation.intervals import accuracy_interval

    contestants = []
    for run in runs:
        say(f"asking {run}")
        contestants.append(ask(run, dataset, split=split, options=pairs, device=device))
    models = [contestant.as_dict() for contestant in contestants]
    intervals = {contestant.name: accuracy_interval(contestant.predictions) for contestant in contestants}
    found = differences({contestant.name: contestant.predictions for contestant in contestants})
    columns = [
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
    lines = _table([["model", "accuracy, 95% interval", "macro F1", "loss", "ex./s", "parameters", "MB"], *columns])
    values = {"split": split, "models": models, "differences": [item.as_dict() for item in found]}
    return _Result(values, intervals, [*lines, "", *(item.sentence() for item in found)])


def _trained(
    names: list[str],
    dataset: str | None,
    pairs: dict[str, str],
    settings: list[str],
    *,
    recipe: str,
    seeds: int,
    output: Path | None,
    device: str,
) -> _Result:
    """Train each encoder with each seed, and compare what they come to."""
    with uninterrupted():
        from seqcls.apps.report.contestants import train
        from seqcls.config.pairs import parse_settings
        from seqcls.config.recipe_files import load_recipe
        from seqcls.config.settings import merge
        from seqcls.evaluation.differences import seed_differences
        from seqcls.evaluation.intervals import mean_interval
        from seqcls.training.callbacks.console import ConsoleReporter

    changes = merge(parse_settings(settings, flag="--set"), {"data": {"dataset_options": pairs}, "fit": {"device": device}})
    configs = {
        name: load_recipe(recipe, encoder=name, dataset=dataset).updated(changes, source="command line") for name in names
    }
    folder = output or Path("comparisons") / next(iter(configs.values())).data.dataset.replace("/", "_")
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in range(seeds):  # a seed of each first, so that a comparison that is cut short compares
        for name, config in configs.items():
            say(f"{name}, seed {seed}: {folder / f'{name}-{seed}'}")
            seeded = config.updated({"fit": {"seed": seed}}, source="--seeds")
            rows[name].append(train(seeded, folder / f"{name}-{seed}", callbacks=[ConsoleReporter()]))
    accuracies = {name: [(row["test"] or row["validation"])["accuracy"] for row in found] for name, found in rows.items()}
    intervals = {name: mean_interval(found) for name, found in accuracies.items()}
    models = [
        {
            "name": name,
            "accuracy": asdict(intervals[name]),
            "accuracies": accuracies[name],
            "seconds": statistics.median(row["seconds"] for row in found),
            "parameters": found[0]["parameters"],
        }
        for name, found in rows.items()
    ]
    compared = seed_differences(accuracies)
    columns = [
        [row["name"], intervals[row["name"]].in_percent(), f"{row['seconds']:.1f}", f"{row['parameters']:,}"]
        for row in models
    ]
    lines = _table([["encoder", f"accuracy, mean of {seeds}", "seconds", "parameters"], *columns])
    values = {"runs": str(folder), "models": models, "differences": [item.as_dict() for item in compared]}
    return _Result(values, intervals, [*lines, "", *(item.sentence() for item in compared)])


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            readable(cell).ljust(width) if not number else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
