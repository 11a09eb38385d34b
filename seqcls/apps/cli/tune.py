"""`seqcls tune`: better settings for a data set, in a given time."""

from __future__ import annotations

import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqcls.apps.cli import flags
from seqcls.apps.cli.inputs import seconds_of_flag
from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import print_json, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seqcls.apps.tuning.results import TuningResult
    from seqcls.apps.tuning.trials import Trial
    from seqcls.config.values import OptionValue

_DEFAULT_BUDGET = "10m"
_ROWS = 10
_PANEL = "Search"


def tune(
    context: typer.Context,
    encoders: Annotated[
        str | None,
        typer.Option("--encoders", "-e", metavar="A,B,…", help="Encoders to choose from.", rich_help_panel=_PANEL),
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Time for all trials, such as 90s, 30m or 1h30m; by default 10m, or unlimited with --trials.",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(metavar="INT", help="Maximum number of trials.", min=1, rich_help_panel=_PANEL)
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Maximum size of the model directory, such as 500kB or 2MB.", rich_help_panel=_PANEL
        ),
    ] = None,
    recipe: flags.Recipe = None,
    config: flags.ConfigFile = None,
    setting: flags.Set = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the trials; by default tunings/DATASET."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Start over if --output holds a search.")] = False,
    as_json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Search for better settings for a data set.

    The result is a recipe for `seqcls fit --config`. The search starts from the recipe or the --config file; settings given
    by flags stay as they are. To continue an interrupted search, or to give it more time, run the same command again.
    """
    began = time.monotonic()
    with uninterrupted():
        from seqcls.apps.cli.settings import resolve
        from seqcls.apps.tuning.limits import bytes_of
        from seqcls.apps.tuning.study import tune as search
        from seqcls.training.callbacks.console import ConsoleReporter

    chosen = flags.setting_flags(context)
    changes = chosen.changes(setting)
    starts = [
        resolve({**chosen.names, "encoder": name}, changes, recipe=recipe, path=config) for name in _encoders(encoders)
    ]
    folder = output or Path("tunings") / starts[0].data.dataset.replace("/", "_").replace(":", "-")
    try:
        result = search(
            starts,
            folder,
            fixed=_names_of(changes),
            time_budget=seconds_of_flag("--time-budget", time_budget or (_DEFAULT_BUDGET if trials is None else None)),
            max_trials=trials,
            max_size=None if max_size is None else bytes_of(max_size),
            callbacks=[] if quiet else [ConsoleReporter()],
            report=partial(say, quiet=quiet),
            overwrite=force,
            began=began,
        )
    except (KeyboardInterrupt, SystemExit):
        if (folder / "tuning.json").is_file():
            _say_how_to_continue(folder)
        raise
    _print(result, as_json=as_json, quiet=quiet)
    if result.signal is not None:
        raise typer.Exit(128 + result.signal)


def _encoders(names: str | None) -> list[str | None]:
    from seqcls.errors import UsageError

    if names is None:
        return [None]
    encoders: list[str | None] = [name.strip() for name in names.split(",") if name.strip()]
    if not encoders:
        raise UsageError("--encoders names no encoder")
    return encoders


def _names_of(changes: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the names of settings, and of options of encoder and embedding, such as fit.lr."""
    names = {f"{section}.{name}" for section, values in changes.items() for name in values}
    for kind in ("encoder", "embedding"):
        names |= {f"model.{kind}_options.{name}" for name in changes["model"][f"{kind}_options"]}
    return names


def _say_how_to_continue(folder: Path) -> None:
    say(f"Finished trials are kept in {folder}; run the same command again to continue")


def _print(result: TuningResult, *, as_json: bool, quiet: bool) -> None:
    from seqcls.training.callbacks.console import format_seconds

    ending = "Interrupted" if result.signal is not None else f"{result.stop_reason[0].upper()}{result.stop_reason[1:]}"
    count = len(result.trials)
    say(f"{ending}: {count} {'trial' if count == 1 else 'trials'} in {format_seconds(result.seconds)}", quiet=quiet)
    if as_json:
        print_json(result.as_dict())
    elif result.best is not None:
        _print_trials(result)
        _print_best(result, result.best)
    if result.signal is not None:
        _say_how_to_continue(result.output)
    elif result.recipe is not None:
        say(f"Next: seqcls fit --config {result.recipe}", quiet=quiet)


def _print_trials(result: TuningResult) -> None:
    """Print the best trials as a table, and how many others there were."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from seqcls.evaluation.scores import sign_of

    sign = -sign_of(result.monitor)
    complete = [trial for trial in result.trials if trial.value is not None]
    complete.sort(key=lambda trial: (sign * (trial.value or 0.0), trial.number))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    f1 = ("val. F1",) if result.monitor == "f1" else ()
    for head in ("trial", "val. loss", "val. acc.", *f1, "MB", "seconds", "encoder"):
        table.add_column(head, justify="left" if head == "encoder" else "right", no_wrap=head != "encoder")
    for trial in complete[:_ROWS]:
        table.add_row(*map(Text, _cells(trial, with_f1=bool(f1))))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 1000, highlight=False).print(table)
    states = Counter(trial.state for trial in result.trials)
    counts = {"more complete": len(complete) - _ROWS, "pruned": states["pruned"], "failed": states["failed"]}
    shown = ", ".join(f"{count} {state}" for state, count in counts.items() if count > 0)
    if shown:
        typer.echo(f"{shown}: see {result.output / 'trials.jsonl'}")


def _cells(trial: Trial, *, with_f1: bool) -> tuple[str, ...]:
    validation = trial.validation
    assert validation is not None
    assert trial.size is not None
    f1 = [f"{100 * validation.figure('f1'):.2f}%"] if with_f1 else []
    figures = f"{validation.loss:.4f}", f"{100 * validation.accuracy:.2f}%", *f1
    return str(trial.number), *figures, f"{trial.size / 1e6:.2f}", f"{trial.seconds:.1f}", trial.encoder


def _print_best(result: TuningResult, best: Trial) -> None:
    """Print how the best settings differ from those to start from, and which settings mattered."""
    start = next(trial for trial in result.trials if trial.encoder == best.encoder)
    typer.echo()
    if best is start:
        typer.echo(f"The best is trial {best.number}: no settings were better than those to start from")
    else:
        typer.echo(f"The best is trial {best.number}, which changes:")
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
