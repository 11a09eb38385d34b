"""Messages about wrong settings: the name, the value, its source, and the names that were perhaps meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError


def explain(error: ValidationError, *, source: str, known: Iterable[str]) -> str:
    """Describe every mistake in the settings in one line.

    Args:
        error: What pydantic found wrong with {"data": {...}, "model": {...}, "fit": {...}}.
        source: Where the settings come from, such as the name of a file; empty if that needs no mention.
        known: The settings that exist, as SECTION.NAME.
    """
    return "; ".join(_explain(detail, source and f"{source}: ", list(known)) for detail in error.errors())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean A or B?" for the known names that are close to ``name``; empty if none is."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _explain(detail: Mapping[str, Any], prefix: str, known: list[str]) -> str:
    name = ".".join(str(part) for part in detail["loc"][:2])
    if detail["type"] == "extra_forbidden":
        return f"{prefix}unknown setting {name}{did_you_mean(name, known)}"
    return f"{prefix}{name} is {_shown(detail['input'])}: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _shown(value: object) -> str:
    try:
        return f"{value!r:.60}"
    except RecursionError:
        return "a table with too many levels"
