"""`seqcls push`: a model on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import predict_example, say


def push(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model or run directory.", show_default=False)],
    repository: Annotated[
        str,
        typer.Argument(metavar="REPOSITORY", help="user/model; created if it does not exist.", show_default=False),
    ],
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="Visibility of the repository, if it is created.")
    ] = None,
    revision: Annotated[str | None, typer.Option(metavar="BRANCH", help="Branch; by default main.")] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", metavar="TEXT", help="Commit message.")] = None,
) -> None:
    """Upload a model to the Hugging Face Hub.

    Whoever may read the repository can then use its name in place of a directory.
    """
    with uninterrupted():
        from seqcls.inference.classifier import Classifier

    classifier = Classifier.from_pretrained(model, device="cpu")
    typer.echo(classifier.push_to_hub(repository, private=private, revision=revision, commit_message=message))
    say(f"Next: seqcls predict {repository} {predict_example(classifier.preprocessor.kind)}")
