"""Text → token ids: a tokenizer that is fitted, saved and loaded. Hugging Face `tokenizers` does the work inside.

What many encoded texts are kept in, and the cache of them, is in sequences.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.trainers import WordLevelTrainer

from seqcls.errors import CheckpointError, ConfigError
from seqcls.files import replace_file

Truncating = Literal["pre", "post", "middle"]

PAD_ID = 0
UNK_ID = 1
SPECIALS = ("[PAD]", "[UNK]")  # at their ids; brackets separate words, so that no text contains these as words

_LINE_BREAK = r"(?i)<br\s*/?>"
_PART = r"[\p{L}\p{N}][\p{L}\p{N}\p{M}]*"
_WORD = rf"{_PART}(?:'{_PART})*"
_BASIC_ENGLISH_SPACE = r"[\s\x1c-\x1f;:]+"  # Python counts four control characters among white space
_CHUNK = 2_000  # texts; the library's own results take some 100 bytes a word and are dropped after each chunk


class TextTokenizer:
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

    ``max_length`` and ``truncating`` are settings, kept with the others and not in tokenizer.json. That file holds
    rules 2 to 5 and the vocabulary, so that what was fitted by one version is read alike by the next.
    """

    def __init__(self, tokenizer: Tokenizer, *, max_length: int | None, truncating: Truncating) -> None:
        if max_length is not None and max_length < 1:
            raise ConfigError(f"max_length is {max_length}; give a number from 1, or none to keep all")
        if truncating not in get_args(Truncating):
            raise ConfigError(f"truncating is {truncating!r}; it takes one of: {', '.join(get_args(Truncating))}")
        self.max_length = max_length
        self.truncating = truncating
        self._tokenizer = tokenizer

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        *,
        num_words: int,
        rules: str = "word",
        max_length: int | None = None,
        truncating: Truncating = "middle",
    ) -> TextTokenizer:
        """Make the vocabulary of the most frequent words; of equally frequent ones, the first in code point order.

        Args:
            texts: The training texts.
            num_words: Largest size of the vocabulary, padding and unknown word included.
            rules: How a text is cut into words: a name of `RULES`.
            max_length: Longest sequence, in ids; None keeps all.
            truncating: Where longer ones are cut.
        """
        if num_words < len(SPECIALS):
            raise ConfigError(f"num_words is {num_words}; give at least {len(SPECIALS)}, for padding and unknown word")
        tokenizer = _new_tokenizer(rules)
        limit = num_words - len(SPECIALS)
        trainer = WordLevelTrainer(vocab_size=limit, min_frequency=1, special_tokens=[], show_progress=False)
        tokenizer.train_from_iterator(map(_without_surrogates, texts), trainer)
        return cls.from_words(_words(tokenizer), rules=rules, max_length=max_length, truncating=truncating)

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
        tokenizer = _new_tokenizer(rules)
        tokenizer.model = WordLevel(vocabulary, unk_token=SPECIALS[UNK_ID])
        return cls(tokenizer, max_length=max_length, truncating=truncating)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, max_length: int | None, truncating: Truncating) -> TextTokenizer:
        """Read a tokenizer.json that `save` wrote.

        Raises:
            CheckpointError: It is missing or damaged, or not a tokenizer of this kind.
        """
        try:
            tokenizer = Tokenizer.from_buffer(Path(path).read_bytes())
        except Exception as error:  # tokenizers raises nothing more special
            raise CheckpointError(f"cannot read the tokenizer {path}: {error}") from error
        vocabulary = tokenizer.get_vocab()
        if (
            not isinstance(tokenizer.model, WordLevel)
            or tokenizer.model.unk_token != SPECIALS[UNK_ID]
            or tokenizer.get_added_tokens_decoder()
            or sorted(vocabulary.values()) != list(range(len(vocabulary)))
            or tuple(_words(tokenizer)[: len(SPECIALS)]) != SPECIALS
        ):
            raise CheckpointError(
                f"{path} is a tokenizer, but not one of seqcls (whole words, ids from 0 on, [PAD] and [UNK] first)"
            )
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(tokenizer, max_length=max_length, truncating=truncating)

    @property
    def vocab_size(self) -> int:
        """The number of ids, padding and unknown word included."""
        return self._tokenizer.get_vocab_size()

    def words(self) -> list[str]:
        """Return the vocabulary: the word of each id."""
        return _words(self._tokenizer)

    def encode(self, text: str) -> NDArray[np.int32]:
        """Return the ids of a text: int32 [T], T from 1 to ``max_length``."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Iterable[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Encode N texts; TOKENIZERS_PARALLELISM=false keeps the work on one thread.

        Returns:
            The ids of all texts, int32 [total], and offsets, int64 [N + 1]; those of text i are
            ids[offsets[i] : offsets[i + 1]].
        """
        values = [np.empty(0, dtype=np.int32)]
        offsets = [0]
        remaining = map(_without_surrogates, texts)
        while chunk := list(islice(remaining, _CHUNK)):
            ids: list[int] = []
            start = offsets[-1]
            for encoding in self._tokenizer.encode_batch_fast(chunk, add_special_tokens=False):
                ids += self._truncate(encoding.ids or [UNK_ID])
                offsets.append(start + len(ids))
            values.append(np.array(ids, dtype=np.int32))
        return np.concatenate(values), np.array(offsets, dtype=np.int64)

    def _truncate(self, ids: list[int]) -> list[int]:
        if self.max_length is None or len(ids) <= self.max_length:
            return ids
        head = {"pre": 0, "post": self.max_length, "middle": (self.max_length + 1) // 2}[self.truncating]
        return ids[:head] + ids[len(ids) - (self.max_length - head) :]

    def to_json(self) -> str:
        """Return the content of tokenizer.json, which `tokenizers.Tokenizer.from_file` reads too."""
        return self._tokenizer.to_str(pretty=True)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write tokenizer.json, whole or not at all; OSError if it cannot be written."""
        replace_file(Path(path), self.to_json().encode())


def _new_tokenizer(rules: str) -> Tokenizer:
    if rules not in RULES:
        raise ConfigError(f"there are no tokenizer rules {rules!r}; there are: {', '.join(RULES)}")
    tokenizer = Tokenizer(WordLevel(unk_token=SPECIALS[UNK_ID]))
    RULES[rules](tokenizer)
    return tokenizer


def _set_word_rules(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(_LINE_BREAK), " "),
            normalizers.NFC(),
            normalizers.Replace("\u2019", "'"),
            normalizers.Lowercase(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)


def _set_basic_english_rules(tokenizer: Tokenizer) -> None:
    # Quotes go first: what they leave behind can be a line break.
    steps = [normalizers.Lowercase(), normalizers.Replace('"', ""), normalizers.Replace("<br />", " ")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_BASIC_ENGLISH_SPACE), behavior="removed"),
            pre_tokenizers.Split(Regex("['.,()!?]"), behavior="isolated"),
        ]
    )


RULES: dict[str, Callable[[Tokenizer], None]] = {"word": _set_word_rules, "basic-english": _set_basic_english_rules}
"""How texts become words, by name: what sets the rules on a tokenizer."""


def _words(tokenizer: Tokenizer) -> list[str]:
    vocabulary = tokenizer.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


def _without_surrogates(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
