"""N-grams of words and of characters: what the wide path of a network reads beside the token ids."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqcls.data.chunks import chunks_of, even_sample
from seqcls.errors import CheckpointError
from seqcls.system.untrusted import GARBLED

Ints = NDArray[np.int64]

MAX_WORDS, MAX_CHARACTERS = 5, 8
"""The longest n-grams that a vocabulary may have."""

_LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
# Punctuation beyond ASCII, symbols, arrows and emoji; all else beyond ASCII is part of a word, combining marks included.
_SYMBOLS = (
    "\u00a1-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7\u2000-\u206f\u20a0-\u2bff"
    "\u3000-\u3004\u3008-\u3030\uff01-\uff0f\U0001f000-\U0001faff"
)
_LETTERS = rf"(?:[A-Za-z0-9_]|[^\x00-\x7f\s{_SYMBOLS}])+"
# Every visible character that is in no word is a word by itself: "!" and "?" tell a lot about a review.
_WORD = re.compile(rf"{_LETTERS}(?:['\u2019]{_LETTERS})*|\S")
_EDGE = 1  # the hash of what stands before the first word and after the last one
_BEGIN, _END = "\x02", "\x03"  # around the characters of a word
_CHARACTERS = 1 << 62  # marks the keys of character n-grams, so that they come after those of words
_MASK = np.uint64(_CHARACTERS - 1)
_MULTIPLIER, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)  # of SplitMix64 (Steele et al. 2014)


@dataclass(frozen=True, eq=False)
class NgramVocabulary:
    """The n-grams of words and of characters that a model knows.

    Word n-grams reach over the words of a text in lower case; punctuation marks are words, and a text has an edge before its
    first word and after its last one. Character n-grams lie inside words, which have an edge at either end. An n-gram is
    known by a hash of 62 bits, so that a million n-grams take 8 MB, and two of them hardly ever share a key. To the wide
    path, a text is the set of its known n-grams.

    Attributes:
        keys: int64 [F], ascending, those of words before those of characters; the id of an n-gram is its index.
        max_words: The longest n-gram of words.
        max_characters: The longest n-gram of characters; 0 for none. The shortest has two.

    Example:
        >>> ngrams = NgramVocabulary.fit(["a fine film", "a dull film"], max_words=2, max_characters=0)
        >>> ngrams.encode_batch(["a fine day"])[1]  # the edge and "a", "a", "a fine", "fine"
        array([4])
    """

    keys: Ints
    max_words: int
    max_characters: int

    @classmethod
    def fit(
        cls, texts: Sequence[str], *, max_words: int, max_characters: int, min_count: int = 1, max_size: int | None = None
    ) -> NgramVocabulary:
        """Keep the most frequent n-grams; among equally frequent ones, those with the lowest keys.

        Args:
            texts: The training texts; of very many, an even sample is read.
            max_words: The longest n-gram of words, from 1.
            max_characters: The longest n-gram of characters; 0 for none.
            min_count: How often an n-gram must occur.
            max_size: The most n-grams to keep; None keeps all.
        """
        empty = cls(np.empty(0, dtype=np.int64), max_words, max_characters)
        keys, counts = empty.keys, np.empty(0, dtype=np.int64)
        for chunk in chunks_of(even_sample(texts)):
            found, found_counts = np.unique(empty._keys_of(chunk)[1], return_counts=True)
            keys, index = np.unique(np.concatenate([keys, found]), return_inverse=True)
            counts = np.bincount(index, weights=np.concatenate([counts, found_counts])).astype(np.int64)
        keys, counts = keys[counts >= min_count], counts[counts >= min_count]
        if max_size is not None and len(keys) > max_size:
            keys = np.sort(keys[np.argsort(-counts, kind="stable")[:max_size]])
        return cls(keys, max_words, max_characters)

    @classmethod
    def from_safetensors(cls, data: bytes, path: Path) -> NgramVocabulary:
        """Read the content of the file ``path``, which `to_safetensors` made; CheckpointError if it is damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = load(data)
            keys, longest = arrays["keys"], arrays["longest"]
            max_words, max_characters = map(int, longest)
            if keys.dtype != np.int64 or keys.ndim != 1 or np.any(keys[1:] <= keys[:-1]) or not 1 <= max_words <= MAX_WORDS:
                raise ValueError("its keys are not ascending, or its n-grams too long")
            if not 0 <= max_characters <= MAX_CHARACTERS:
                raise ValueError("its n-grams are too long")
        except (SafetensorError, *GARBLED) as error:
            raise CheckpointError(f"{path} does not hold n-grams: {error}; copy or download it again") from error
        return cls(keys, max_words, max_characters)

    def to_safetensors(self) -> bytes:
        """Return the content of ngrams.safetensors: the keys, int64 [F], and the longest n-grams, int64 [2]."""
        from safetensors.numpy import save

        return save({"keys": self.keys, "longest": np.array([self.max_words, self.max_characters], dtype=np.int64)})

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def num_words(self) -> int:
        """The number of word n-grams, which is the id of the first character n-gram."""
        return int(np.searchsorted(self.keys, _CHARACTERS))

    def encode_batch(self, texts: Iterable[str]) -> tuple[NDArray[np.int32], Ints]:
        """Return the ids of the n-grams of N texts, int32 [total], and the number of each text's n-grams, int64 [N]."""
        parts = list(self.encode_chunks(texts))
        ids = [np.empty(0, dtype=np.int32), *(ids for ids, _ in parts)]
        return np.concatenate(ids), np.concatenate([np.empty(0, dtype=np.int64), *(numbers for _, numbers in parts)])

    def encode_chunks(self, texts: Iterable[str]) -> Iterator[tuple[NDArray[np.int32], Ints]]:
        """Yield, for some texts at a time, the ids of their n-grams, each once per text and ascending, and their numbers."""
        size = max(1, len(self))
        for chunk in chunks_of(texts):
            rows, keys = self._keys_of(chunk)
            ids, is_known = self._ids_of(keys)
            rows, ids = np.divmod(_unique(rows[is_known] * size + ids[is_known]), size)
            yield ids.astype(np.int32), np.bincount(rows, minlength=len(chunk)).astype(np.int64)

    def encode_with_spans(self, text: str) -> tuple[NDArray[np.int32], Ints]:
        """Return every occurrence of a known n-gram: ids, int32 [M], and its place text[start:end] as int64 [M, 2]."""
        words = list(_WORD.finditer(_spaced(text)))
        starts = np.array([0, *(word.start() for word in words), len(text)])  # of the edges, too
        ends = np.array([0, *(word.end() for word in words), len(text)])
        tokens = _Tokens([text])
        keys, spans = [], []
        for n, (_, part, index) in enumerate(tokens.word_ngrams(self.max_words), 1):
            first, last = index, index + n - 1
            keys.append(part)
            # An edge has no extent.
            begin = np.where(first == 0, starts[np.minimum(first + 1, len(starts) - 1)], starts[first])
            end = np.where(last == len(starts) - 1, ends[np.maximum(last - 1, 0)], ends[last])
            spans.append(np.stack([begin, np.maximum(begin, end)], axis=1))
        for n, part, index, offset in tokens.character_ngrams(self.max_characters):
            begin = starts[index + 1] + np.maximum(offset - 1, 0)  # the first character of a word is its edge
            keys.append(part)
            spans.append(np.stack([begin, np.minimum(starts[index + 1] + offset + n - 1, ends[index + 1])], axis=1))
        ids, is_known = self._ids_of(np.concatenate(keys))
        return ids[is_known].astype(np.int32), np.concatenate(spans)[is_known]

    def words_of(self, text: str) -> Ints:
        """Return where the words of a text lie, punctuation marks included, int64 [T, 2]."""
        return np.array([word.span() for word in _WORD.finditer(_spaced(text))], dtype=np.int64).reshape(-1, 2)

    def _keys_of(self, texts: list[str]) -> tuple[Ints, Ints]:
        """Return every n-gram of some texts: the indices of the texts, and the keys, both int64 [M]."""
        tokens = _Tokens(texts)
        parts = [(rows, keys) for rows, keys, _ in tokens.word_ngrams(self.max_words)]
        parts += [(tokens.rows[index], keys) for _, keys, index, _ in tokens.character_ngrams(self.max_characters)]
        return np.concatenate([rows for rows, _ in parts]), np.concatenate([keys for _, keys in parts])

    def _ids_of(self, keys: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Return the ids of n-grams, arbitrary for unknown ones, and whether they are known."""
        if not len(self):
            return np.zeros(len(keys), dtype=np.int64), np.zeros(len(keys), dtype=np.bool_)
        different, index = np.unique(keys, return_inverse=True)  # a search in order stays in the processor's cache
        ids = np.minimum(np.searchsorted(self.keys, different), len(self) - 1)
        return ids[index], (self.keys[ids] == different)[index]


class _Tokens:
    """The words of some texts, each different word once, and the n-grams of and in them.

    Attributes:
        words: The different words.
        index: int64 [T], the word of each token.
        rows: int64 [T], the text of each token.
    """

    def __init__(self, texts: list[str]) -> None:
        numbers: defaultdict[str, int] = defaultdict(count().__next__)
        split = [_WORD.findall(_spaced(text)) for text in texts]
        lengths = np.fromiter(map(len, split), dtype=np.int64, count=len(texts))
        raw = np.fromiter((numbers[word] for word in chain.from_iterable(split)), dtype=np.int64, count=int(lengths.sum()))
        self.rows = np.repeat(np.arange(len(texts)), lengths)
        # Normalized once per different word, not per token.
        normalized: defaultdict[str, int] = defaultdict(count().__next__)
        of_raw = np.array([normalized[_normalize(word)] for word in numbers], dtype=np.int64)
        self.words, self.index = list(normalized), of_raw[raw] if len(raw) else raw
        self._lengths = lengths

    def word_ngrams(self, max_n: int) -> Iterator[tuple[Ints, Ints, Ints]]:
        """Yield, for each n, the texts of the n-grams, their keys, and where they begin among the tokens and edges."""
        hashes = np.array([_hash(word) for word in self.words], dtype=np.uint64)
        ends = np.cumsum(self._lengths + 2) - 1  # the places of the last edges
        rows = np.repeat(np.arange(len(ends)), self._lengths + 2)
        is_edge = np.zeros(len(rows), dtype=np.bool_)
        is_edge[ends] = is_edge[ends - self._lengths - 1] = True
        words = np.full(len(rows), _EDGE, dtype=np.uint64)
        words[~is_edge] = hashes[self.index] if len(self.index) else words[:0]
        keys, begin = words, np.flatnonzero(~is_edge)
        yield rows[begin], _as_keys(keys[begin]), begin
        for n in range(2, max_n + 1):
            keys = _mixed(keys[:-1] * _MULTIPLIER + words[n - 1 :])
            begin = np.flatnonzero(rows[: len(keys)] == rows[n - 1 :])
            yield rows[begin], _as_keys(keys[begin]), begin

    def character_ngrams(self, max_n: int) -> Iterator[tuple[int, Ints, Ints, Ints]]:
        """Yield, for each n, n and the keys of the n-grams, the indices of their tokens, and where they begin in these."""
        framed = [f"{_BEGIN}{word}{_END}" for word in self.words]
        characters = np.frombuffer("".join(framed).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
        lengths = np.fromiter(map(len, framed), dtype=np.int64, count=len(framed))
        word_of, starts = np.repeat(np.arange(len(framed)), lengths), np.cumsum(lengths) - lengths
        keys = characters
        for n in range(2, max_n + 1):
            keys = _mixed(keys[:-1] * _MULTIPLIER + characters[n - 1 :] + np.uint64(n))
            places = np.flatnonzero(word_of[: len(keys)] == word_of[n - 1 :])
            numbers = np.bincount(word_of[places], minlength=len(framed))  # of n-grams in each word
            firsts = np.cumsum(numbers) - numbers
            per_token = numbers[self.index]
            token = np.repeat(np.arange(len(self.index)), per_token)
            shift = firsts[self.index] - (np.cumsum(per_token) - per_token)
            chosen = places[np.arange(len(token)) + np.repeat(shift, per_token)]
            yield n, _as_keys(keys[chosen]) | _CHARACTERS, token, chosen - starts[self.index[token]]


def _spaced(text: str) -> str:
    """Return a text with spaces for HTML line breaks; every character keeps its place."""
    return _LINE_BREAK.sub(lambda match: " " * len(match.group()), text) if "<" in text else text


def _normalize(word: str) -> str:
    return word.lower() if word.isascii() else unicodedata.normalize("NFC", word).lower().replace("\u2019", "'")


def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the values with their bits spread; every different value stays different."""
    values = (values ^ (values >> np.uint64(30))) * _MIX
    return values ^ (values >> np.uint64(27))


def _unique(values: Ints) -> Ints:
    """Return the different values, ascending; NumPy's own function hashes integers, which takes five times as long."""
    values = np.sort(values)
    is_first = np.ones(len(values), dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=is_first[1:])
    return values[is_first]


def _as_keys(hashes: NDArray[np.uint64]) -> Ints:
    return (hashes & _MASK).astype(np.int64)
