"""What a finding is, and the parts of its wording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

EXAMPLES = 3
"""The most examples, or pairs of examples, that a finding has."""
EXCERPT = 60
"""The most characters of an example that are shown."""

Severity = Literal["warning", "note"]


class Example(NamedTuple):
    """Where something was found: the split, the number of the text in it (from 1), and the words there."""

    split: str
    row: int
    excerpt: str


@dataclass(frozen=True)
class Finding:
    """Something that a person should look at before training.

    Attributes:
        kind: The name that the guide uses for it.
        severity: A "warning" makes scores wrong or training worse; a "note" is worth knowing.
        count: The number of texts, labels or words that the message is about.
        message: What was found.
        advice: What to do, in one sentence.
        examples: Some of the texts; where a text is like another one, the other one comes first.
    """

    kind: str
    severity: Severity
    count: int
    message: str
    advice: str
    examples: tuple[Example, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as `seqcls check --json` prints it."""
        return {**asdict(self), "examples": [example._asdict() for example in self.examples]}


def excerpt(text: str, *, start: int = 0) -> str:
    """Return the text around the character ``start`` as one line, without control characters."""
    begin = max(0, start - EXCERPT // 3)
    part = "".join(character if character.isprintable() else " " for character in text[begin : begin + 4 * EXCERPT])
    line = " ".join(part.split())
    return f"{'…' if begin else ''}{line[:EXCERPT]}{'…' if len(line) > EXCERPT else ''}"


def number(count: int, noun: str) -> str:
    """Return "1 text", "2,000 texts"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def by_split(counts: Mapping[str, int]) -> str:
    """Return "train 3, test 1", without the splits that have none."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
