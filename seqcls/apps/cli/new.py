"""`seqcls new`: a plugin package to start from."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from seqcls.apps.cli.output import say


class NewKind(StrEnum):
    """The kinds of plugins that a package can be created for."""

    encoder = "encoder"
    dataset = "dataset"
    callback = "callback"


def new(
    kind: Annotated[NewKind, typer.Argument(metavar="KIND", help="encoder, dataset or callback.", show_default=False)],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the plugin, such as my-encoder.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder in which seqcls-NAME is created.")
    ] = Path(),
) -> None:
    """Create a package for an encoder, data set or callback.

    It has an entry point and tests, and works as it is.
    """
    from seqcls.testing.scaffold import new_package

    folder = new_package(kind.value, name, parent=output)
    typer.echo(folder)
    say(f"Next: pip install -e '{folder}[dev]' && python -m pytest {folder}")
