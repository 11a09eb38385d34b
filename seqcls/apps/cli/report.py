"""`seqcls report`: a run as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seqcls.apps.cli import flags
from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import console


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run or model directory.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="File to write; by default report.html in the directory."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", "-d", metavar="NAME|PATH", help="Data set, if it has moved since the run."),
    ] = None,
    dataset_option: flags.DatasetOption = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="SPLIT", help="train, validation or test; by default test, or validation if there is no test."),
    ] = None,
    device: flags.Device = "auto",
) -> None:
    """Write a report on a run as one HTML file.

    It shows curves, figures, mistakes, data, settings and cost.
    """
    with uninterrupted():
        from seqcls.apps.report.write import write_report
        from seqcls.config.pairs import parse_pairs

    pairs = parse_pairs(dataset_option or [], flag="--dataset-option")
    with console().status("Writing the report"):
        path = write_report(run, output, data=dataset, options=pairs, split=split, device=device)
    typer.echo(f"Report: {path}")
