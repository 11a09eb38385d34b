"""Messages about wrong settings: the name, the value, its source, and the names that were perhaps meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError


def explain(error: ValidationError, *, source: str, known: Iterable[str]) -> str:
    """Describe every mistake in the settings in one line.

    Args:
        error: What pydantic found wrong with {"data": {...}, "model": {...}, "fit": {...}}.
        source: Where the settings come from, such as the name of a file; empty if that needs no mention.
        known: The settings that exist, as SECTION.NAME.
    """
    details: dict[str, list[Any]] = {}
    for detail in error.errors():
        details.setdefault(".".join(str(part) for part in detail["loc"][:2]), []).append(detail)
    names = list(known)
    mistakes = [mistake for name, several in details.items() for mistake in _explain(name, several, names)]
    return "; ".join(f"{source}: {mistake}" if source else mistake for mistake in mistakes)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean A or B?" for the known names that are close to ``name``; empty if none is."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _explain(name: str, details: list[Any], known: list[str]) -> Iterable[str]:
    """Yield a message for each wrong value of a setting; each type in a union has its own complaint about the value."""
    if details[0]["type"] == "extra_forbidden":
        yield f"unknown setting {name}{did_you_mean(name, known)}"
        return
    depth = max(len(detail["loc"]) for detail in details)  # the complaints of the type that fits best
    complaints: dict[str, list[str]] = {}
    for detail in details:
        if len(detail["loc"]) == depth:
            message = f"{detail['msg'][0].lower()}{detail['msg'][1:]}"
            complaints.setdefault(_shown(detail["input"]), []).append(message)
    for value, messages in complaints.items():
        others = (message.removeprefix("input should be ") for message in messages[1:])
        yield f"{name} is {value}: {' or '.join([messages[0], *others])}"


def _shown(value: object) -> str:
    try:
        return f"{value!r:.60}"
    except RecursionError:
        return "a table with too many levels"
