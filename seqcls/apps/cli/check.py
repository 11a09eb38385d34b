"""`seqcls check`: the problems of a data set, before anything is trained on it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from seqcls.apps.cli import flags
from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import print_json

if TYPE_CHECKING:
    from seqcls.apps.check.findings import Finding
    from seqcls.data.splits import Splits


def check(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="Data set or files, as for `seqcls fit --dataset`.", show_default=False),
    ],
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other setting of the data.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 1 if there is a warning.")] = False,
    as_json: flags.Json = False,
) -> None:
    """Find duplicates, leaks, damaged texts, rare labels and more.

    Each finding tells where it is and what to do about it.
    """
    with uninterrupted():
        from seqcls.apps.check.checks import check_data
        from seqcls.apps.cli.settings import resolve
        from seqcls.data.prepare import build_dataset
        from seqcls.training.resolve import name_objects

    changes = flags.setting_flags(context).changes(setting)
    config = name_objects(resolve({"dataset": data}, changes), None, None).data
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
