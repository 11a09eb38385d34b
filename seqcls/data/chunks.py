"""Texts in lists of bounded size, and even samples of very many texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

_CHUNK, _CHUNK_CHARACTERS = 2_000, 2_000_000
VOCABULARY_BYTES = 100_000_000
"""If there is more text than this, in characters, a vocabulary is fitted on an even sample."""


def chunks_of(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield texts in lists of bounded length and bounded total size."""
    chunk: list[str] = []
    size = 0
    for text in texts:
        chunk.append(text)
        size += len(text)
        if len(chunk) == _CHUNK or size >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def even_sample(texts: Sequence[str]) -> Iterable[str]:
    """Return all texts, or every n-th if there is too much text."""
    step = -(-text_size(texts) // VOCABULARY_BYTES) or 1
    return islice(texts, 0, None, step)


def text_size(texts: Sequence[str]) -> int:
    """Return the number of characters of texts, estimated from the first thousand."""
    head = list(islice(texts, 1000))
    return int(len(texts) * sum(map(len, head)) / max(1, len(head)))
