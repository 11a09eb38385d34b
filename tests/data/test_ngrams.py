"""N-grams of words and characters: which there are, where they lie, and that they are found again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqcls.data.ngrams import NgramVocabulary
from seqcls.errors import CheckpointError

TEXTS = ["A fine film!", "a dull film", "Not a good film, though"]


def fit(texts: list[str], *, words: int = 2, characters: int = 3, **options: int) -> NgramVocabulary:
    return NgramVocabulary.fit(texts, max_words=words, max_characters=characters, **options)


def found(vocabulary: NgramVocabulary, text: str) -> list[str]:
    _, spans = vocabulary.encode_with_spans(text)
    return [text[start:end] for start, end in spans.tolist()]


def test_the_ngrams_of_words_reach_over_words_punctuation_and_the_edges_of_a_text() -> None:
    vocabulary = fit(["A fine film!"], characters=0)
    # Four words, and five pairs, of which the first and the last contain an edge.
    assert len(vocabulary) == vocabulary.num_words == 9
    assert found(vocabulary, "a FINE film !") == ["a", "FINE", "film", "!", "a", "a FINE", "FINE film", "film !", "!"]
    assert found(vocabulary, "film fine") == ["film", "fine"]


def test_the_ngrams_of_characters_lie_inside_words_with_their_edges() -> None:
    vocabulary = fit(["film"], words=1, characters=3)
    assert found(vocabulary, "film") == ["film", "f", "fi", "il", "lm", "m", "fi", "fil", "ilm", "lm"]
    assert found(vocabulary, "filthy") == ["f", "fi", "il", "fi", "fil"]  # not the "lm" of an end, nor the whole word
    assert len(vocabulary) - vocabulary.num_words == 9


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_a_text_is_the_set_of_its_occurrences_whatever_stands_beside_it(texts: list[str]) -> None:
    vocabulary = fit(texts[::2])
    ids, lengths = vocabulary.encode_batch(texts)
    for text, own in zip(texts, np.split(ids, np.cumsum(lengths)[:-1]), strict=True):
        occurrences, spans = vocabulary.encode_with_spans(text)
        assert sorted(set(occurrences.tolist())) == own.tolist()
        assert vocabulary.encode_batch([text])[0].tolist() == own.tolist()
        assert np.all((spans[:, 0] >= 0) & (spans[:, 0] <= spans[:, 1]) & (spans[:, 1] <= len(text)))


@pytest.mark.parametrize(
    ("texts", "same"),
    [
        (("naïve", "nai\u0308ve"), True),  # composed and decomposed
        (("it’s", "it's"), True),
        (("FILM", "film"), True),
        (("good<br />film", "good film"), True),
        (("हिंदी", "हद"), False),  # vowel signs are part of the word
        (("film!", "film"), False),
    ],
)
def test_what_counts_as_the_same_word(texts: tuple[str, str], same: bool) -> None:
    vocabulary = fit(list(texts), characters=0)
    first, second = (vocabulary.encode_batch([text])[0].tolist() for text in texts)
    assert (first == second) == same


def test_the_most_frequent_ngrams_are_kept() -> None:
    vocabulary = fit(TEXTS, words=1, characters=0, max_size=2)
    assert found(vocabulary, TEXTS[2]) == ["a", "film"]
    assert found(fit(TEXTS, words=1, characters=0, min_count=3), TEXTS[2]) == ["a", "film"]


def test_keys_are_the_same_everywhere() -> None:
    def mix(value: int) -> int:  # SplitMix64, in Python's integers
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        return value ^ value >> 27

    word = int.from_bytes(hashlib.blake2b(b"film", digest_size=8).digest(), "little")
    pairs = [mix((first * 0x9E3779B97F4A7C15 + second) % 2**64) for first, second in ((1, word), (word, 1))]
    assert fit(["film"], characters=0).keys.tolist() == sorted(key % 2**62 for key in (word, *pairs))


def test_a_file_brings_the_vocabulary_back_and_damage_is_refused(tmp_path: Path) -> None:
    vocabulary = fit(TEXTS)
    data = vocabulary.to_safetensors()
    copy = NgramVocabulary.from_safetensors(data, tmp_path / "ngrams.safetensors")
    assert (copy.keys == vocabulary.keys).all()
    assert (copy.max_words, copy.max_characters) == (2, 3)
    reordered = NgramVocabulary(vocabulary.keys[::-1].copy(), 2, 3).to_safetensors()
    for damaged in (data[:-1], b"", reordered, NgramVocabulary(vocabulary.keys, 9, 3).to_safetensors()):
        with pytest.raises(CheckpointError, match=r"ngrams\.safetensors"):
            NgramVocabulary.from_safetensors(damaged, tmp_path / "ngrams.safetensors")
