"""`seqcls evaluate` and `seqcls predict`: what is done with a trained model."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from seqcls.cli.loading import uninterrupted
from seqcls.cli.output import print_json, say, score_line

_CHUNK = 1024  # texts read before they are classified and printed
_Model = Annotated[Path, typer.Argument(help="Model or run directory.", show_default=False)]
_Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def evaluate(
    model: _Model,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Data set; by default the one it was trained on.")
    ] = None,
    dataset_option: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Option of the data set.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    device: _Device = "auto",
    as_json: _Json = False,
) -> None:
    """Print a model's loss and accuracy on a split of a data set."""
    with uninterrupted():
        from seqcls import options
        from seqcls.classifier import Classifier

    pairs = options.parse_pairs(dataset_option or [], flag="--dataset-option")
    classifier = Classifier.from_pretrained(model, device=device)
    score = classifier.evaluate(dataset, split=split, options=pairs)
    if as_json:
        print_json(score.as_dict())
    else:
        typer.echo(f"{split.capitalize()} set: {score_line(score)}")


def predict(
    model: _Model,
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; a single - reads stdin, a line a text.", show_default=False)
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read texts from a file, a line a text.")] = None,
    device: _Device = "auto",
    as_json: _Json = False,
) -> None:
    """Print the label and its probability for each text."""
    with uninterrupted():
        from seqcls.classifier import Classifier
        from seqcls.errors import UsageError

    if (file is None) == (not texts):
        raise UsageError("give texts as arguments, or --file FILE, or - to read stdin")
    classifier = Classifier.from_pretrained(model, device=device)
    names = classifier.label_names
    if not classifier.is_text:
        inputs: Iterable[Any] = _read_numbers(file)
    else:
        inputs = _read_texts(texts or [], file)
    number = 0
    for chunk in _chunks(inputs):
        rates = classifier.unknown_rates(chunk)
        found = classifier.predict_proba(chunk)
        for text, probabilities, label, rate in zip(chunk, found, classifier.decide(found), rates, strict=True):
            number += 1
            shown = _one_line(text) if isinstance(text, str) else f"sequence {number}"
            if rate == 1:
                what = "is empty" if not text.strip() else "has no word that the model knows"
                say(f"warning: text {number} {what}; its label means nothing")
            by_name = {name: round(float(value), 6) for name, value in zip(names, probabilities, strict=True)}
            if as_json:
                said = {"label": label} if isinstance(label, str) else {"labels": list(label)}
                print_json({**said, "probabilities": by_name})
            elif isinstance(label, str):
                typer.echo(f"{label}\t{by_name[label]:.4f}\t{shown}")
            else:
                typer.echo(f"{' '.join(f'{name}:{by_name[name]:.4f}' for name in label) or '-'}\t{shown}")


def _read_texts(texts: list[str], file: Path | None) -> Iterator[str]:
    """Yield the texts; of a file or stdin, each line as it comes, bytes that are no UTF-8 replaced."""
    from seqcls.errors import DataError

    if file is None and texts != ["-"]:
        yield from texts
        return
    try:
        with sys.stdin.buffer if file is None else file.open("rb") as lines:
            for line in lines:
                yield line.decode("utf-8", errors="replace").rstrip("\r\n")
    except OSError as error:
        raise DataError(f"cannot read {file or 'stdin'}: {error.strerror}") from error


def _read_numbers(file: Path | None) -> Iterator[Any]:
    from seqcls.datasets.arrays import read_arrays
    from seqcls.errors import UsageError

    if file is None:
        raise UsageError("the model reads sequences of numbers, not texts; give them as --file FILE.npz or FILE.ts")
    return (sequence for sequence, _ in read_arrays(file))


def _chunks(texts: Iterable[Any]) -> Iterator[list[Any]]:
    remaining = iter(texts)
    while chunk := list(islice(remaining, _CHUNK)):
        yield chunk


def _one_line(text: str) -> str:
    """Return a text fit for one line of a terminal: no control characters, no lone surrogates."""
    readable = "".join(character if character.isprintable() else " " for character in text)
    return readable.encode("utf-8", errors="replace").decode("utf-8")
