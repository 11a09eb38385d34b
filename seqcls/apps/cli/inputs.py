"""What a classifier is asked about: texts from arguments, a file or stdin, or sequences of numbers from a file."""

from __future__ import annotations

import codecs
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqcls.inference.classifier import Classifier
    from seqcls.inference.portable.onnx_classifier import OnnxClassifier

logger = logging.getLogger("seqcls")


def inputs(texts: list[str] | None, file: Path | None) -> Callable[[Classifier | OnnxClassifier], Iterable[Any]]:
    """Return a function that reads what a classifier takes: texts, or sequences of numbers.

    Raises:
        UsageError: Neither texts nor a file are given, or both are.
    """
    from seqcls.errors import UsageError

    if (file is None) == (not texts):
        raise UsageError("give texts as arguments, or --file FILE, or - to read stdin")
    return lambda classifier: (
        _read_texts(texts or [], file) if classifier.preprocessor.kind == "text" else _read_numbers(file)
    )


def _read_texts(texts: list[str], file: Path | None) -> Iterator[str]:
    """Yield the texts; those of a file or of stdin line by line, as they come."""
    from seqcls.errors import DataError

    if file is None and texts != ["-"]:
        yield from texts
        return
    name = file or "stdin"
    is_utf8 = True
    try:
        with sys.stdin.buffer if file is None else file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise DataError(f"{name} is UTF-16; write it as UTF-8 (iconv -f utf-16 -t utf-8)")
                text, is_valid = _decode(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line)
                if is_utf8 and not is_valid:
                    logger.warning(
                        "%s: line %d is not UTF-8; such lines are read as Windows-1252, or with \ufffd for each broken byte",
                        name,
                        number,
                    )
                    is_utf8 = False
                yield text.rstrip("\r\n")
    except OSError as error:
        raise DataError(f"cannot read {name}: {error.strerror}") from error


def _decode(line: bytes) -> tuple[str, bool]:
    """Return the text of a line, and whether it is valid UTF-8.

    Otherwise it is read as Windows-1252, unless some character beyond ASCII is valid UTF-8.
    """
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


def seconds_of_flag(flag: str, duration: str | None) -> float | None:
    """Return the seconds that a flag gives, such as 90s or 1h30m; None if it is not given.

    Raises:
        UsageError: It is of another form, or not above zero.
    """
    from seqcls.config.values import seconds_of
    from seqcls.errors import UsageError

    if duration is None:
        return None
    try:
        seconds = seconds_of(duration)
    except ValueError as error:
        raise UsageError(f"{flag} {duration}: {error}") from None
    assert isinstance(seconds, float)
    if not seconds:
        raise UsageError(f"{flag} must be greater than zero")
    return seconds
