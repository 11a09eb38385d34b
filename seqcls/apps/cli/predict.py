"""`seqcls predict`: the label of each text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from seqcls.apps.cli import flags
from seqcls.apps.cli.inputs import Inputs, Item, inputs
from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import console, print_json, readable, say

if TYPE_CHECKING:
    from seqcls.inference.classifier import Classifier
    from seqcls.inference.portable.onnx_classifier import OnnxClassifier

_MOST_WARNINGS = 10  # of texts that the model cannot read


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
    text_column: flags.TextColumn = None,
    dataset_option: flags.TableOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the rows with their labels to a .csv, .jsonl or .parquet file."
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(metavar="INT", help="Give the most probable labels, so many of them.", min=1)
    ] = None,
    min_confidence: flags.MinConfidence = 0.0,
    device: flags.Device = "auto",
    threads: flags.Threads = None,
    as_json: flags.Json = False,
) -> None:
    """Print the label and its probability for each text."""
    from seqcls.config.pairs import parse_pairs
    from seqcls.errors import UsageError
    from seqcls.evaluation.prediction_files import check_format

    if output is not None:
        check_format(output)
        if as_json:
            raise UsageError("--json prints, and --output writes a file: give one of them")
    options = parse_pairs(dataset_option or [], flag="--dataset-option")
    read = inputs(texts, file, text_column=text_column, options=options)
    classifier = _load(model, device, threads)
    asked = read(classifier)
    answers = _answers(classifier, asked, min_confidence=min_confidence)
    if output is not None:
        _write(answers, output, asked.columns, top_k=top_k)
        return
    for answer in answers:
        if as_json:
            print_json(answer.as_dict(top_k))
        else:
            typer.echo(f"{answer.as_text(top_k)}\t{answer.shown}")


class _Answer(NamedTuple):
    """What the model says of an item.

    Attributes:
        number: Counts the items, from 1.
        item: The item.
        label: The name of the label; None if the model is not sure enough; a tuple if texts may have several.
        probabilities: By the name of the label.
        given: The labels as they were given for training, by their names.
        is_multi_label: Whether texts may have several labels.
    """

    number: int
    item: Item
    label: str | tuple[str, ...] | None
    probabilities: Mapping[str, float]
    given: Mapping[str, Any]
    is_multi_label: bool

    @property
    def shown(self) -> str:
        """What stands for the item on a line of the terminal."""
        sequence = self.item.sequence
        return readable(sequence) if isinstance(sequence, str) else f"sequence {self.number}"

    def most_probable(self, count: int | None) -> dict[str, float]:
        """Return the probabilities of the most probable labels, the largest first; all, as they come, for None."""
        if count is None:
            return dict(self.probabilities)
        return dict(sorted(self.probabilities.items(), key=lambda pair: -pair[1])[:count])

    def as_dict(self, top_k: int | None) -> dict[str, Any]:
        """Return the answer as `--json` prints it, by names, as the server does: these are the keys of the probabilities."""
        name = "labels" if self.is_multi_label else "label"
        label = list(self.label) if isinstance(self.label, tuple) else self.label
        return {name: label, "probabilities": self.most_probable(top_k)}

    def as_text(self, top_k: int | None) -> str:
        """Return a label and its probability with a tab between; several labels as LABEL:PROBABILITY."""
        if top_k is None and self.label is None:
            return f"unsure\t{max(self.probabilities.values()):.4f}"
        if top_k is None and isinstance(self.label, str):
            return f"{readable(self.label)}\t{self.probabilities[self.label]:.4f}"
        names = self.label if top_k is None else self.most_probable(top_k)
        unsure = ["unsure"] if self.label is None else []
        return " ".join(unsure + [f"{readable(name)}:{self.probabilities[name]:.4f}" for name in names or ()]) or "-"

    def as_row(self, top_k: int | None) -> dict[str, Any]:
        """Return the row of the item with the answer, as `--output` writes it."""
        if isinstance(self.label, tuple):
            probability: Any = [self.probabilities[name] for name in self.label]
        else:
            probability = max(self.probabilities.values()) if self.label is None else self.probabilities[self.label]
        row = {**self.item.row, "prediction": self._label(), "probability": probability}
        for rank, (name, value) in enumerate(self.most_probable(top_k or 0).items(), start=1):
            row |= {f"top_{rank}": self.given[name], f"top_{rank}_probability": value}
        return row

    def _label(self) -> Any:
        """Return the label, or the list of labels, as they were given for training."""
        if isinstance(self.label, tuple):
            return [self.given[name] for name in self.label]
        return None if self.label is None else self.given[self.label]


def _answers(classifier: Classifier | OnnxClassifier, asked: Inputs, *, min_confidence: float) -> Iterator[_Answer]:
    """Yield the answers as they come, and warn of texts that the model cannot read."""
    from seqcls.evaluation.decisions import decide

    names, given = classifier.label_names, dict(zip(classifier.label_names, classifier.labels, strict=True))
    number = unreadable = 0
    for chunk in asked.chunks:
        sequences = [item.sequence for item in chunk]
        rates = classifier.unknown_rates(sequences)
        probabilities = classifier.predict_proba(sequences)
        labels = decide(probabilities, names, classifier.thresholds, min_confidence=min_confidence)
        for item, row, label, rate in zip(chunk, probabilities, labels, rates, strict=True):
            number += 1
            if rate == 1:
                unreadable += 1
                reason = "has no word that the model knows" if item.sequence.strip() else "is empty"
                say(f"warning: text {number} {reason}; its label is meaningless", quiet=unreadable > _MOST_WARNINGS)
            by_name = {name: round(float(value), 6) for name, value in zip(names, row, strict=True)}
            yield _Answer(number, item, label, by_name, given, classifier.is_multi_label)
    if unreadable > _MOST_WARNINGS:
        say(f"warning: {unreadable:,} of {number:,} texts have no word that the model knows; their labels are meaningless")


def _write(answers: Iterator[_Answer], output: Path, columns: Sequence[str], *, top_k: int | None) -> None:
    """Write the answers, with a count of them on a terminal while they come."""
    from seqcls.errors import UsageError
    from seqcls.evaluation.prediction_files import write_rows

    first = next(answers, None)
    labels = 0 if first is None or top_k is None else min(top_k, len(first.probabilities))
    ranks = [name for rank in range(1, labels + 1) for name in (f"top_{rank}", f"top_{rank}_probability")]
    added = ["prediction", "probability", *ranks]
    if taken := [name for name in added if name in columns]:
        raise UsageError(f"the table has a column {taken[0]!r}, which is the name of one of the answers; rename it")
    count = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal count
        answer = first
        while answer is not None:
            count += 1
            if count % 1000 == 0:
                status.update(f"{count:,} answers")
            yield answer.as_row(top_k)
            answer = next(answers, None)

    with console().status("Reading") as status:
        write_rows(rows(), output, [*columns, *added])
    say(f"{count:,} predictions: {output}")


def _load(model: Path, device: str, threads: int | None) -> Classifier | OnnxClassifier:
    """Load a model directory, or an ONNX file, for which torch is not imported."""
    if model.suffix.lower() != ".onnx" or model.is_dir():
        with uninterrupted():
            from seqcls.inference.classifier import Classifier
            from seqcls.system.device import set_threads
            from seqcls.system.memory import keep_freed_memory

        set_threads(threads)
        keep_freed_memory()
        return Classifier.from_pretrained(model, device=device)
    with uninterrupted():
        from seqcls.errors import DeviceError
        from seqcls.inference.portable.onnx_classifier import OnnxClassifier

    if device not in ("auto", "cpu"):
        raise DeviceError(f"ONNX files run on the CPU, not on {device}; omit --device")
    return OnnxClassifier.from_pretrained(model, threads=threads)
