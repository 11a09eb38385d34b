"""`seqcls new`: write a plugin package to start from."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from seqcls.apps.cli.output import say


class NewKind(StrEnum):
    """What a package can be written for."""

    encoder = "encoder"
    dataset = "dataset"
    callback = "callback"


def new(
    kind: Annotated[NewKind, typer.Argument(help="encoder, dataset or callback.", show_default=False)],
    name: Annotated[str, typer.Argument(help="Name of the plugin, such as my-encoder.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder in which seqcls-NAME is made.")] = Path(),
) -> None:
    """Write a package with an encoder, a data set or a callback of your own, its entry point and its tests."""
    from seqcls.testing.scaffold import new_package

    folder = new_package(kind.value, name, parent=output)
    typer.echo(folder)
    say(f"Next: pip install -e '{folder}[dev]' && python -m pytest {folder}")
