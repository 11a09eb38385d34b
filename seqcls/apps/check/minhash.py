"""Near duplicates: texts that share most of their runs of words. MinHash finds candidates; the exact figure decides.

A text is the set of its shingles, which are runs of `SHINGLE` words in lower case. Two texts are near duplicates if the
Jaccard index s of their sets, the number of common shingles over the number of all, is at least `THRESHOLD` (A. Broder,
"On the resemblance and containment of documents", 1997). The least value of a random hash function over a set is the same
for two sets with probability s. The least values of `BANDS` times `ROWS` such functions make a signature, and texts whose
signatures agree in all rows of a band are candidates. A pair is a candidate with probability 1 - (1 - s^ROWS)^BANDS:
0.988 at s = 0.7, 0.9998 at 0.8, 0.12 at 0.3.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, groupby

import numpy as np
from numpy.typing import NDArray

SHINGLE = 3
THRESHOLD = 0.7
BANDS, ROWS = 16, 4
MIN_WORDS = 6
"""Shorter texts are not compared: they can be alike without being copies."""

_TRIED = 4  # candidates that a text is compared with, most bands in common first; bounds the time
_CHUNK = 100_000  # words hashed at once, so that the arrays fit the processor's cache
_KNOWN_WORDS = 1_000_000  # remembered hashes; bounds the memory
_WORD = re.compile(r"[^\W_]+")

Numbers = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Signatures:
    """The texts of a split that are compared, and what is kept of each: 8 bytes per band.

    Attributes:
        texts: All texts of the split.
        rows: int64 [M], the rows of those that are compared, in ascending order.
        keys: uint64 [M, BANDS], equal for two texts that agree in all rows of a band.
    """

    texts: Sequence[str]
    rows: NDArray[np.int64]
    keys: Numbers

    @classmethod
    def of(cls, texts: Sequence[str], chosen: NDArray[np.bool_]) -> Signatures:
        """Compute the signatures of those ``chosen`` texts, bool [N], that have at least `MIN_WORDS` words."""
        rows: list[int] = []
        keys = [np.empty((0, BANDS), dtype=np.uint64)]
        for numbers, words in _chunks(texts, chosen):
            rows += numbers
            keys.append(_band_keys(*_shingles(words)))
        return cls(texts, np.array(rows, dtype=np.int64), np.concatenate(keys))


def find_copies(later: Signatures, earlier: Signatures) -> list[tuple[int, int]]:
    """Return (row, row of its near duplicate) for each text of ``later`` that has one in ``earlier``, in order.

    Where both are the same object, only texts before the row count.
    """
    rows, others = later.rows, earlier.rows
    shingles_of = lru_cache(maxsize=4096)(_shingle_reader(earlier.texts))
    read = _shingle_reader(later.texts)
    copies = []
    for index, pairs in groupby(_candidates(later, earlier), key=lambda pair: pair[0]):
        shingles = read(int(rows[index]))
        for _, candidate in list(pairs)[:_TRIED]:
            if jaccard(shingles, shingles_of(int(others[candidate]))) >= THRESHOLD:
                copies.append((int(rows[index]), int(others[candidate])))
                break
    return copies


def jaccard(first: Numbers, second: Numbers) -> float:
    """Return the Jaccard index of two sets, each an array without repeats."""
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / max(1, len(first) + len(second) - shared)


def shingle_set(text: str) -> Numbers:
    """Return the shingles of a text of at least `SHINGLE` words as distinct numbers."""
    return np.unique(_shingles([_split(text)])[0])


def _shingle_reader(texts: Sequence[str]) -> Callable[[int], Numbers]:
    return lambda row: shingle_set(texts[row])


def _candidates(later: Signatures, earlier: Signatures) -> list[tuple[int, int]]:
    """Return pairs of indices with a band in common, by first index, then by descending number of common bands.

    Only the first and the last text with the same key are taken, so that whole families of copies cost no more.
    """
    size = max(1, len(earlier.rows))
    codes = [np.empty(0, dtype=np.int64)]
    for band in range(BANDS):
        keys, order = later.keys[:, band], np.argsort(earlier.keys[:, band], kind="stable")
        known = earlier.keys[order, band]
        begin, end = np.searchsorted(known, keys, side="left"), np.searchsorted(known, keys, side="right")
        if later is earlier:
            end[order] = np.arange(len(order))  # only the texts before this one
        (has_any,) = np.nonzero(begin < end)
        codes += [has_any * size + order[place[has_any]] for place in (begin, end - 1)]
    pairs, counts = np.unique(np.concatenate(codes), return_counts=True)
    ranked = np.lexsort((-counts, pairs // size))
    return list(zip((pairs[ranked] // size).tolist(), (pairs[ranked] % size).tolist(), strict=True))


# Hashing.


class _WordHashes(dict[str, int]):
    """The hash of each word, computed when it is first needed; all are forgotten when there are too many."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _KNOWN_WORDS:
            self.clear()
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[word] = value = int.from_bytes(digest, "little")
        return value


_hashes = _WordHashes()
# Functions x → a·x + b modulo 2^64 with odd a; x is random already. uint64 [BANDS · ROWS] each.
_A, _B = np.random.default_rng(1997).integers(0, 1 << 64, size=(2, BANDS * ROWS), dtype=np.uint64)
_A |= np.uint64(1)
_PLACES = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)  # odd; [SHINGLE]


def _split(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _chunks(texts: Sequence[str], chosen: NDArray[np.bool_]) -> Iterator[tuple[list[int], list[list[str]]]]:
    """Yield the rows and the words of some texts at a time."""
    rows: list[int] = []
    words: list[list[str]] = []
    size = 0
    for row, text in enumerate(texts):
        split = _split(text) if chosen[row] else []
        if len(split) >= MIN_WORDS:
            rows.append(row)
            words.append(split)
            size += len(split)
        if size >= _CHUNK:
            yield rows, words
            rows, words, size = [], [], 0
    if rows:
        yield rows, words


def _shingles(texts: list[list[str]]) -> tuple[Numbers, NDArray[np.int64]]:
    """Return the shingles of texts of at least `SHINGLE` words as numbers, uint64 [total], and where each text begins."""
    lengths = np.array([len(words) for words in texts], dtype=np.int64)
    hashes = np.fromiter(map(_hashes.__getitem__, chain.from_iterable(texts)), dtype=np.uint64, count=int(lengths.sum()))
    total = len(hashes) - SHINGLE + 1
    mixed = np.zeros(total, dtype=np.uint64)
    for place in range(SHINGLE):
        mixed += hashes[place : place + total] * _PLACES[place]
    owner = np.repeat(np.arange(len(texts)), lengths)
    within = owner[:total] == owner[SHINGLE - 1 :]
    starts = np.cumsum(lengths - SHINGLE + 1) - (lengths - SHINGLE + 1)
    return _mix(mixed[within]), starts


def _band_keys(shingles: Numbers, starts: NDArray[np.int64]) -> Numbers:
    """Return the key of each band, uint64 [texts, BANDS]."""
    keys = np.zeros((len(starts), BANDS), dtype=np.uint64)
    for number, (a, b) in enumerate(zip(_A, _B, strict=True)):
        least = np.minimum.reduceat(a * shingles + b, starts)
        band = number // ROWS
        keys[:, band] = _mix(keys[:, band] * _PLACES[0] + least)
    return keys


def _mix(values: Numbers) -> Numbers:
    """Spread every bit over the whole number: the last step of SplitMix64 (Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
