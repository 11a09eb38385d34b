"""`seqcls evaluate`, `predict`, `explain` and `push`: what is done with a trained model."""

from __future__ import annotations

import codecs
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import assessment_lines, print_explanation, print_json, readable, say, score_line

if TYPE_CHECKING:
    from seqcls.inference.classifier import Classifier
    from seqcls.inference.portable.onnx_classifier import OnnxClassifier

logger = logging.getLogger("seqcls")

_CHUNK = 1024  # texts read before they are classified and printed
_Model = Annotated[Path, typer.Argument(help="Model or run directory, or user/model on Hugging Face.", show_default=False)]
_Texts = Annotated[
    list[str] | None, typer.Argument(help="Texts; a single - reads stdin, a line a text.", show_default=False)
]
_File = Annotated[Path | None, typer.Option("--file", "-f", help="Read texts from a file, a line a text.")]
_Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
_MinConfidence = Annotated[float, typer.Option(help="Answer 'unsure' below this probability.", min=0, max=1)]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def evaluate(
    model: _Model,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Data set; by default the one it was trained on.")
    ] = None,
    dataset_option: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Option of the data set.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    min_confidence: _MinConfidence = 0.0,
    predictions: Annotated[
        Path | None, typer.Option(help="Write what the model says of each example: a .csv, .jsonl or .parquet file.")
    ] = None,
    device: _Device = "auto",
    as_json: _Json = False,
) -> None:
    """Print a model's figures on a split of a data set."""
    with uninterrupted():
        from seqcls.config.pairs import parse_pairs
        from seqcls.evaluation.prediction_files import check_format
        from seqcls.inference.classifier import Classifier

    if predictions is not None:
        check_format(predictions)
    pairs = parse_pairs(dataset_option or [], flag="--dataset-option")
    classifier = Classifier.from_pretrained(model, device=device)
    found = classifier.predictions(dataset, split=split, options=pairs, with_texts=predictions is not None)
    assessment = found.assess(min_confidence=min_confidence)
    if as_json:
        print_json(assessment.as_dict())
    else:
        typer.echo(f"{split.capitalize()} set: {score_line(assessment.score)}")
        for line in assessment_lines(assessment, temperature=classifier.temperature, min_confidence=min_confidence):
            typer.echo(line)
    if predictions is not None:
        found.write(predictions)
        say(f"Predictions: {predictions}")


def predict(
    model: Annotated[
        Path,
        typer.Argument(help="Model or run directory, user/model on Hugging Face, or a .onnx file.", show_default=False),
    ],
    texts: _Texts = None,
    file: _File = None,
    min_confidence: _MinConfidence = 0.0,
    device: _Device = "auto",
    as_json: _Json = False,
) -> None:
    """Print the label and its probability for each text."""
    inputs = _inputs(texts, file)
    classifier = _load(model, device)
    names = classifier.label_names
    number = 0
    for chunk in _chunks(inputs(classifier)):
        rates = classifier.unknown_rates(chunk)
        found = classifier.predict_proba(chunk)
        labels = classifier.decide(found, min_confidence=min_confidence)
        for text, probabilities, label, rate in zip(chunk, found, labels, rates, strict=True):
            number += 1
            shown = readable(text) if isinstance(text, str) else f"sequence {number}"
            if rate == 1:
                what = "is empty" if not text.strip() else "has no word that the model knows"
                say(f"warning: text {number} {what}; its label means nothing")
            by_name = {name: round(float(value), 6) for name, value in zip(names, probabilities, strict=True)}
            if as_json:
                name = "labels" if classifier.is_multi_label else "label"
                print_json({name: list(label) if isinstance(label, tuple) else label, "probabilities": by_name})
            elif label is None:
                typer.echo(f"unsure\t{max(probabilities):.4f}\t{shown}")
            elif isinstance(label, str):
                typer.echo(f"{readable(label)}\t{by_name[label]:.4f}\t{shown}")
            else:
                typer.echo(f"{' '.join(f'{readable(name)}:{by_name[name]:.4f}' for name in label) or '-'}\t{shown}")


def explain(
    model: _Model,
    texts: _Texts = None,
    file: _File = None,
    label: Annotated[str | None, typer.Option(help="Label to explain; by default the most probable.")] = None,
    method: Annotated[str, typer.Option(help="integrated-gradients or occlusion.")] = "integrated-gradients",
    device: _Device = "auto",
    as_json: _Json = False,
) -> None:
    """Show what each word of a text contributes to its label."""
    with uninterrupted():
        from seqcls.inference.classifier import Classifier

    inputs = _inputs(texts, file)
    classifier = Classifier.from_pretrained(model, device=device)
    for item in inputs(classifier):
        explanation = classifier.explain(item, label=label, method=method)  # type: ignore[arg-type]
        if as_json:
            print_json(explanation.as_dict())
        else:
            print_explanation(explanation)


def push(
    model: Annotated[Path, typer.Argument(help="Model or run directory.", show_default=False)],
    repository: Annotated[str, typer.Argument(help="Where to: user/model, made if it is not there.", show_default=False)],
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="Whether a repository that is made is private.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch; by default main.")] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Commit message.")] = None,
) -> None:
    """Send a model to Hugging Face; whoever may read it loads it by its name."""
    with uninterrupted():
        from seqcls.inference.classifier import Classifier

    classifier = Classifier.from_pretrained(model, device="cpu")
    typer.echo(classifier.push_to_hub(repository, private=private, revision=revision, commit_message=message))
    example = '"your text"' if classifier.preprocessor.kind == "text" else "--file FILE.npz"
    say(f"Next: seqcls predict {repository} {example}")


def _load(model: Path, device: str) -> Classifier | OnnxClassifier:
    """Load a model directory, or an ONNX file, for which torch is not imported."""
    if model.suffix.lower() != ".onnx" or model.is_dir():
        with uninterrupted():
            from seqcls.inference.classifier import Classifier

        return Classifier.from_pretrained(model, device=device)
    with uninterrupted():
        from seqcls.errors import DeviceError
        from seqcls.inference.portable.onnx_classifier import OnnxClassifier

    if device not in ("auto", "cpu"):
        raise DeviceError(f"an ONNX file is computed on the CPU, not on {device}; leave out --device")
    return OnnxClassifier.from_pretrained(model)


def _inputs(texts: list[str] | None, file: Path | None) -> Callable[[Classifier | OnnxClassifier], Iterable[Any]]:
    """Return what reads the texts, or sequences of numbers, that a classifier is asked about."""
    from seqcls.errors import UsageError

    if (file is None) == (not texts):
        raise UsageError("give texts as arguments, or --file FILE, or - to read stdin")
    return lambda classifier: (
        _read_texts(texts or [], file) if classifier.preprocessor.kind == "text" else _read_numbers(file)
    )


def _read_texts(texts: list[str], file: Path | None) -> Iterator[str]:
    """Yield the texts; of a file or stdin, each line as it comes."""
    from seqcls.errors import DataError

    if file is None and texts != ["-"]:
        yield from texts
        return
    name, is_utf8 = file or "stdin", True
    try:
        with sys.stdin.buffer if file is None else file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise DataError(f"{name} is UTF-16; write it as UTF-8 (iconv -f utf-16 -t utf-8)")
                text, is_valid = _decoded(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line)
                if is_utf8 and not is_valid:
                    logger.warning(
                        "%s: line %d is not UTF-8; such lines are read as Windows-1252, or with \ufffd for a broken byte",
                        name,
                        number,
                    )
                    is_utf8 = False
                yield text.rstrip("\r\n")
    except OSError as error:
        raise DataError(f"cannot read {name}: {error.strerror}") from error


def _decoded(line: bytes) -> tuple[str, bool]:
    """Return a line's text, and whether it is UTF-8: else Windows-1252, unless a character beyond ASCII speaks for UTF-8."""
    try:
        return line.decode(), True
    except UnicodeDecodeError:
        text = line.decode(errors="replace")
        is_mostly_utf8 = not text.replace("\ufffd", "").isascii()
        return text if is_mostly_utf8 else line.decode("cp1252", errors="replace"), False


def _read_numbers(file: Path | None) -> Iterator[Any]:
    from seqcls.data.datasets.arrays import read_arrays
    from seqcls.errors import UsageError

    if file is None:
        raise UsageError("the model reads sequences of numbers, not texts; give them as --file FILE.npz or FILE.ts")
    return (sequence for sequence, _ in read_arrays(file))


def _chunks(texts: Iterable[Any]) -> Iterator[list[Any]]:
    remaining = iter(texts)
    while chunk := list(islice(remaining, _CHUNK)):
        yield chunk
