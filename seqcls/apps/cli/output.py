"""What the commands print: results on stdout, everything else on stderr; no colour without a terminal or with NO_COLOR."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from seqcls.evaluation.assessment import Assessment
    from seqcls.evaluation.scores import Score
    from seqcls.inference.explanation import Explanation


@cache
def console() -> Console:
    """Return the console for everything but results; created late, since --help does not need rich."""
    from rich.console import Console

    return Console(stderr=True)


def say(message: str, *, quiet: bool = False) -> None:
    """Print a line on stderr unless ``quiet``; brackets in it are not markup."""
    if not quiet:
        console().print(message, markup=False, highlight=False, soft_wrap=True)


def is_main_process() -> bool:
    """Return whether this process reports: it trains alone, or is the first of those that train one model."""
    return os.environ.get("WORLD_SIZE", "1") in ("", "1") or os.environ.get("RANK", "0") == "0"


def print_error(message: str) -> None:
    """Print an error on stderr."""
    process = "" if is_main_process() else f" (rank {os.environ['RANK']})"
    typer.echo(f"error{process}: {message}", err=True)


def print_json(values: Mapping[str, Any]) -> None:
    """Print one object on one line of stdout; text stays readable, and lone surrogates stay valid JSON."""
    text = json.dumps(values, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(values)
    typer.echo(text)


def assessment_lines(assessment: Assessment, *, temperature: float, min_confidence: float) -> Iterator[str]:
    """Yield the figures per label as the lines of a table, then those of all labels together."""
    width = min(30, max(len("label"), *map(len, assessment.labels)))
    yield f"{'label':<{width}}  precision  recall      F1  support"
    for name, label in assessment.labels.items():
        shown = readable(name if len(name) <= width else f"{name[: width - 1]}…")
        figures = f"{100 * label.precision:8.1f}%  {100 * label.recall:5.1f}%  {100 * label.f1:5.1f}%  {label.support:7}"
        yield f"{shown:<{width}}  {figures}"
    area = "" if assessment.roc_auc is None else f", ROC AUC {assessment.roc_auc:.4f}"
    yield f"Macro F1 {100 * assessment.macro_f1:.1f}%{area}"
    yield (
        f"Calibration error {100 * assessment.calibration_error:.1f}% "
        f"(without the temperature of {temperature:.2f}: {100 * assessment.uncalibrated_error:.1f}%)"
    )
    if min_confidence:
        accuracy = assessment.selective_accuracy
        correct = "" if accuracy is None else f"; {100 * accuracy:.1f}% of the answers are correct"
        yield f"At a confidence of at least {min_confidence:g}, {100 * assessment.coverage:.1f}% are answered{correct}"


def print_explanation(explanation: Explanation) -> None:
    """Print a text, words for its label in green and words against it in red, and the strongest words with numbers."""
    from rich.console import Console
    from rich.text import Text

    from seqcls.inference.explanation import strongest

    num_read = len(explanation.spans)
    cut = "" if num_read == explanation.num_tokens else f"  (reads {num_read} of {explanation.num_tokens} tokens)"
    text = Text()
    for piece, value in explanation.pieces():
        strength = round(150 * abs(value))
        colour = f"rgb(0,{strength},0)" if value > 0 else f"rgb({strength},0,0)"
        text.append(readable(piece), style=f"white on {colour}" if strength > 10 else "")
    Console(highlight=False, soft_wrap=True).print(
        f"{readable(explanation.label)} {100 * explanation.probability:.1f}%{cut}", text, sep="\n", markup=False
    )
    words = strongest(explanation, 10)
    for name, sign in (("For:", 1), ("Against:", -1)):
        shown = [f"{readable(word)} {value:+.2f}" for word, value in words if sign * value > 0]
        typer.echo(f"{name:<8} {', '.join(shown) or '-'}")


def readable(text: str) -> str:
    """Return a text that is safe on one line of a terminal: without control characters and lone surrogates."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.encode("utf-8", errors="replace").decode("utf-8")


def score_line(score: Score) -> str:
    """Return loss and accuracy as the tutorial prints them, and F1 if texts may have several labels."""
    f1 = "" if score.f1 is None else f", F1: {score.f1:.3f}"
    return f"Avg. loss: {score.loss:.4f}, Accuracy: {score.correct}/{score.count} ({100 * score.accuracy:.0f}%){f1}"


def predict_example(kind: str) -> str:
    """Return the arguments of an example of `seqcls predict MODEL`, for sequences that are "text" or "features"."""
    return '"your text"' if kind == "text" else "--file FILE.npz"
