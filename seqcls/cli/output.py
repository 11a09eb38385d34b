"""Words on the screen: results to stdout, everything else to stderr; no colour off a terminal or with NO_COLOR."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from seqcls.metrics import Score


@cache
def console() -> Console:
    """Return the console for everything but results; made late, since rich is not needed for --help."""
    from rich.console import Console

    return Console(stderr=True)


def say(message: str, *, quiet: bool = False) -> None:
    """Print a line on stderr unless ``quiet``; brackets in it are no markup."""
    if not quiet:
        console().print(message, markup=False, highlight=False, soft_wrap=True)


def is_main_process() -> bool:
    """Return whether this is the process that reports: of several that train one model, the first."""
    return os.environ.get("WORLD_SIZE", "1") in ("", "1") or os.environ.get("RANK", "0") == "0"


def print_error(message: str) -> None:
    """Print an error on stderr."""
    of = "" if is_main_process() else f" (rank {os.environ['RANK']})"
    typer.echo(f"error{of}: {message}", err=True)


def print_json(values: Mapping[str, Any]) -> None:
    """Print one object on one line of stdout; text stays readable, and lone surrogates stay valid JSON."""
    text = json.dumps(values, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(values)
    typer.echo(text)


def score_line(score: Score) -> str:
    """Return loss and accuracy as the tutorial prints them, and F1 where there may be several labels."""
    f1 = "" if score.f1 is None else f", F1: {score.f1:.3f}"
    return f"Avg. loss: {score.loss:.4f}, Accuracy: {score.correct}/{score.count} ({100 * score.accuracy:.0f} %){f1}"
