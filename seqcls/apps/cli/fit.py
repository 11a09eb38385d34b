"""`seqcls fit`: train, resume, or show what would be trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqcls.apps.cli import flags
from seqcls.apps.cli.extras import add_extras
from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import is_main_process, predict_example, print_json, say, score_line

if TYPE_CHECKING:
    from seqcls.apps.cli.settings import SettingFlags
    from seqcls.training.callbacks.base import Callback
    from seqcls.training.results import FitResult, Plan
    from seqcls.training.trainer import Trainer

_PANEL = flags.RUN_PANEL


def fit(
    context: typer.Context,
    recipe: flags.Recipe = None,
    config: flags.ConfigFile = None,
    setting: flags.Set = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Run directory to create; by default a new one in runs/.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the run in --output, if there is one.", rich_help_panel=_PANEL)
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Run directory to resume; needs no other flag.", rich_help_panel=_PANEL),
    ] = None,
    baseline: Annotated[
        bool,
        typer.Option(
            "--baseline/--no-baseline",
            help="Also train a linear model, for comparison.",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = True,
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report",
            help="Write report.html into the run directory.",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = True,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show sizes, parameters and steps; train nothing.", rich_help_panel=_PANEL),
    ] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the resolved settings as TOML and exit.", rich_help_panel=_PANEL)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.", rich_help_panel=_PANEL)
    ] = False,
    quiet: flags.Quiet = False,
) -> None:
    """Train a classifier.

    Without flags it trains a bidirectional LSTM on the embedded reviews, which takes less than a minute.
    """
    with uninterrupted():
        from seqcls.apps.check.report import DataReport
        from seqcls.training.callbacks.console import ConsoleReporter

    callbacks = [] if quiet or not is_main_process() else [DataReport(say), ConsoleReporter()]
    chosen = flags.setting_flags(context)
    changes = chosen.changes(setting)
    if resume is not None:
        trainer = _resume(resume, chosen, changes, callbacks, is_new=bool(recipe or config or output or force))
    else:
        trainer = _start(chosen, changes, callbacks, recipe=recipe, config=config, output=output, force=force)
    if print_config:
        if trainer.config.open_settings():
            trainer.prepare()  # chooses their values
        _print_config(trainer)
    elif dry_run:
        _print_plan(trainer.plan(), as_json=as_json)
    elif not is_main_process():
        _exit_after(trainer.fit())
    else:
        _fit(trainer, baseline=baseline, report=report, as_json=as_json, quiet=quiet)


def _resume(
    run: Path, chosen: SettingFlags, changes: dict[str, Any], callbacks: Sequence[Callback], *, is_new: bool
) -> Trainer:
    from seqcls.errors import UsageError
    from seqcls.training.trainer import Trainer

    if is_new or any(chosen.names.values()):
        raise UsageError("--resume takes encoder, data set, settings and output from the run; omit those flags")
    return Trainer.resume(run, changes=changes, callbacks=callbacks)


def _start(
    chosen: SettingFlags,
    changes: dict[str, Any],
    callbacks: Sequence[Callback],
    *,
    recipe: str | None,
    config: Path | None,
    output: Path | None,
    force: bool,
) -> Trainer:
    from seqcls.apps.cli.settings import resolve
    from seqcls.training.trainer import Trainer

    settings = resolve(chosen.names, changes, recipe=recipe, path=config)
    return Trainer.start_or_resume(config=settings, callbacks=callbacks, output=output, overwrite=force)


def _print_config(trainer: Trainer) -> None:
    if is_main_process():
        typer.echo(trainer.config.to_toml(), nl=False)


def _print_plan(plan: Plan, *, as_json: bool) -> None:
    from seqcls.data.labels import listed

    if not is_main_process():
        return
    if as_json:
        print_json(plan.as_dict())
        return
    from seqcls.config.auto import describe_chosen

    is_text = plan.kind == "text"
    for name in plan.examples:
        typer.echo(
            f"{name:<12} {plan.examples[name]:>9,} examples {plan.tokens[name]:>12,} {'tokens' if is_text else 'steps'}"
        )
    typer.echo(f"labels       {listed(plan.label_names, most=20)}")
    typer.echo(f"vocabulary   {plan.vocab_size:,} words" if is_text else f"features     {plan.vocab_size:,}")
    typer.echo(f"model        {plan.config.model.encoder}, {plan.parameters:,} parameters, on {plan.device}")
    epochs = "1 epoch" if plan.config.fit.epochs == 1 else f"{plan.config.fit.epochs} epochs"
    if plan.config.chosen:
        typer.echo(f"chosen       {describe_chosen(plan.config)}")
    typer.echo(f"training     {plan.total_steps:,} steps: {epochs} of {plan.steps_per_epoch:,}")


def _fit(trainer: Trainer, *, baseline: bool, report: bool, as_json: bool, quiet: bool) -> None:
    """Train and print the result, then see to baseline and report: whatever happens to them, the result is safe."""
    try:
        result = trainer.fit()
    except (KeyboardInterrupt, SystemExit):
        if trainer.run is not None:
            say(f"The last checkpoint is safe. To continue: seqcls fit --resume {trainer.run}")
        raise
    kind = trainer.prepare()[0].preprocessor.kind  # prepared once, by fit
    _say_how_it_ended(result, quiet=quiet)
    if result.model_dir is not None and not as_json:
        _print_result(result, quiet=quiet)
        say(f"Next: seqcls predict {result.model_dir} {predict_example(kind)}", quiet=quiet)
    extras: dict[str, Any] = {"baseline": None, "report": None}
    try:
        if result.model_dir is not None:
            baseline = baseline and kind == "text" and trainer.config.model.encoder != "linear"
            add_extras(extras, trainer, result, baseline=baseline, report=report, quiet=quiet)
    finally:  # after Ctrl-C too
        if as_json:
            print_json(result.as_dict() | extras)
    _exit_after(result)


def _exit_after(result: FitResult) -> None:
    """Exit as a process does that the same signal has ended."""
    if result.signal is not None:
        raise typer.Exit(128 + result.signal)


def _say_how_it_ended(result: FitResult, *, quiet: bool) -> None:
    from seqcls.training.callbacks.console import format_seconds

    if result.signal is not None:
        say(f"Interrupted; a checkpoint is saved. To continue: seqcls fit --resume {result.run_dir}")
    elif result.is_cut_short:
        say(f"{result.stop_reason}, with a checkpoint. To continue: seqcls fit --resume {result.run_dir}")
    else:
        say(f"{result.stop_reason}, {format_seconds(result.seconds)}", quiet=quiet)


def _print_result(result: FitResult, *, quiet: bool) -> None:
    split, score = ("Test", result.test) if result.test is not None else ("Validation", result.validation)
    if score is not None:
        typer.echo(f"{split} set: {score_line(score)}")
    if result.calibration is not None:
        say(
            f"Calibrated on validation: temperature {result.calibration.temperature:.2f}, "
            f"calibration error {100 * result.calibration.error_before:.1f}% before, "
            f"{100 * result.calibration.error_after:.1f}% after",
            quiet=quiet,
        )
    typer.echo(f"Model: {result.model_dir}")
