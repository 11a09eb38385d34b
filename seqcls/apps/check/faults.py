"""The faults that a single text can have, each with the function that finds it."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.entities import name2codepoint
from typing import NamedTuple

from seqcls.apps.check.findings import Severity


class Fault(NamedTuple):
    """A kind of fault.

    Attributes:
        find: Returns the position of the first fault in a text, or None.
        what: What a text with the fault has.
    """

    kind: str
    severity: Severity
    find: Callable[[str], int | None]
    what: str
    advice: str


_WORD_CHARACTER = re.compile(r"[^\W_]")

# The bytes 0x80 to 0xBF, which continue a character in UTF-8, as Latin-1 and as Windows-1252 decode them.
_LATER = re.escape(bytes(range(0x80, 0xC0)).decode("latin-1") + bytes(range(0x80, 0xC0)).decode("cp1252", "ignore"))
# The bytes that begin a character: one byte follows for Latin-1 and Cyrillic (Ã©, Ð¸), two for typographic signs (â€™).
_MOJIBAKE = re.compile(rf"[ÂÃÐÑ][{_LATER}]|[âï][{_LATER}]{{2}}")

_TAGS = (
    "a|abbr|b|blockquote|body|center|code|div|em|font|h[1-6]|head|hr|html|i|iframe|img|li|link|meta|ol|p|pre|script|small|"
    "span|strike|strong|style|sub|sup|table|tbody|td|th|thead|tr|u|ul"
)
_TAG = re.compile(rf"</?(?:{_TAGS})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_ENTITY = re.compile(rf"&(?:{'|'.join(name2codepoint)}|#\d{{1,7}}|#[xX][0-9a-fA-F]{{1,6}});")


def _find(pattern: re.Pattern[str], text: str) -> int | None:
    match = pattern.search(text)
    return None if match is None else match.start()


def _find_wordless(text: str) -> int | None:
    return None if _WORD_CHARACTER.search(text) else 0


def _find_replacement(text: str) -> int | None:
    return text.index("\ufffd") if "\ufffd" in text else None


def _find_mojibake(text: str) -> int | None:
    return None if text.isascii() else _find(_MOJIBAKE, text)


def _find_html(text: str) -> int | None:
    position = _find(_TAG, text) if "<" in text else None
    return _find(_ENTITY, text) if position is None and "&" in text else position


FAULTS = (
    Fault(
        "empty",
        "warning",
        _find_wordless,
        "no letter and no digit",
        "Remove them: a model of words cannot tell them apart.",
    ),
    Fault(
        "replacement-character",
        "warning",
        _find_replacement,
        "the character U+FFFD, which replaces bytes that could not be decoded",
        "Read the source again in the encoding that it has: the text alone does not tell what was lost.",
    ),
    Fault(
        "mojibake",
        "warning",
        _find_mojibake,
        "UTF-8 that was read as Latin-1 or Windows-1252",
        'Read the source as UTF-8, or repair a text with text.encode("cp1252").decode("utf-8").',
    ),
    Fault(
        "html",
        "note",
        _find_html,
        "HTML tags, other than line breaks, or entities",
        "Remove the tags and call html.unescape; otherwise their names become words.",
    ),
)
"""What is looked for in each text: at most eight kinds, one per bit of a byte."""
