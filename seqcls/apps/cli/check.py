"""`seqcls check`: what is wrong with a data set, before anything is trained on it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import print_json

if TYPE_CHECKING:
    from seqcls.apps.check.findings import Finding
    from seqcls.config.settings import DataConfig
    from seqcls.data.splits import Splits


def check(
    data: Annotated[str, typer.Argument(help="Data set, or path of files, as for fit --dataset.", show_default=False)],
    dataset_option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Option of the data set; `seqcls info dataset NAME`."),
    ] = None,
    text_column: Annotated[str | None, typer.Option(help="Column of the text, in files of your own.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the label.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of the data, such as max_length or tokenizer."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 if there is a warning.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look for duplicates, leaks, damaged texts, rare labels and more, and say where they are and what to do."""
    with uninterrupted():
        from seqcls.apps.check.checks import check_data
        from seqcls.data.prepare import build_dataset

    columns = {"text_column": text_column, "label_column": label_column}
    config = _resolve(data, dataset_option or [], columns, setting or [])
    splits = build_dataset(config).load()
    findings = check_data(splits, config)
    if as_json:
        print_json(
            {
                "dataset": data,
                "splits": {name: len(split) for name, split in splits.labelled().items()},
                "label_names": list(splits.label_names),
                "findings": [finding.as_dict() for finding in findings],
            }
        )
    else:
        _print(data, splits, findings)
    if strict and any(finding.severity == "warning" for finding in findings):
        raise typer.Exit(1)


def _resolve(data: str, pairs: list[str], columns: dict[str, str | None], settings: list[str]) -> DataConfig:
    """Return the settings of the data as `fit` would have them, checked."""
    from seqcls.config.pairs import parse_pairs, parse_settings
    from seqcls.config.recipe_files import load_recipe
    from seqcls.config.settings import merge
    from seqcls.training.resolve import name_objects

    given = {name: value for name, value in columns.items() if value is not None}
    values = parse_pairs(pairs, flag="--dataset-option")
    changes = merge(parse_settings(settings, flag="--set"), {"data": {"dataset_options": {**given, **values}}})
    config = load_recipe("default", dataset=data).updated(changes, source="command line")
    return name_objects(config, None, None).data


def _print(data: str, splits: Splits, findings: Sequence[Finding]) -> None:
    """Print the findings in the width of the terminal, or in 80 columns."""
    from rich.console import Console
    from rich.text import Text

    from seqcls.apps.check.findings import number

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 80, highlight=False)
    sizes = ", ".join(f"{name} {len(split):,}" for name, split in splits.labelled().items())
    console.print(Text(f"{data}: {sizes}; {len(splits.label_names):,} labels"))
    for finding in findings:
        console.print()
        console.print(Text(f"{finding.severity}: {finding.kind}", style="bold"))
        for sentence in (finding.message, finding.advice):
            for line in Text(sentence).wrap(console, console.width - 2):
                line.rstrip()
                console.print(Text("  ") + line)
        for example in finding.examples:
            shown = Text(f"    {example.split} {example.row}: {example.excerpt}")
            shown.truncate(console.width, overflow="ellipsis")
            console.print(shown)
    warnings = sum(finding.severity == "warning" for finding in findings)
    console.print()
    console.print(f"{number(warnings, 'warning')}, {number(len(findings) - warnings, 'note')}")
