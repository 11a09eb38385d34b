"""Text → token ids: a tokenizer that is fitted, saved and loaded. Hugging Face `tokenizers` does the work inside.

What many encoded texts are kept in, and the cache of them, is in sequences.py.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import ClassVar, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models

from seqcls.data.preprocessor import Kind, Preprocessor, Truncating
from seqcls.data.rules import PAD_ID, RULES, SPECIALS, UNK_ID, find_rules, fit_bpe
from seqcls.errors import CheckpointError, ConfigError

_Item = TypeVar("_Item")

# The library's own results take some 100 bytes a word. So they are asked for, and dropped, a chunk of texts at a time, and
# a long text is cut into pieces, where the rules give the same words as for the whole: before a space between an ASCII
# letter or digit and an ASCII letter.
_CHUNK, _CHUNK_CHARACTERS = 2_000, 2_000_000
_PIECE = re.compile(r".{100000,}?[A-Za-z0-9](?= [A-Za-z])|.+", re.DOTALL)
_MOST_HOLES = 1000  # ids without a word that a small vocabulary of another program may have
VOCABULARY_BYTES = 100_000_000
"""Of more text than this, in characters, the vocabulary is made of an even sample."""


class TextTokenizer(Preprocessor):
    """Turns text into the ids of its words.

    The rules of ``word``, in their order:

    1. A lone surrogate, which is no character, becomes "?".
    2. An HTML line break (`<br>`, `<br/>`, `<br />`, in any case) becomes a space; other markup is text.
    3. Unicode normal form C; a right single quotation mark (U+2019, the typographic apostrophe) becomes "'".
    4. Lower case, character by character, whatever the language.
    5. Words are the longest runs of letters (Unicode category L), numbers (N) and marks (M), each starting with a
       letter or a number, and of apostrophes that stand between two such runs: "it's" and "rock'n'roll" are one word
       each, "'good'" gives "good", "dogs'" gives "dogs". Everything else (white space, punctuation with hyphen and
       underscore, symbols, emoji, control and format characters) separates words and is dropped. A script that puts
       no spaces between words gives one word a run.
    6. A word outside the vocabulary becomes ``UNK_ID``; a text with no word becomes one ``UNK_ID``. ``PAD_ID`` never
       occurs, and "[PAD]" and "[UNK]" in a text are the plain words "pad" and "unk".
    7. Of more than ``max_length`` ids, ``truncating`` says which are dropped: "pre" the first, "post" the last,
       "middle" those between a head of ceil(max_length / 2) and a tail of the rest.

    On English this is what Keras' text tokenizer gives, but for line breaks (there the word "br"), for quotes around
    words (kept there) and for typographic punctuation (part of words there).

    ``basic-english`` has, in place of rules 2 to 5, those of torchtext's tokenizer of that name: lower case; an
    apostrophe, full stop, comma, parenthesis, exclamation or question mark is a word of its own; a double quote is
    dropped; "<br />", ";" and ":" separate words, as white space does; everything else is part of a word. (Lower case
    goes character by character, so that a final "Σ" becomes "σ" and not "ς".)

    ``character`` takes each character (code point) of the NFC form, white space and case as they are. ``bpe`` is byte-level
    byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019): ``num_words`` subwords learnt from the training texts,
    beginning with the 256 bytes, so that no text has an unknown part; case and white space are kept.

    ``max_length`` and ``truncating`` are settings, kept with the others and not in tokenizer.json. That file holds the
    rules and the vocabulary, so that what was fitted by one version is read alike by the next. The tokenizer.json of any
    other program is read too: its ids move up by two, for padding and the unknown word, and its own unknown token becomes
    ours; it adds no tokens at the ends.
    """

    kind: ClassVar[Kind] = "text"

    def __init__(self, tokenizer: Tokenizer, *, max_length: int | None = None, truncating: Truncating = "middle") -> None:
        if max_length is not None and max_length < 1:
            raise ConfigError(f"max_length is {max_length}; give a number from 1, or none to keep all")
        if truncating not in get_args(Truncating):
            raise ConfigError(f"truncating is {truncating!r}; it takes one of: {', '.join(get_args(Truncating))}")
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.max_length = max_length
        self.truncating = truncating
        self._tokenizer = tokenizer
        rules = find_rules(tokenizer)
        self._has_our_rules = rules is not None
        self._split_ascii = None if rules is None else rules.split_ascii

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        *,
        num_words: int,
        rules: str = "word",
        max_length: int | None = None,
        truncating: Truncating = "middle",
    ) -> TextTokenizer:
        """Make the vocabulary of the most frequent words; of equally frequent ones, the first in code point order.

        Args:
            texts: The training texts; of more than `VOCABULARY_BYTES`, an even sample counts.
            num_words: Largest size of the vocabulary, padding and unknown word included.
            rules: How a text is cut into words: a name of `RULES`.
            max_length: Longest sequence, in ids; None keeps all.
            truncating: Where longer ones are cut.
        """
        if rules not in RULES:
            raise ConfigError(f"there are no tokenizer rules {rules!r}; there are: {', '.join(RULES)}")
        smallest = len(SPECIALS) + RULES[rules].alphabet
        if num_words < smallest:
            raise ConfigError(f"num_words is {num_words}; give at least {smallest}, for padding, unknown word and alphabet")
        sample = _even_sample(texts)
        if rules == "bpe":
            return cls(fit_bpe(map(_without_surrogates, sample), num_words), max_length=max_length, truncating=truncating)
        counts = cls(RULES[rules].new(), max_length=None)._count(sample)
        words = sorted(counts, key=lambda word: (-counts[word], word))[: num_words - len(SPECIALS)]
        return cls.from_words(words, rules=rules, max_length=max_length, truncating=truncating)

    @classmethod
    def from_words(
        cls, words: Iterable[str], *, rules: str = "word", max_length: int | None = None, truncating: Truncating = "middle"
    ) -> TextTokenizer:
        """Take a vocabulary as it is: padding and unknown word get the ids 0 and 1, ``words`` those from 2 on.

        Raises:
            ConfigError: A word occurs twice, or is a name of padding or of the unknown word.
        """
        # The specials come in by hand: special tokens of the library would be found in raw text.
        vocabulary = {word: index for index, word in enumerate([*SPECIALS, *words])}
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise ConfigError(f"the vocabulary has a word twice, or {' or '.join(SPECIALS)} in it, which come by themselves")
        tokenizer = RULES[rules].new()
        tokenizer.model = models.WordLevel(vocabulary, unk_token=SPECIALS[UNK_ID])
        return cls(tokenizer, max_length=max_length, truncating=truncating)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, max_length: int | None = None, truncating: Truncating = "middle"
    ) -> TextTokenizer:
        """Read a tokenizer.json, of `save` or of another program.

        Raises:
            CheckpointError: It is missing or damaged.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise CheckpointError(f"cannot read the tokenizer {path}: {error.strerror}") from error
        return cls.from_json(data, path, max_length=max_length, truncating=truncating)

    @classmethod
    def from_json(
        cls, data: bytes, path: str | os.PathLike[str], *, max_length: int | None = None, truncating: Truncating = "middle"
    ) -> TextTokenizer:
        """Read the content of the file ``path``; raises like `load`."""
        try:
            tokenizer = Tokenizer.from_buffer(data)
        except Exception as error:  # tokenizers raises nothing more special
            raise CheckpointError(f"cannot read the tokenizer {path}: {error}") from error
        numbers = tokenizer.get_vocab().values()
        if not numbers:
            raise CheckpointError(f"the tokenizer {path} has no vocabulary")
        if max(numbers) >= 2 * len(numbers) + _MOST_HOLES:  # a list of all ids could be larger than memory
            raise CheckpointError(f"the tokenizer {path} has {len(numbers):,} words, but the id {max(numbers):,}")
        return cls(tokenizer, max_length=max_length, truncating=truncating)

    @property
    def input_size(self) -> int:
        """The number of ids, padding and unknown word included."""
        return len(self.words())

    def words(self) -> list[str]:
        """Return the vocabulary: the word of each id."""
        return list(self._words)

    def encode(self, text: str) -> NDArray[np.int32]:
        """Return the ids of a text: int32 [T], T from 1 to ``max_length``."""
        return self.encode_batch([text])[0]

    def encode_with_spans(self, text: str) -> tuple[NDArray[np.int32], NDArray[np.int64], int]:
        """Encode a text, and tell where in it each id comes from.

        Returns:
            The ids, int32 [T], as `encode` gives them; spans, int64 [T, 2], such that text[start:end] became an id, 0 and 0
            for the unknown word of a text without one; and how many ids there were before truncation.
        """
        ids, spans, place = [], [], 0
        for piece in self._pieces(_without_surrogates(text)):
            encoding = self._tokenizer.encode(piece, add_special_tokens=False)
            ids += encoding.ids if self._new_id is None else [self._new_id[number] for number in encoding.ids]
            spans += [(place + start, place + end) for start, end in encoding.offsets]
            place += len(piece)
        kept, places = self._truncate(ids or [UNK_ID]), self._truncate(spans or [(0, 0)])
        return np.array(kept, dtype=np.int32), np.array(places, dtype=np.int64), max(1, len(ids))

    def encode_chunks(self, texts: Iterable[str]) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
        """Yield the ids of some texts at a time, int32 [total of the chunk], and their lengths, int64."""
        for chunk in chunks_of(map(_without_surrogates, texts)):
            found = [self._truncate(ids or [UNK_ID]) for ids in self._encode(chunk)]
            lengths = np.fromiter(map(len, found), dtype=np.int64, count=len(found))
            yield np.fromiter(chain.from_iterable(found), dtype=np.int32, count=int(lengths.sum())), lengths

    def _encode(self, texts: list[str]) -> list[list[int]]:
        """Encode texts whole; ASCII by Python's own expressions where the rules are ours, which is faster."""
        split, ids = self._split_ascii, self._ids
        fast = [split is not None and text.isascii() for text in texts]
        slow = iter(self._encode_slowly([text for text, is_fast in zip(texts, fast, strict=True) if not is_fast]))
        return [
            [ids.get(word, UNK_ID) for word in self._truncate(split(text))] if is_fast and split is not None else next(slow)
            for text, is_fast in zip(texts, fast, strict=True)
        ]

    def _encode_slowly(self, texts: list[str]) -> list[list[int]]:
        pieces = [self._pieces(text) for text in texts]
        found: list[list[int]] = []
        for chunk in chunks_of(chain.from_iterable(pieces)):
            try:
                encodings = self._tokenizer.encode_batch_fast(chunk, add_special_tokens=False)
            except Exception as error:  # tokenizers raises nothing more special
                raise CheckpointError(f"the tokenizer that was loaded cannot encode some text: {error}") from error
            found += [encoding.ids for encoding in encodings]
        new_id, parts = self._new_id, iter(found)
        joined = [list(chain.from_iterable(islice(parts, len(own)))) for own in pieces]
        return joined if new_id is None else [[new_id[number] for number in numbers] for numbers in joined]

    def _pieces(self, text: str) -> list[str]:
        return _PIECE.findall(text) if self._has_our_rules and len(text) > 100_000 else [text]

    def _count(self, texts: Iterable[str]) -> Counter[str]:
        counts: Counter[str] = Counter()
        for text in map(_without_surrogates, texts):
            if self._split_ascii is not None and text.isascii():
                counts.update(self._split_ascii(text))
            else:
                for piece in self._pieces(text):
                    counts.update(_words_of(self._tokenizer, piece))
        return counts

    @cached_property
    def _words(self) -> list[str]:
        """The word of each id; that of another program's id where there is none is empty."""
        vocabulary = self._tokenizer.get_vocab()
        if self._new_id is None:
            return sorted(vocabulary, key=vocabulary.__getitem__)
        words = [*SPECIALS, *[""] * (1 + max(vocabulary.values()))]
        for word, index in vocabulary.items():
            words[index + len(SPECIALS)] = word
        return words

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self._words)}

    @cached_property
    def _new_id(self) -> list[int] | None:
        """Our id of each id of another program's tokenizer; None where the ids are ours already."""
        vocabulary = self._tokenizer.get_vocab()
        if [vocabulary.get(special) for special in SPECIALS] == [PAD_ID, UNK_ID] and not (
            self._tokenizer.get_added_tokens_decoder() or sorted(vocabulary.values()) != list(range(len(vocabulary)))
        ):
            return None
        new_ids = [index + len(SPECIALS) for index in range(1 + max(vocabulary.values()))]
        unknown = vocabulary.get(_unknown_token(self._tokenizer))
        if unknown is not None:
            new_ids[unknown] = UNK_ID
        return new_ids

    def _truncate(self, ids: list[_Item]) -> list[_Item]:
        if self.max_length is None or len(ids) <= self.max_length:
            return ids
        head = {"pre": 0, "post": self.max_length, "middle": (self.max_length + 1) // 2}[self.truncating]
        return ids[:head] + ids[len(ids) - (self.max_length - head) :]

    def to_json(self) -> str:
        """Return the content of tokenizer.json, which `tokenizers.Tokenizer.from_file` reads too."""
        return self._tokenizer.to_str(pretty=True)


def _unknown_token(tokenizer: Tokenizer) -> str:
    model = json.loads(tokenizer.to_str())["model"]
    if model.get("unk_id") is not None:  # a unigram model names a place in its list
        return str(model["vocab"][model["unk_id"]][0])
    return str(model.get("unk_token"))


def _words_of(tokenizer: Tokenizer, text: str) -> list[str]:
    normalized = tokenizer.normalizer.normalize_str(text)
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalized)]


def _even_sample(texts: Sequence[str]) -> Iterable[str]:
    """Return all texts, or every n-th if they are too many; judged by the first thousand and the number."""
    head = list(islice(texts, 1000))
    size = len(texts) * sum(map(len, head)) / max(1, len(head))
    step = -(-int(size) // VOCABULARY_BYTES) or 1
    return islice(texts, 0, None, step)


def chunks_of(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield texts in lists, neither too many nor too long together."""
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


def _without_surrogates(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
