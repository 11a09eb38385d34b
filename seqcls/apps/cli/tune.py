"""`seqcls tune`: better settings for a data set, in a given time."""

from __future__ import annotations

import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqcls.apps.cli.fit import resolve
from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import print_json, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seqcls.apps.tuning.trials import Trial, TuningResult
    from seqcls.config.settings import Config
    from seqcls.config.values import OptionValue

_DEFAULT_BUDGET = "10m"
_ROWS = 10
_DATA, _START, _SEARCH = "Data", "Settings to start from", "Search"


def tune(
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Data set.", rich_help_panel=_DATA)] = None,
    dataset_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Option of the data set.", rich_help_panel=_DATA)
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Time for all trials, such as 90s, 30m or 1h30m; by default 10m, or none with --trials.",
            rich_help_panel=_SEARCH,
            show_default=False,
        ),
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Most trials.", min=1, rich_help_panel=_SEARCH)] = None,
    max_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Largest model directory, such as 500kB or 2MB.", rich_help_panel=_SEARCH),
    ] = None,
    encoders: Annotated[
        str | None,
        typer.Option("--encoders", "-e", metavar="A,B,…", help="Encoders to choose from.", rich_help_panel=_SEARCH),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Named settings to start from.", rich_help_panel=_START)] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML file of settings to start from.", rich_help_panel=_START)
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting that is not searched.", rich_help_panel=_START),
    ] = None,
    encoder_option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Option of the encoder that is not searched.", rich_help_panel=_START),
    ] = None,
    embedding: Annotated[str | None, typer.Option(help="Embedding.", rich_help_panel=_START)] = None,
    embedding_option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Option of the embedding that is not searched.", rich_help_panel=_START),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of search and trainings.", rich_help_panel=_START)] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=_START)] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the trials; by default tunings/DATASET.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Start anew where --output holds a tuning.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
) -> None:
    """Search better settings for a data set; the result is a recipe for `seqcls fit --config`.

    The same command goes on with a search that was interrupted, or is to have more time.
    """
    began = time.monotonic()
    with uninterrupted():
        from seqcls.apps.tuning.study import bytes_of
        from seqcls.apps.tuning.study import tune as search
        from seqcls.config.pairs import parse_pairs, parse_settings
        from seqcls.config.settings import merge
        from seqcls.errors import UsageError
        from seqcls.training.callbacks.console import ConsoleReporter

    given = {
        kind: parse_pairs(pairs or [], flag=f"--{kind}-option")
        for kind, pairs in (("dataset", dataset_option), ("encoder", encoder_option), ("embedding", embedding_option))
    }
    changes = parse_settings(setting or [], flag="--set")
    fixed = {f"{section}.{name}" for section, values in changes.items() for name in values}
    fixed |= {f"model.{kind}_options.{name}" for kind in ("encoder", "embedding") for name in given[kind]}
    changes = merge(
        changes,
        {
            "data": {"dataset_options": given["dataset"]},
            "model": {f"{kind}_options": given[kind] for kind in ("encoder", "embedding")},
            "fit": {name: value for name, value in (("seed", seed), ("device", device)) if value is not None},
        },
    )
    names = [None] if encoders is None else [name.strip() for name in encoders.split(",") if name.strip()]
    if not names:
        raise UsageError("--encoders names no encoder")
    starts = [
        resolve({"encoder": name, "dataset": dataset, "embedding": embedding}, (recipe, config), changes) for name in names
    ]
    folder = output or Path("tunings") / _dataset_of(starts)
    try:
        result = search(
            starts,
            folder,
            fixed=fixed,
            time_budget=_seconds(time_budget or (_DEFAULT_BUDGET if trials is None else None)),
            max_trials=trials,
            max_size=None if max_size is None else bytes_of(max_size),
            callbacks=[] if quiet else [ConsoleReporter()],
            report=partial(say, quiet=quiet),
            overwrite=force,
            began=began,
        )
    except (KeyboardInterrupt, SystemExit):
        if (folder / "tuning.json").is_file():
            say(f"What is done is kept in {folder}; the same command goes on with it")
        raise
    _print(result, as_json=as_json, quiet=quiet)
    if result.signal is not None:
        raise typer.Exit(128 + result.signal)


def _seconds(duration: str | None) -> float | None:
    from seqcls.config.values import seconds_of
    from seqcls.errors import UsageError

    if duration is None:
        return None
    try:
        seconds = seconds_of(duration)
    except ValueError as error:
        raise UsageError(f"--time-budget {duration}: {error}") from None
    assert isinstance(seconds, float)
    if not seconds:
        raise UsageError("--time-budget must be more than nothing")
    return seconds


def _dataset_of(starts: list[Config]) -> str:
    return starts[0].data.dataset.replace("/", "_").replace(":", "-")


def _print(result: TuningResult, *, as_json: bool, quiet: bool) -> None:
    from seqcls.training.callbacks.console import format_seconds

    what = "Interrupted" if result.signal is not None else result.stop_reason
    count = len(result.trials)
    say(f"{what}: {count} {'trial' if count == 1 else 'trials'} in {format_seconds(result.seconds)}", quiet=quiet)
    if as_json:
        print_json(result.as_dict())
    elif result.best is not None:
        _print_trials(result)
        _print_best(result, result.best)
    if result.signal is not None:
        say(f"What is done is kept in {result.output}; the same command goes on with it")
    elif result.recipe is not None:
        say(f"Next: seqcls fit --config {result.recipe}", quiet=quiet)


def _print_trials(result: TuningResult) -> None:
    """Print the best trials as a table, and how many came to no end."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    sign = -1 if result.monitor == "accuracy" else 1
    complete = [trial for trial in result.trials if trial.value is not None]
    complete.sort(key=lambda trial: (sign * (trial.value or 0.0), trial.number))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in ("trial", "val. loss", "val. acc.", "MB", "seconds", "encoder"):
        table.add_column(head, justify="left" if head == "encoder" else "right", no_wrap=head != "encoder")
    for trial in complete[:_ROWS]:
        table.add_row(*map(Text, _cells(trial)))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 1000, highlight=False).print(table)
    counts = Counter(trial.state for trial in result.trials)
    more = {"more complete": len(complete) - _ROWS, "pruned": counts["pruned"], "failed": counts["failed"]}
    shown = ", ".join(f"{count} {what}" for what, count in more.items() if count > 0)
    if shown:
        typer.echo(f"{shown}: see {result.output / 'trials.jsonl'}")


def _cells(trial: Trial) -> tuple[str, ...]:
    assert trial.validation is not None
    assert trial.size is not None
    loss, accuracy = f"{trial.validation.loss:.4f}", f"{100 * trial.validation.accuracy:.2f}%"
    return str(trial.number), loss, accuracy, f"{trial.size / 1e6:.2f}", f"{trial.seconds:.1f}", trial.encoder


def _print_best(result: TuningResult, best: Trial) -> None:
    """Print by what the best settings differ from the first ones, and what mattered."""
    start = next(trial for trial in result.trials if trial.encoder == best.encoder)
    typer.echo()
    if best is start:
        typer.echo(f"The best is trial {best.number}: no settings were better than those to start from")
    else:
        typer.echo(f"The best is trial {best.number}; what it changes:")
        _print_changes(best.values, start.values)
    if result.importances is not None:
        shown = [f"{name.rpartition('.')[2]} {100 * value:.0f}%" for name, value in result.importances.items()]
        typer.echo(f"What mattered most: {', '.join(shown[:5])}")
    typer.echo(f"Recipe: {result.recipe}")
    typer.echo(f"Model: {result.model}")


def _print_changes(values: Mapping[str, OptionValue], starts: Mapping[str, OptionValue]) -> None:
    changed = {name.rpartition(".")[2]: (starts[name], value) for name, value in values.items() if value != starts[name]}
    width = max(map(len, changed))
    for name, (old, new) in changed.items():
        typer.echo(f"  {name:<{width}}  {_shown(old)} → {_shown(new)}")


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
