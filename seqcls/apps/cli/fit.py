"""`seqcls fit`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import console, is_main_process, print_json, say, score_line

if TYPE_CHECKING:
    from seqcls.config.settings import Config
    from seqcls.evaluation.baseline import Baseline
    from seqcls.evaluation.scores import Score
    from seqcls.training.results import FitResult, Plan
    from seqcls.training.trainer import Trainer

_DATA, _MODEL, _TRAINING, _RUN = "Data", "Model", "Training", "Run"
_SECTION = {"encoder": "model", "embedding": "model", "dataset": "data", "callback": "fit"}


def fit(
    encoder: Annotated[
        str | None, typer.Option("--encoder", "-e", help="Encoder; `seqcls list` shows them.", rich_help_panel=_MODEL)
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Data set; `seqcls list` shows them.", rich_help_panel=_DATA)
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Named settings to start from: default, tutorial.", rich_help_panel=_RUN)
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML file of settings, over the recipe's.", rich_help_panel=_RUN)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Run directory to make; else a new one in runs/.", rich_help_panel=_RUN),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the run in --output.", rich_help_panel=_RUN)] = False,
    resume: Annotated[
        Path | None, typer.Option(help="Run directory to take up again; needs no other flag.", rich_help_panel=_RUN)
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data.", rich_help_panel=_TRAINING)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples a batch.", rich_help_panel=_TRAINING)] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate, or its peak.", rich_help_panel=_TRAINING)] = None,
    patience: Annotated[
        int | None, typer.Option(help="Evaluations without a better one before the end.", rich_help_panel=_TRAINING)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, batches, dropout.", rich_help_panel=_TRAINING)] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=_TRAINING)] = None,
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16.", rich_help_panel=_TRAINING)] = None,
    max_length: Annotated[
        str | None, typer.Option(help="Longest sequence, in tokens; none for no limit.", rich_help_panel=_DATA)
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Column of the text, in files of your own.", rich_help_panel=_DATA)
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the label.", rich_help_panel=_DATA)] = None,
    group_column: Annotated[
        str | None, typer.Option(help="Column of what must not be on both sides of a split.", rich_help_panel=_DATA)
    ] = None,
    label_delimiter: Annotated[
        str | None, typer.Option(help="What stands between several labels of a text.", rich_help_panel=_DATA)
    ] = None,
    validation: Annotated[str | None, typer.Option(help="File of validation data.", rich_help_panel=_DATA)] = None,
    test: Annotated[str | None, typer.Option(help="File of test data.", rich_help_panel=_DATA)] = None,
    validation_fraction: Annotated[
        float | None, typer.Option(help="Share of the training data held out as validation data.", rich_help_panel=_DATA)
    ] = None,
    test_fraction: Annotated[
        float | None, typer.Option(help="Share of the training data held out as test data.", rich_help_panel=_DATA)
    ] = None,
    skip_bad_rows: Annotated[
        bool | None,
        typer.Option("--skip-bad-rows", help="Leave out rows that cannot be used, and say how many.", rich_help_panel=_DATA),
    ] = None,
    class_weights: Annotated[
        str | None, typer.Option(help="balanced, none, or a JSON file of a weight a label.", rich_help_panel=_TRAINING)
    ] = None,
    baseline: Annotated[
        bool,
        typer.Option(
            "--baseline/--no-baseline", help="Also train a linear model, for comparison.", rich_help_panel=_TRAINING
        ),
    ] = True,
    report: Annotated[
        bool,
        typer.Option("--report/--no-report", help="Write report.html into the run directory.", rich_help_panel=_RUN),
    ] = True,
    tokenizer: Annotated[
        str | None, typer.Option(help="word, basic-english, character, bpe, or a tokenizer.json.", rich_help_panel=_DATA)
    ] = None,
    vocab_size: Annotated[
        int | None, typer.Option("--vocab-size", "--num-words", help="Words in the vocabulary.", rich_help_panel=_DATA)
    ] = None,
    truncating: Annotated[
        str | None, typer.Option(help="Where long texts are cut: pre, post or middle.", rich_help_panel=_DATA)
    ] = None,
    embedding: Annotated[
        str | None, typer.Option(help="Embedding; `seqcls list` shows them.", rich_help_panel=_MODEL)
    ] = None,
    embedding_size: Annotated[int | None, typer.Option(help="Size of the vector of a word.", rich_help_panel=_MODEL)] = None,
    encoder_option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Option of the encoder; `seqcls info encoder NAME`.", rich_help_panel=_MODEL),
    ] = None,
    embedding_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="Option of the embedding; `seqcls info embedding NAME`.", rich_help_panel=_MODEL
        ),
    ] = None,
    dataset_option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Option of the data set; `seqcls info dataset NAME`.", rich_help_panel=_DATA),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Any other setting, as --print-config names it.", rich_help_panel=_RUN
        ),
    ] = None,
    max_time: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Stop, with a checkpoint, within 90s, 30m or 1h30m.", rich_help_panel=_RUN),
    ] = None,
    on_nan: Annotated[
        str | None,
        typer.Option(help="When the loss is no number: stop, or rollback to a checkpoint.", rich_help_panel=_TRAINING),
    ] = None,
    auto_batch: Annotated[
        bool | None,
        typer.Option(
            "--auto-batch/--no-auto-batch",
            help="Cut batches that do not fit the memory; the result stays that of the whole ones.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    num_workers: Annotated[
        int | None, typer.Option(help="Processes that make batches ahead of the training.", rich_help_panel=_TRAINING)
    ] = None,
    callback: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Tracker, such as tensorboard; `seqcls list` shows all.", rich_help_panel=_RUN),
    ] = None,
    callback_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME.KEY=VALUE", help="Option of a callback; `seqcls info callback NAME`.", rich_help_panel=_RUN
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show sizes, parameters and steps; train nothing.", rich_help_panel=_RUN)
    ] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the resolved settings as TOML and exit.", rich_help_panel=_RUN)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.", rich_help_panel=_RUN)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress, only the result.", rich_help_panel=_RUN)
    ] = False,
) -> None:
    """Train a classifier; without flags: a bidirectional LSTM on the embedded reviews, in under a minute."""
    flags: dict[str, dict[str, Any]] = {
        "data": {
            "validation_fraction": validation_fraction,
            "tokenizer": tokenizer,
            "vocab_size": vocab_size,
            "max_length": max_length,
            "truncating": truncating,
        },
        "model": {"embedding_size": embedding_size},
        "fit": {
            "epochs": epochs,
            "batch_size": batch_size,
            "lr": lr,
            "patience": patience,
            "seed": seed,
            "device": device,
            "precision": precision,
            "class_weights": class_weights,
            "max_time": max_time,
            "on_nan": on_nan,
            "auto_batch": auto_batch,
            "num_workers": num_workers,
            "callbacks": callback or None,
        },
    }
    changes = {section: _given(values) for section, values in flags.items()}
    # Flags for options of the data set "files", the ones that are needed most.
    changes["data"]["dataset_options"] = _given(
        {
            "text_column": text_column,
            "label_column": label_column,
            "group_column": group_column,
            "label_delimiter": label_delimiter,
            "validation": validation,
            "test": test,
            "test_fraction": test_fraction,
            "skip_bad_rows": skip_bad_rows,
        }
    )
    trainer = _trainer(
        names={"encoder": encoder, "dataset": dataset, "embedding": embedding},
        files=(recipe, config),
        settings=setting or [],
        plugin_options={
            "encoder": encoder_option,
            "embedding": embedding_option,
            "dataset": dataset_option,
            "callback": callback_option,
        },
        changes=changes,
        output=output,
        force=force,
        resume=resume,
        quiet=quiet,
    )
    if print_config:
        _print_config(trainer)
    elif dry_run:
        _print_plan(trainer.plan(), as_json=as_json)
    elif not is_main_process():
        _fit_silently(trainer)
    else:
        _fit(trainer, extras=_wanted_extras(trainer, baseline=baseline, report=report), as_json=as_json, quiet=quiet)


def _wanted_extras(trainer: Trainer, *, baseline: bool, report: bool) -> list[str]:
    wanted = {"linear baseline": baseline and trainer.config.model.embedding != "features", "report": report}
    return [name for name, is_wanted in wanted.items() if is_wanted]


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def _trainer(
    *,
    names: dict[str, str | None],
    files: tuple[str | None, Path | None],
    settings: list[str],
    plugin_options: dict[str, list[str] | None],
    changes: dict[str, dict[str, Any]],
    output: Path | None,
    force: bool,
    resume: Path | None,
    quiet: bool,
) -> Trainer:
    """Build the trainer from flags, which go over the settings file, which goes over the recipe."""
    with uninterrupted():
        from seqcls.apps.check.report import DataReport
        from seqcls.config.pairs import parse_named_pairs, parse_pairs, parse_settings
        from seqcls.config.settings import merge
        from seqcls.errors import UsageError
        from seqcls.training.callbacks.console import ConsoleReporter
        from seqcls.training.trainer import Trainer

    changes = merge(changes, parse_settings(settings, flag="--set"))
    for kind, pairs in plugin_options.items():
        parse = parse_named_pairs if kind == "callback" else parse_pairs
        values = parse(pairs or [], flag=f"--{kind}-option")
        changes = merge(changes, {_SECTION[kind]: {f"{kind}_options": values}})
    callbacks = [] if quiet or not is_main_process() else [DataReport(say), ConsoleReporter()]
    if resume is not None:
        if any(names.values()) or any(files) or output or force:
            raise UsageError("--resume takes encoder, data set, settings and output from the run; leave those flags away")
        return Trainer.resume(resume, changes=changes, callbacks=callbacks)
    config = resolve(names, files, changes)
    return Trainer.start_or_resume(config=config, callbacks=callbacks, output=output, overwrite=force)


def resolve(
    names: dict[str, str | None], files: tuple[str | None, Path | None], changes: dict[str, dict[str, Any]]
) -> Config:
    """Return the settings of flags, which go over the settings file, which goes over the recipe.

    Args:
        names: What --encoder, --embedding and --dataset name; the file's options of another one are left away.
        files: The recipe, and the settings file.
        changes: What the other flags say.
    """
    from seqcls.config.recipe_files import load_recipe
    from seqcls.config.toml import load_toml

    recipe, path = files
    from_file = {} if path is None else load_toml(path)
    for kind, name in names.items():
        section = from_file.get(_SECTION[kind], {})
        if name is not None and isinstance(section, dict) and not _is_same(kind, section.get(kind, name), name):
            del section[kind]
            section.pop(f"{kind}_options", None)
    chosen = {kind: name or from_file.get(_SECTION[kind], {}).get(kind) for kind, name in names.items()}
    config = load_recipe(recipe or "default", **chosen)
    if path is not None:
        config = config.updated(from_file, source=str(path))
    return config.updated(changes, source="command line")


def _is_same(kind: str, one: object, other: object) -> bool:
    """Return whether two names mean the same plugin; a path means itself."""
    from seqcls import registry

    names = {name: info.name for info in registry.REGISTRIES[kind].plugins() for name in (info.name, *info.aliases)}
    return names.get(str(one), one) == names.get(str(other), other)


def _print_config(trainer: Trainer) -> None:
    if is_main_process():
        typer.echo(trainer.config.to_toml(), nl=False)


def _print_plan(plan: Plan, *, as_json: bool) -> None:
    if not is_main_process():
        return
    values = plan.as_dict()
    if as_json:
        print_json(values)
        return
    is_text = plan.config.model.embedding != "features"
    for name in plan.examples:
        typer.echo(
            f"{name:<12} {plan.examples[name]:>9,} examples {plan.tokens[name]:>12,} {'tokens' if is_text else 'steps'}"
        )
    typer.echo(f"labels       {', '.join(plan.label_names)}")
    typer.echo(f"vocabulary   {plan.vocab_size:,} words" if is_text else f"features     {plan.vocab_size:,}")
    typer.echo(f"model        {plan.config.model.encoder}, {plan.parameters:,} parameters, on {plan.device}")
    typer.echo(f"training     {plan.total_steps:,} steps: {plan.config.fit.epochs} epochs of {plan.steps_per_epoch:,}")


def _fit(trainer: Trainer, *, extras: list[str], as_json: bool, quiet: bool) -> None:
    """Train, print the result, and only then see to baseline and report: nothing that happens to them costs the result."""
    try:
        result = trainer.fit()
    except (KeyboardInterrupt, SystemExit):
        if trainer.run is not None:
            say(f"The last checkpoint is safe. To go on: seqcls fit --resume {trainer.run}")
        raise
    is_text = trainer.config.model.embedding != "features"
    _print_result(result, example='"your text"' if is_text else "--file FILE.npz", as_json=as_json, quiet=quiet)
    found: dict[str, Any] = {"baseline": None, "report": None}
    try:
        if result.model is not None:
            _add_extras(trainer, result, extras, found, quiet=quiet)
    finally:  # after Ctrl-C too
        if as_json:
            print_json(result.as_dict() | found)
    if result.signal is not None:
        raise typer.Exit(128 + result.signal)


def _fit_silently(trainer: Trainer) -> None:
    """Take part in a run that another process reports on."""
    result = trainer.fit()
    if result.signal is not None:
        raise typer.Exit(128 + result.signal)


def _print_result(result: FitResult, *, example: str, as_json: bool, quiet: bool) -> None:
    from seqcls.training.callbacks.console import format_seconds

    if result.signal is not None:
        say(f"Interrupted; a checkpoint is saved. To go on: seqcls fit --resume {result.run}")
    elif result.is_cut_short:
        say(f"{result.stop_reason}, with a checkpoint. To go on: seqcls fit --resume {result.run}")
    else:
        say(f"{result.stop_reason}, {format_seconds(result.seconds)}", quiet=quiet)
    if not as_json and result.model is not None:
        split, score = ("Test", result.test) if result.test is not None else ("Validation", result.validation)
        if score is not None:
            typer.echo(f"{split} set: {score_line(score)}")
        if result.calibration is not None:
            before, after = (100 * error for error in (result.calibration.error_before, result.calibration.error_after))
            say(
                f"Calibrated on validation: temperature {result.calibration.temperature:.2f}, "
                f"calibration error {before:.1f}% before, {after:.1f}% after",
                quiet=quiet,
            )
        typer.echo(f"Model: {result.model}")
        say(f"Next: seqcls predict {result.model} {example}", quiet=quiet)


def _add_extras(trainer: Trainer, result: FitResult, names: list[str], found: dict[str, Any], *, quiet: bool) -> None:
    """Train the linear baseline and write the report, for ``found``; a line on stderr says what cannot be done, and why."""
    from seqcls.errors import MissingExtraError

    if names and trainer.config.fit.max_time is not None:
        say(f"No {' and no '.join(names)}: --max-time leaves {'it' if len(names) == 1 else 'them'} out", quiet=quiet)
        return
    lacking: dict[str, list[str]] = {}
    for name in names:
        try:
            if name == "report":
                found["report"] = str(_write_report(trainer, result, quiet=quiet))
            else:
                found["baseline"] = _fit_baseline(trainer, result, quiet=quiet).as_dict()
        except MissingExtraError as error:
            lacking.setdefault(str(error), []).append(name)
        except Exception as error:
            say(f"The {name} failed, the run is complete: {type(error).__name__}: {error}")
    for reason, left_out in lacking.items():
        say(f"No {' and no '.join(left_out)}: {reason}", quiet=quiet)


def _fit_baseline(trainer: Trainer, result: FitResult, *, quiet: bool) -> Baseline:
    """Train the linear baseline and say how it compares."""
    with nullcontext() if quiet else console().status("Training the linear baseline; Ctrl-C leaves it out"):
        baseline = trainer.fit_baseline()
    figures = [f"{name} {_figure(score)}" for name, score in _scores(baseline).items()]
    say(f"Linear baseline ({baseline.description}): {', '.join(figures)} in {baseline.seconds:.1f} s", quiet=quiet)
    if result.validation is not None and baseline.beats(result.validation):
        say(
            f"On validation the linear baseline is better than the network ({_figure(baseline.validation)} against "
            f"{_figure(result.validation)}); try other settings, another encoder or more data, or use a linear model.",
            quiet=quiet,
        )
    return baseline


def _write_report(trainer: Trainer, result: FitResult, *, quiet: bool) -> Path:
    """Write the report and say where it is."""
    from seqcls.apps.report.write import write_report

    with nullcontext() if quiet else console().status("Writing the report; Ctrl-C leaves it out"):
        report = write_report(result.run, device=trainer.config.fit.device, loaded=trainer.loaded)
    say(f"Report: {report}", quiet=quiet)
    return report


def _scores(baseline: Baseline) -> dict[str, Score]:
    scores = {"validation": baseline.validation}
    return scores if baseline.test is None else scores | {"test": baseline.test}


def _figure(score: Score) -> str:
    return f"{100 * score.accuracy:.1f}%" if score.f1 is None else f"{100 * score.accuracy:.1f}%, F1 {score.f1:.3f}"
