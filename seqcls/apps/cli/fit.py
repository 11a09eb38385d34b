"""`seqcls fit`: train, resume, or show what would be trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqcls.apps.cli import flags
from seqcls.apps.cli.extras import add_extras
from seqcls.apps.cli.inputs import seconds_of_flag
from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import is_main_process, predict_example, print_json, say, score_line

if TYPE_CHECKING:
    from seqcls.apps.cli.settings import SettingFlags
    from seqcls.training.callbacks.base import Callback
    from seqcls.training.choice import AutoTrainer
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
    refit: Annotated[
        bool,
        typer.Option(
            "--refit/--no-refit",
            help="Without --encoder: train the best model again on training and validation data.",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = True,
    time_budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Without --encoder: compare what fits into this time, such as 60s.", rich_help_panel=_PANEL
        ),
    ] = None,
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

    Without --encoder, or another setting of the model, it compares the models that fit the data, keeps the best one, and
    trains it again on training and validation data together. Without --dataset it shows how a training looks: of a
    bidirectional LSTM, on the small set of reviews that comes with seqcls.
    """
    with uninterrupted():
        from seqcls.apps.check.report import DataReport
        from seqcls.apps.cli.settings import resolve
        from seqcls.errors import UsageError
        from seqcls.training.callbacks.console import ConsoleReporter
        from seqcls.training.choice import AutoTrainer

    callbacks = [] if quiet or not is_main_process() else [DataReport(say), ConsoleReporter()]
    chosen = flags.setting_flags(context)
    changes = chosen.changes(setting)
    trainer: Trainer | AutoTrainer
    if resume is not None:
        is_new = bool(recipe or config or output or force)
        trainer = _resume(resume, chosen, changes, callbacks, is_new=is_new, time_budget=time_budget)
    elif print_config or _names_model(chosen, changes, recipe=recipe, path=config):
        if time_budget is not None or not refit:
            raise UsageError(
                "--time-budget and --no-refit belong to the choice of a model: leave out --encoder, or use --max-time"
            )
        trainer = _start(chosen, changes, callbacks, recipe=recipe, config=config, output=output, force=force)
    else:
        budget = time_budget or changes["fit"].pop("max_time", None)
        settings = resolve(chosen.names, changes, recipe=recipe, path=config)
        trainer = AutoTrainer(
            config=settings,
            callbacks=callbacks,
            output=output,
            overwrite=force,
            refit=refit,
            time_budget=seconds_of_flag("--time-budget", None if budget is None else str(budget)),
        )
    if print_config:
        _print_config(trainer)
    elif dry_run:
        _print_plan(trainer, as_json=as_json)
    elif not is_main_process():
        _exit_after(trainer.fit())
    else:
        _fit(trainer, baseline=baseline, report=report, as_json=as_json, quiet=quiet)


def _names_model(chosen: SettingFlags, changes: dict[str, Any], *, recipe: str | None, path: Path | None) -> bool:
    """Return whether flags, recipe or settings file say which model to train."""
    from seqcls.config.toml import load_toml

    has_data = False
    for given in (changes, {} if path is None else load_toml(path)):
        if _given(given.get("model", {})) or "wide" in given.get("data", {}):
            return True
        if "dataset" in given.get("data", {}):
            has_data = True
    has_data = has_data or bool(chosen.names["dataset"])
    return not has_data or bool(chosen.names["encoder"] or chosen.names["embedding"] or recipe not in (None, "default"))


def _given(settings: object) -> bool:
    """Return whether a table holds a setting that is not itself an empty table."""
    return any(map(_given, settings.values())) if isinstance(settings, dict) else True


def _resume(
    run: Path,
    chosen: SettingFlags,
    changes: dict[str, Any],
    callbacks: Sequence[Callback],
    *,
    is_new: bool,
    time_budget: str | None,
) -> Trainer | AutoTrainer:
    from seqcls.errors import UsageError
    from seqcls.training.choice import AutoTrainer, is_unfinished
    from seqcls.training.trainer import Trainer

    if is_new or any(chosen.names.values()):
        raise UsageError("--resume takes encoder, data set, settings and output from the run; omit those flags")
    if not is_unfinished(run):
        return Trainer.resume(run, changes=changes, callbacks=callbacks)
    if _given(changes):
        raise UsageError("the run has not chosen a model yet; --resume takes no other flag but --time-budget")
    return AutoTrainer.resume(run, callbacks=callbacks, time_budget=seconds_of_flag("--time-budget", time_budget))


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


def _print_config(trainer: Trainer | AutoTrainer) -> None:
    from seqcls.training.trainer import Trainer

    if isinstance(trainer, Trainer) and trainer.config.open_settings():
        trainer.prepare()  # chooses their values
    if is_main_process():
        typer.echo(trainer.config.to_toml(), nl=False)


def _print_plan(trainer: Trainer | AutoTrainer, *, as_json: bool) -> None:
    from seqcls.data.labels import listed
    from seqcls.training.trainer import Trainer

    plans = {"": trainer.plan()} if isinstance(trainer, Trainer) else trainer.plans()
    if not is_main_process():
        return
    if as_json:
        print_json(plans[""].as_dict() if "" in plans else {name: plan.as_dict() for name, plan in plans.items()})
        return
    plan = next(iter(plans.values()))
    is_text = plan.kind == "text"
    for name in plan.examples:
        typer.echo(
            f"{name:<12} {plan.examples[name]:>9,} examples {plan.tokens[name]:>12,} {'tokens' if is_text else 'steps'}"
        )
    typer.echo(f"labels       {listed(plan.label_names, most=20)}")
    typer.echo(f"vocabulary   {plan.vocab_size:,} words" if is_text else f"features     {plan.vocab_size:,}")
    for name, plan in plans.items():
        if name:
            typer.echo(f"\n{name}")
        _print_model(plan)


def _print_model(plan: Plan) -> None:
    from seqcls.config.auto import describe_chosen

    typer.echo(f"model        {plan.config.model.encoder}, {plan.parameters:,} parameters, on {plan.device}")
    epochs = "1 epoch" if plan.config.fit.epochs == 1 else f"{plan.config.fit.epochs} epochs"
    if plan.config.chosen:
        typer.echo(f"chosen       {describe_chosen(plan.config)}")
    typer.echo(f"training     {plan.total_steps:,} steps: {epochs} of {plan.steps_per_epoch:,}")


def _fit(trainer: Trainer | AutoTrainer, *, baseline: bool, report: bool, as_json: bool, quiet: bool) -> None:
    """Train and print the result, then see to baseline and report: whatever happens to them, the result is safe."""
    from seqcls.training.resolve import kind_of
    from seqcls.training.trainer import Trainer

    try:
        result = trainer.fit()
    except (KeyboardInterrupt, SystemExit):
        if trainer.run is not None:
            say(f"The last checkpoint is safe. To continue: seqcls fit --resume {trainer.run}")
        raise
    kind = kind_of(trainer.config.data.dataset, None)
    _say_how_it_ended(result, quiet=quiet)
    if result.model_dir is not None and not as_json:
        _print_result(result, quiet=quiet)
        say(f"Next: seqcls predict {result.model_dir} {predict_example(kind)}", quiet=quiet)
    extras: dict[str, Any] = {"baseline": None, "report": None}
    try:
        if result.model_dir is not None:
            # A choice has compared the linear model already.
            is_other = isinstance(trainer, Trainer) and kind == "text" and trainer.config.model.encoder != "linear"
            add_extras(extras, trainer, result, baseline=baseline and is_other, report=report, quiet=quiet)
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
    is_crossed = any(row.folds > 1 for row in result.compared)
    validation = "Cross-validation" if is_crossed else "Validation set"
    what, score = ("Test set", result.test) if result.test is not None else (validation, result.validation)
    if score is not None:
        typer.echo(f"{what}: {score_line(score)}")
    if result.calibration is not None:
        say(
            f"Calibrated on validation: temperature {result.calibration.temperature:.2f}, "
            f"calibration error {100 * result.calibration.error_before:.1f}% before, "
            f"{100 * result.calibration.error_after:.1f}% after",
            quiet=quiet,
        )
    typer.echo(f"Model: {result.model_dir}")
