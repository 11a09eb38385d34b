"""Text files: compression, encodings, and bytes that are invalid in the encoding."""

from __future__ import annotations

import codecs
import gzip
import io
import logging
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from seqcls.errors import DataError, MissingExtraError

SAMPLE = 1 << 20  # bytes by which encoding, delimiter and quoting are judged
COMPRESSED = {".gz", ".zst"}
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")  # how Python's "surrogateescape" decodes an invalid byte

logger = logging.getLogger("seqcls")


def form_of(path: Path) -> str:
    """Return the suffix in lower case, ignoring those of compression: ".csv" for "a.CSV.gz"."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the errors that reading a damaged file raises into a DataError that names the file."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    except UnicodeError as error:
        raise DataError(f"cannot read {path}: {error}; give its encoding with --dataset-option encoding=NAME") from error


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file, decompressing it: gzip is recognized by the content, Zstandard by the suffix."""
    if path.suffix.lower() == ".zst":
        stream: IO[bytes] = import_pyarrow().input_stream(str(path), compression="zstd")
        return io.BufferedReader(stream)  # type: ignore[type-var]
    file = path.open("rb")
    if file.peek(2)[:2] == b"\x1f\x8b":
        file.close()
        return gzip.open(path)  # type: ignore[return-value]
    return file


def open_text(path: Path, encoding: str, *, newline: str = "\n") -> IO[str]:
    """Open a text file; a byte that is invalid in ``encoding`` becomes a lone surrogate (see `find_bad_byte`)."""
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise DataError(f"unknown encoding {encoding!r}; try utf-8, latin-1, cp1252 or utf-16") from None
    return io.TextIOWrapper(open_bytes(path), encoding=encoding, errors="surrogateescape", newline=newline)


def find_bad_byte(text: str) -> str | None:
    """Describe the first byte of ``text`` that was invalid in the encoding; None if all bytes were valid."""
    match = None if text.isascii() else _ESCAPED_BYTE.search(text)
    if match is None:
        return None
    return f"the byte 0x{ord(match[0]) - 0xDC00:02X} after {text[: match.start()][-20:]!r} is invalid in the file's encoding"


def sniff_encoding(path: Path) -> str:
    """Infer the encoding from byte order mark and content; warn if the text is not UTF-8 and read as Windows-1252."""
    with open_bytes(path) as file:
        sample = file.read(SAMPLE)
    for mark, encoding in ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if sample.startswith(mark):
            return encoding
    if sample[1::2].count(0) > 0.3 * len(sample[1::2]) > 0:
        return "utf-16-le"
    if sample[::2].count(0) > 0.3 * len(sample[::2]) > 0:
        return "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, final=False)
    except UnicodeDecodeError:
        text = sample.decode("utf-8", "surrogateescape")
        if all(character.isascii() or "\udc80" <= character <= "\udcff" for character in text):
            logger.warning(f"{path} is not UTF-8; it is read as Windows-1252 (another: --dataset-option encoding=NAME)")
            return "cp1252"
    return "utf-8"


def import_pyarrow() -> Any:
    """Return pyarrow.

    Raises:
        MissingExtraError: It is not installed.
        DataError: It cannot be imported.
    """
    try:
        import pyarrow
    except ModuleNotFoundError:
        raise MissingExtraError("pyarrow", "data") from None
    except ImportError as error:
        raise DataError(f"pyarrow cannot be used here: {error}") from error
    return pyarrow
