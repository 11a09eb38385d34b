"""`seqcls explain`: what each word contributes to a label."""

from __future__ import annotations

from itertools import chain
from typing import Annotated

import typer

from seqcls.apps.cli import flags
from seqcls.apps.cli.inputs import inputs
from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import print_explanation, print_json


def explain(
    model: flags.Model,
    texts: flags.Texts = None,
    file: flags.TextFile = None,
    text_column: flags.TextColumn = None,
    dataset_option: flags.TableOption = None,
    label: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Label to explain; by default the most probable one.")
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="METHOD", help="integrated-gradients or occlusion.")
    ] = "integrated-gradients",
    device: flags.Device = "auto",
    as_json: flags.Json = False,
) -> None:
    """Show how much each word of a text contributes to its label."""
    with uninterrupted():
        from seqcls.config.pairs import parse_pairs
        from seqcls.inference.classifier import Classifier

    options = parse_pairs(dataset_option or [], flag="--dataset-option")
    read = inputs(texts, file, text_column=text_column, options=options)
    classifier = Classifier.from_pretrained(model, device=device)
    for item in chain.from_iterable(read(classifier).chunks):
        explanation = classifier.explain(item.sequence, label=label, method=method)  # type: ignore[arg-type]
        if as_json:
            print_json(explanation.as_dict())
        else:
            print_explanation(explanation)
