"""`seqcls fit`: train, resume, or show what would be trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from seqcls.apps.cli import flags
from seqcls.apps.cli.extras import add_extras
from seqcls.apps.cli.inputs import seconds_of_flag
from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import is_main_process, predict_example, print_json, say, score_line
from seqcls.errors import UsageError

if TYPE_CHECKING:
    from seqcls.apps.cli.settings import SettingFlags
    from seqcls.training.callbacks.base import Callback
    from seqcls.training.choice import AutoTrainer
    from seqcls.training.results import FitResult, Plan
    from seqcls.training.trainer import Trainer

_PANEL = flags.RUN_PANEL


_Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FOLDER",
        help="Run directory to create; by default a new one in runs/.",
        rich_help_panel=_PANEL,
    ),
]
_Force = Annotated[
    bool, typer.Option("--force", help="Replace the run in --output, if there is one.", rich_help_panel=_PANEL)
]
_Resume = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Run directory to resume; needs no other flag.", rich_help_panel=_PANEL),
]
_Baseline = Annotated[
    bool,
    typer.Option(
        "--baseline/--no-baseline",
        help="Also train a linear model, for comparison.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
_Report = Annotated[
    bool,
    typer.Option(
        "--report/--no-report",
        help="Write report.html into the run directory.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
_Refit = Annotated[
    bool,
    typer.Option(
        "--refit/--no-refit",
        help="Without --encoder: train the best model again on training and validation data.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
_TimeBudget = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Without --encoder: compare what fits into this time, such as 60s.", rich_help_panel=_PANEL
    ),
]
_DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Show sizes, parameters and steps; train nothing.", rich_help_panel=_PANEL),
]
_PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Print the resolved settings as TOML and exit.", rich_help_panel=_PANEL)
]
_Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.", rich_help_panel=_PANEL)]


def fit(
    context: typer.Context,
    recipe: flags.Recipe = None,
    config: flags.ConfigFile = None,
    setting: flags.Set = None,
    output: _Output = None,
    force: _Force = False,
    resume: _Resume = None,
    refit: _Refit = True,
    time_budget: _TimeBudget = None,
    baseline: _Baseline = True,
    report: _Report = True,
    dry_run: _DryRun = False,
    print_config: _PrintConfig = False,
    as_json: _Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Train a classifier.

    Without --encoder, or another setting of the model, it compares the models that fit the data, keeps the best one, and
    trains it again on training and validation data together. Without --dataset it shows how a training looks: of a
    bidirectional LSTM, on the small set of reviews that comes with seqcls.
    """
    with uninterrupted():
        from seqcls.apps.check.report import DataReport
        from seqcls.training.callbacks.console import ConsoleReporter

    callbacks = [] if quiet or not is_main_process() else [DataReport(say), ConsoleReporter()]
    chosen = flags.setting_flags(context)
    changes = chosen.changes(setting)
    places = _Places(recipe=recipe, config=config, output=output, force=force)
    trainer: Trainer | AutoTrainer
    if resume is not None:
        trainer = _resume(resume, chosen, changes, callbacks, places, time_budget=time_budget)
    elif print_config or _names_model(chosen, changes, places):
        if time_budget is not None or not refit:
            raise UsageError(
                "--time-budget and --no-refit belong to the choice of a model: leave out --encoder, or use --max-time"
            )
        trainer = _start(chosen, changes, callbacks, places)
    else:
        trainer = _start_choice(chosen, changes, callbacks, places, refit=refit, time_budget=time_budget)
    if print_config:
        _print_config(trainer)
    elif dry_run:
        _print_plan(trainer, as_json=as_json)
    elif not is_main_process():
        _exit_after(trainer.fit())
    else:
        _fit(trainer, baseline=baseline, report=report, as_json=as_json, quiet=quiet)


class _Places(NamedTuple):
    """Where the settings of a new run come from, and where it goes."""

    recipe: str | None
    config: Path | None
    output: Path | None
    force: bool


def _names_model(chosen: SettingFlags, changes: dict[str, Any], places: _Places) -> bool:
    """Return whether flags, recipe or settings file say which model to train; without data, it is that of the recipe."""
    from seqcls.config.toml import load_toml

    from_file = {} if places.config is None else load_toml(places.config)
    names = [name for name, value in chosen.names.items() if value]
    for given in (changes, from_file):
        names += [name for name in ("wide", "dataset") if name in given.get("data", {})]
        model = {name: value for name, value in given.get("model", {}).items() if name != "ensemble"}
        names += ["model"] if _given(model) else []
    has_recipe = places.recipe not in (None, "default")
    return has_recipe or "dataset" not in names or any(name != "dataset" for name in names)


def _given(settings: object) -> bool:
    """Return whether a table holds a setting that is not itself an empty table."""
    return any(map(_given, settings.values())) if isinstance(settings, dict) else True


def _resume(
    run: Path,
    chosen: SettingFlags,
    changes: dict[str, Any],
    callbacks: Sequence[Callback],
    places: _Places,
    *,
    time_budget: str | None,
) -> Trainer | AutoTrainer:
    from seqcls.training.choice import AutoTrainer, is_unfinished
    from seqcls.training.trainer import Trainer

    if any(places) or any(chosen.names.values()):
        raise UsageError("--resume takes encoder, data set, settings and output from the run; omit those flags")
    if not is_unfinished(run):
        return Trainer.resume(run, changes=changes, callbacks=callbacks)
    if _given(changes):
        raise UsageError("the run has not chosen a model yet; --resume takes no other flag but --time-budget")
    return AutoTrainer.resume(run, callbacks=callbacks, time_budget=seconds_of_flag("--time-budget", time_budget))


def _start(chosen: SettingFlags, changes: dict[str, Any], callbacks: Sequence[Callback], places: _Places) -> Trainer:
    from seqcls.apps.cli.settings import resolve
    from seqcls.training.trainer import Trainer

    settings = resolve(chosen.names, changes, recipe=places.recipe, path=places.config)
    return Trainer.start_or_resume(config=settings, callbacks=callbacks, output=places.output, overwrite=places.force)


def _start_choice(
    chosen: SettingFlags,
    changes: dict[str, Any],
    callbacks: Sequence[Callback],
    places: _Places,
    *,
    refit: bool,
    time_budget: str | None,
) -> AutoTrainer:
    from seqcls.apps.cli.settings import resolve
    from seqcls.training.choice import AutoTrainer

    settings = resolve(chosen.names, changes, recipe=places.recipe, path=places.config)
    return AutoTrainer(
        config=settings,
        callbacks=callbacks,
        output=places.output,
        overwrite=places.force,
        refit=refit,
        time_budget=seconds_of_flag("--time-budget", time_budget),
    )


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

    model = plan.config.model
    name = model.encoder if model.ensemble == 1 else f"ensemble of {model.ensemble} {model.encoder} networks"
    typer.echo(f"model        {name}, {plan.parameters:,} parameters, on {plan.device}")
    epochs = "1 epoch" if plan.config.fit.epochs == 1 else f"{plan.config.fit.epochs} epochs"
    if plan.config.chosen:
        typer.echo(f"chosen       {describe_chosen(plan.config)}")
    steps = f"{plan.total_steps:,} steps: {epochs} of {plan.steps_per_epoch:,}"
    typer.echo(f"training     {steps if plan.total_steps else 'of a linear model, without steps'}")


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
