"""Rules that split text into words: tokenizers without a vocabulary, and the ids that every vocabulary has."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from tokenizers.models import Model
from tokenizers.normalizers import Normalizer
from tokenizers.pre_tokenizers import PreTokenizer

DEFAULT_RULES = "word"
"""The rules that the setting ``tokenizer = "auto"`` means, unless an embedding has a tokenizer of its own."""
PAD_ID = 0
UNK_ID = 1
SPECIALS = ("[PAD]", "[UNK]")  # in the order of their ids; no rules produce these words from a text

_LINE_BREAK = r"(?i)<br\s*/?>"
_PART = r"[\p{L}\p{N}][\p{L}\p{N}\p{M}]*"
_WORD = rf"{_PART}(?:'{_PART})*"
_BASIC_ENGLISH_SPACE = r"[\s\x1c-\x1f;:]+"  # Python counts four control characters among white space


@dataclass(frozen=True)
class Rules:
    """How texts are split into words.

    Attributes:
        new: Builds a tokenizer with these rules and no vocabulary.
        split_ascii: A faster way to the words of an ASCII text, with the same result; None if there is none.
        alphabet: The number of words that every vocabulary holds.
    """

    new: Callable[[], Tokenizer]
    split_ascii: Callable[[str], list[str]] | None = None
    alphabet: int = 0


def _new(model: Model, normalizer: Normalizer | None, pre_tokenizer: PreTokenizer) -> Tokenizer:
    tokenizer = Tokenizer(model)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    return tokenizer


def _new_word_level(steps: list[Normalizer], pre_tokenizer: PreTokenizer) -> Tokenizer:
    return _new(models.WordLevel(unk_token=SPECIALS[UNK_ID]), normalizers.Sequence(steps), pre_tokenizer)


def _new_word() -> Tokenizer:
    line_break, apostrophe = normalizers.Replace(Regex(_LINE_BREAK), " "), normalizers.Replace("\u2019", "'")
    return _new_word_level(
        [line_break, normalizers.NFC(), apostrophe, normalizers.Lowercase()],
        pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True),
    )


_ASCII_LINE_BREAK = re.compile(_LINE_BREAK)
_ASCII_WORD = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")


def _split_ascii_word(text: str) -> list[str]:
    if "<" in text:
        text = _ASCII_LINE_BREAK.sub(" ", text)
    return _ASCII_WORD.findall(text.lower())


def _new_basic_english() -> Tokenizer:
    # Quotes are removed first: what remains can be a line break.
    return _new_word_level(
        [normalizers.Lowercase(), normalizers.Replace('"', ""), normalizers.Replace("<br />", " ")],
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_BASIC_ENGLISH_SPACE), behavior="removed"),
                pre_tokenizers.Split(Regex("['.,()!?]"), behavior="isolated"),
            ]
        ),
    )


_ASCII_BASIC_ENGLISH = re.compile(r"['.,()!?]|[^\s;:'.,()!?]+")


def _split_ascii_basic_english(text: str) -> list[str]:
    return _ASCII_BASIC_ENGLISH.findall(text.lower().replace('"', "").replace("<br />", " "))


def _new_character() -> Tokenizer:
    return _new_word_level([normalizers.NFC()], pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated"))


def _new_bpe() -> Tokenizer:
    return _new(models.BPE(), None, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True))


def fit_bpe(texts: Iterable[str], *, vocab_size: int) -> Tokenizer:
    """Learn a byte-pair encoding of ``vocab_size`` words; the specials get the first two ids, and no text contains them."""
    tokenizer = _new_bpe()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    learnt = json.loads(tokenizer.to_str())["model"]
    words = [*SPECIALS, *sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)]
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in learnt["merges"]]
    tokenizer.model = models.BPE({word: index for index, word in enumerate(words)}, merges)
    return tokenizer


RULES: dict[str, Rules] = {
    "word": Rules(_new_word, _split_ascii_word),
    "basic-english": Rules(_new_basic_english, _split_ascii_basic_english),
    "character": Rules(_new_character, list),
    "bpe": Rules(_new_bpe, alphabet=256),
}
"""The rules by name."""


def find_rules(tokenizer: Tokenizer) -> Rules | None:
    """Return which of our rules a tokenizer has; None if it has others."""
    if tokenizer.get_added_tokens_decoder():
        return None
    parts = _parts(tokenizer)
    return next((rules for rules in RULES.values() if _parts(rules.new()) == parts), None)


def _parts(tokenizer: Tokenizer) -> list[object]:
    described = json.loads(tokenizer.to_str())
    return [described["model"]["type"], described["normalizer"], described["pre_tokenizer"]]
