"""The text tokenizer, which turns texts into ids of words. Hugging Face's `tokenizers` does the work inside."""

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

from seqcls.data.chunks import chunks_of, even_sample
from seqcls.data.preprocessor import Kind, Preprocessor, Truncating
from seqcls.data.rules import PAD_ID, RULES, SPECIALS, UNK_ID, find_rules, fit_bpe
from seqcls.errors import CheckpointError, ConfigError

_Item = TypeVar("_Item")

# The library's results take some 100 bytes per word. To bound memory, texts are encoded in chunks, and a long text is cut
# into pieces where the rules give the same words as for the whole: before a space between an ASCII letter or digit and an
# ASCII letter.
_PIECE = re.compile(r".{100000,}?[A-Za-z0-9](?= [A-Za-z])|.+", re.DOTALL)
_MOST_HOLES = 1000  # how many ids without a word the vocabulary of another program may have


class TextTokenizer(Preprocessor):
    """Turns text into the ids of its words.

    The rules ``word``, in the order in which they apply:

    1. A lone surrogate, which is not a character, becomes "?".
    2. An HTML line break (`<br>`, `<br/>`, `<br />`, in any case) becomes a space; other markup is text.
    3. The text is put into Unicode normal form C; a right single quotation mark (U+2019, the typographic apostrophe)
       becomes "'".
    4. Characters become lower case one by one, whatever the language.
    5. Words are the longest runs of letters (Unicode category L), numbers (N) and marks (M), each starting with a
       letter or a number, joined by apostrophes that stand between two such runs: "it's" and "rock'n'roll" are one word
       each, "'good'" gives "good", "dogs'" gives "dogs". Everything else (white space, punctuation including hyphens and
       underscores, symbols, emoji, control and format characters) separates words and is dropped. A script that puts no
       spaces between words gives one word per run.
    6. A word outside the vocabulary becomes ``UNK_ID``; a text without words becomes one ``UNK_ID``. ``PAD_ID`` never
       occurs, and "[PAD]" and "[UNK]" in a text are the plain words "pad" and "unk".
    7. If there are more than ``max_length`` ids, ``truncating`` says which ones are dropped: "pre" the first, "post" the
       last, "middle" those between a head of ceil(max_length / 2) ids and a tail of the rest.

    On English text this agrees with Keras' text tokenizer, except that Keras reads a line break as the word "br", keeps
    quotes around words, and makes typographic punctuation part of words.

    The rules ``basic-english`` replace steps 2 to 5 by those of torchtext's tokenizer of that name: lower case; an
    apostrophe, full stop, comma, parenthesis, exclamation mark or question mark is a word of its own; a double quote is
    dropped; "<br />", ";" and ":" separate words, as white space does; everything else is part of a word. (Characters
    become lower case one by one, so that a final "Σ" becomes "σ" and not "ς".)

    The rules ``character`` make each character (code point) of the NFC form a word, including white space, and keep the
    case. The rules ``bpe`` are byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019): ``vocab_size``
    subwords learnt from the training texts, beginning with the 256 bytes, so that no part of a text is unknown; case and
    white space are kept.

    The file tokenizer.json holds the rules and the vocabulary, so that every version reads it in the same way;
    ``max_length`` and ``truncating`` are settings, and are saved with the other settings. A tokenizer.json of another
    program can be read as well: its ids move up by two, to make room for padding and the unknown word, its own unknown
    token becomes ours, and no tokens are added at the ends.
    """

    kind: ClassVar[Kind] = "text"

    def __init__(self, tokenizer: Tokenizer, *, max_length: int | None = None, truncating: Truncating = "middle") -> None:
        if max_length is not None and max_length < 1:
            raise ConfigError(f"max_length is {max_length}; give a number from 1, or none to keep all ids")
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
        vocab_size: int,
        rules: str = "word",
        max_length: int | None = None,
        truncating: Truncating = "middle",
    ) -> TextTokenizer:
        """Fit the vocabulary: the most frequent words; among equally frequent ones, the first in code point order.

        Args:
            texts: The training texts; beyond `seqcls.data.chunks.VOCABULARY_BYTES`, an even sample of them.
            vocab_size: Largest size of the vocabulary, including padding and the unknown word.
            rules: How a text is split into words: a name in `RULES`.
            max_length: Length of the longest sequence, in ids; None keeps all ids.
            truncating: Where longer sequences are cut.

        Raises:
            ConfigError: There are no such rules, or the vocabulary is too small for them.
        """
        if rules not in RULES:
            raise ConfigError(f"unknown tokenizer rules {rules!r}; there are: {', '.join(RULES)}")
        smallest = len(SPECIALS) + RULES[rules].alphabet
        if vocab_size < smallest:
            raise ConfigError(
                f"vocab_size is {vocab_size}; give at least {smallest}, for padding, unknown word and alphabet"
            )
        sample = even_sample(texts)
        if rules == "bpe":
            return cls(
                fit_bpe(map(_without_surrogates, sample), vocab_size=vocab_size),
                max_length=max_length,
                truncating=truncating,
            )
        counts = cls(RULES[rules].new(), max_length=None)._count(sample)
        words = sorted(counts, key=lambda word: (-counts[word], word))[: vocab_size - len(SPECIALS)]
        return cls.from_words(words, rules=rules, max_length=max_length, truncating=truncating)

    @classmethod
    def from_words(
        cls, words: Iterable[str], *, rules: str = "word", max_length: int | None = None, truncating: Truncating = "middle"
    ) -> TextTokenizer:
        """Build a tokenizer from a vocabulary: padding and the unknown word get the ids 0 and 1, ``words`` the ids from 2.

        Raises:
            ConfigError: A word occurs twice, or is the name of padding or of the unknown word.
        """
        # The specials are plain words: special tokens of the library would be recognized in raw text.
        vocabulary = {word: index for index, word in enumerate([*SPECIALS, *words])}
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise ConfigError(f"the vocabulary has a word twice, or {' or '.join(SPECIALS)}, which are added automatically")
        tokenizer = RULES[rules].new()
        tokenizer.model = models.WordLevel(vocabulary, unk_token=SPECIALS[UNK_ID])
        return cls(tokenizer, max_length=max_length, truncating=truncating)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, max_length: int | None = None, truncating: Truncating = "middle"
    ) -> TextTokenizer:
        """Read a tokenizer.json that `save` or another program wrote.

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
        except Exception as error:  # tokenizers raises no narrower class
            raise CheckpointError(f"cannot read the tokenizer {path}: {error}") from error
        numbers = tokenizer.get_vocab().values()
        if not numbers:
            raise CheckpointError(f"the tokenizer {path} has no vocabulary")
        if max(numbers) >= 2 * len(numbers) + _MOST_HOLES:  # a list of all ids might not fit in memory
            raise CheckpointError(f"the tokenizer {path} has {len(numbers):,} words, but the id {max(numbers):,}")
        return cls(tokenizer, max_length=max_length, truncating=truncating)

    @property
    def input_size(self) -> int:
        """The number of ids, including padding and the unknown word."""
        return len(self.words())

    @property
    def id_offset(self) -> int:
        """By how much the ids are higher than those in tokenizer.json: 2 for that of another program, otherwise 0."""
        return 0 if self._new_id is None else len(SPECIALS)

    def words(self) -> list[str]:
        """Return the vocabulary: the word of each id, in the order of the ids."""
        return list(self._words)

    def encode(self, text: str) -> NDArray[np.int32]:
        """Return the ids of a text: int32 [T], T from 1 to ``max_length``."""
        return self.encode_batch([text])[0]

    def encode_with_spans(self, text: str) -> tuple[NDArray[np.int32], NDArray[np.int64], int]:
        """Encode a text and tell where each id comes from; see `Preprocessor.encode_with_spans`.

        The span of the unknown word that stands for a text without words is 0 to 0.
        """
        ids, spans, begin = [], [], 0
        for piece in self._pieces(_without_surrogates(text)):
            encoding = self._tokenizer.encode(piece, add_special_tokens=False)
            ids += encoding.ids if self._new_id is None else [self._new_id[index] for index in encoding.ids]
            spans += [(begin + start, begin + end) for start, end in encoding.offsets]
            begin += len(piece)
        kept_ids, kept_spans = self._truncate(ids or [UNK_ID]), self._truncate(spans or [(0, 0)])
        return np.array(kept_ids, dtype=np.int32), np.array(kept_spans, dtype=np.int64), max(1, len(ids))

    def encode_chunks(self, texts: Iterable[str]) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
        """Yield the ids of some texts at a time, int32 [total of the chunk], and their lengths, int64.

        The library encodes on all cores; TOKENIZERS_PARALLELISM=false keeps the work on one thread.
        """
        for chunk in chunks_of(map(_without_surrogates, texts)):
            encoded = [self._truncate(ids or [UNK_ID]) for ids in self._encode(chunk)]
            lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
            yield np.fromiter(chain.from_iterable(encoded), dtype=np.int32, count=int(lengths.sum())), lengths

    def _encode(self, texts: list[str]) -> list[list[int]]:
        """Encode texts, faster if they are ASCII and the rules are ours: then Python's own expressions find the words."""
        split, ids = self._split_ascii, self._ids
        fast = [split is not None and text.isascii() for text in texts]
        slow = iter(self._encode_slowly([text for text, is_fast in zip(texts, fast, strict=True) if not is_fast]))
        return [
            [ids.get(word, UNK_ID) for word in self._truncate(split(text))] if is_fast and split is not None else next(slow)
            for text, is_fast in zip(texts, fast, strict=True)
        ]

    def _encode_slowly(self, texts: list[str]) -> list[list[int]]:
        pieces = [self._pieces(text) for text in texts]
        encoded: list[list[int]] = []
        for chunk in chunks_of(chain.from_iterable(pieces)):
            try:
                encodings = self._tokenizer.encode_batch_fast(chunk, add_special_tokens=False)
            except Exception as error:  # tokenizers raises no narrower class
                raise CheckpointError(f"the tokenizer that was loaded cannot encode a text: {error}") from error
            encoded += [encoding.ids for encoding in encodings]
        new_id, remaining = self._new_id, iter(encoded)
        joined = [list(chain.from_iterable(islice(remaining, len(parts)))) for parts in pieces]
        return joined if new_id is None else [[new_id[index] for index in ids] for ids in joined]

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
        """The word of each id; an empty string for an id of another program that has no word."""
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
        """Our id for each id of another program's tokenizer; None if the ids are ours already."""
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
        """Return the content of tokenizer.json, which `tokenizers.Tokenizer.from_file` also reads."""
        return self._json

    @cached_property
    def _json(self) -> str:
        # Kept, since each checkpoint holds it, and that of a large vocabulary takes a tenth of a second to make.
        return self._tokenizer.to_str(pretty=True)


def _unknown_token(tokenizer: Tokenizer) -> str:
    model = json.loads(tokenizer.to_str())["model"]
    if model.get("unk_id") is not None:  # a unigram model gives an index into its list
        return str(model["vocab"][model["unk_id"]][0])
    return str(model.get("unk_token"))


def _words_of(tokenizer: Tokenizer, text: str) -> list[str]:
    normalized = tokenizer.normalizer.normalize_str(text)
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalized)]


def _without_surrogates(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
