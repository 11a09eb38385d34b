"""`seqcls predict`: the label of each text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqcls.apps.cli import flags
from seqcls.apps.cli.inputs import inputs
from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import print_json, readable, say

if TYPE_CHECKING:
    from seqcls.inference.classifier import Classifier
    from seqcls.inference.portable.onnx_classifier import OnnxClassifier

_CHUNK = 1024  # texts read before they are classified and printed


def predict(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="Model or run directory, user/model on the Hugging Face Hub, or a .onnx file.",
            show_default=False,
        ),
    ],
    texts: flags.Texts = None,
    file: flags.TextFile = None,
    min_confidence: flags.MinConfidence = 0.0,
    device: flags.Device = "auto",
    as_json: flags.Json = False,
) -> None:
    """Print the label and its probability for each text."""
    read = inputs(texts, file)
    classifier = _load(model, device)
    number = 0
    for chunk in _chunks(read(classifier)):
        rates = classifier.unknown_rates(chunk)
        probabilities = classifier.predict_proba(chunk)
        labels = classifier.decide(probabilities, min_confidence=min_confidence)
        for sequence, row, label, rate in zip(chunk, probabilities, labels, rates, strict=True):
            number += 1
            if rate == 1:
                reason = "has no word that the model knows" if sequence.strip() else "is empty"
                say(f"warning: text {number} {reason}; its label is meaningless")
            by_name = {name: round(float(value), 6) for name, value in zip(classifier.label_names, row, strict=True)}
            if as_json:
                print_json(_as_dict(label, by_name, is_multi_label=classifier.is_multi_label))
            else:
                shown = readable(sequence) if isinstance(sequence, str) else f"sequence {number}"
                typer.echo(f"{_answer(label, by_name)}\t{shown}")


def _as_dict(label: object, by_name: dict[str, float], *, is_multi_label: bool) -> dict[str, Any]:
    name = "labels" if is_multi_label else "label"
    return {name: list(label) if isinstance(label, tuple) else label, "probabilities": by_name}


def _answer(label: str | tuple[str, ...] | None, by_name: dict[str, float]) -> str:
    """Return a label and its probability with a tab between; several labels as LABEL:PROBABILITY."""
    if label is None:
        return f"unsure\t{max(by_name.values()):.4f}"
    if isinstance(label, str):
        return f"{readable(label)}\t{by_name[label]:.4f}"
    return " ".join(f"{readable(name)}:{by_name[name]:.4f}" for name in label) or "-"


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
        raise DeviceError(f"ONNX files run on the CPU, not on {device}; omit --device")
    return OnnxClassifier.from_pretrained(model)


def _chunks(sequences: Iterable[Any]) -> Iterator[list[Any]]:
    remaining = iter(sequences)
    while chunk := list(islice(remaining, _CHUNK)):
        yield chunk
