"""`seqcls evaluate`: a model's figures on a split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seqcls.apps.cli import flags
from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import assessment_lines, print_json, say, score_line


def evaluate(
    model: flags.Model,
    dataset: flags.Dataset = None,
    dataset_option: flags.DatasetOption = None,
    split: flags.Split = "test",
    min_confidence: flags.MinConfidence = 0.0,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the prediction for each example to a .csv, .jsonl or .parquet file."),
    ] = None,
    device: flags.Device = "auto",
    as_json: flags.Json = False,
) -> None:
    """Print a model's figures on a split of a data set."""
    with uninterrupted():
        from seqcls.config.pairs import parse_pairs
        from seqcls.evaluation.prediction_files import check_format
        from seqcls.inference.classifier import Classifier
        from seqcls.system.device import set_threads
        from seqcls.system.memory import keep_freed_memory

    if predictions is not None:
        check_format(predictions)
    pairs = parse_pairs(dataset_option or [], flag="--dataset-option")
    set_threads(None)
    keep_freed_memory()
    classifier = Classifier.from_pretrained(model, device=device)
    predicted = classifier.predictions(dataset, split=split, options=pairs, with_texts=predictions is not None)
    assessment = predicted.assess(min_confidence=min_confidence)
    if as_json:
        print_json(assessment.as_dict())
    else:
        typer.echo(f"{split.capitalize()} set: {score_line(assessment.score)}")
        for line in assessment_lines(assessment, temperature=classifier.temperature, min_confidence=min_confidence):
            typer.echo(line)
    if predictions is not None:
        predicted.write(predictions)
        say(f"Predictions: {predictions}")
