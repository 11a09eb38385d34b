"""`seqcls report`: a run as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import console


def report(
    run: Annotated[Path, typer.Argument(help="Run or model directory.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; by default report.html in the directory.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Data set, where it is not where the run found it.")
    ] = None,
    dataset_option: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Option of the data set.")] = None,
    split: Annotated[
        str | None, typer.Option(help="train, validation or test; by default test, or validation if there is none.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
) -> None:
    """Write what there is to know of a run as one HTML file: curves, figures, mistakes, data, settings, cost."""
    with uninterrupted():
        from seqcls.apps.report.write import write_report
        from seqcls.config.pairs import parse_pairs

    pairs = parse_pairs(dataset_option or [], flag="--dataset-option")
    with console().status("Writing the report"):
        path = write_report(run, output, data=dataset, options=pairs, split=split, device=device)
    typer.echo(f"Report: {path}")
