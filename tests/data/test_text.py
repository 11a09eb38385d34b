from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from seqcls.data import chunks
from seqcls.data import tokenizer as text_module
from seqcls.data.preprocessor import Truncating
from seqcls.data.rules import PAD_ID, RULES, SPECIALS, UNK_ID
from seqcls.data.tokenizer import TextTokenizer
from seqcls.errors import CheckpointError, ConfigError

# Any code point, lone surrogates included, with characters that the rules name made likely.
any_text = st.text(st.one_of(st.characters(exclude_categories=()), st.sampled_from("aBé'\u2019 <br/>[UNK]_-\u0301İß1²")))
TRUNCATING: list[Truncating] = ["pre", "post", "middle"]


def fitted(*texts: str, vocab_size: int = 1000, max_length: int | None = None) -> TextTokenizer:
    return TextTokenizer.fit(texts, vocab_size=vocab_size, max_length=max_length)


def words_of(text: str) -> list[str]:
    """Tokenize with a vocabulary that knows every word of the text."""
    tokenizer = fitted(text)
    return [tokenizer.words()[index] for index in tokenizer.encode(text)]


def split_plainly(text: str) -> list[str]:
    """Apply the rules to ASCII, written a second time without regular expressions."""
    for line_break in ("<br>", "<br/>", "<br />"):
        text = text.lower().replace(line_break, " ")
    pieces = "".join(character if character.isalnum() or character == "'" else " " for character in text).split()
    # A run with apostrophes is cut at its edges and where two of them meet.
    return [word for piece in pieces for part in piece.split("''") if (word := part.strip("'"))]


def test_golden_ids() -> None:
    # Counts: the 3, film 2, good 2, a 1, was 1, yet 1. Ties go by code point: film before good, a before
    # was before yet. After the two specials five places are left of seven, so that "yet" is out.
    tokenizer = fitted("The film: THE good film.", "A good the was yet", vocab_size=7)
    assert tokenizer.words() == ["[PAD]", "[UNK]", "the", "film", "good", "a", "was"]
    assert tokenizer.input_size == 7
    assert tokenizer.encode("Was the film yet good?").tolist() == [6, 2, 3, UNK_ID, 4]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one<br />two<BR>three<br/>four<Br   />five", ["one", "two", "three", "four", "five"]),
        ("<b>bold</b>", ["b", "bold", "b"]),  # other markup is text
        ("well-made, snake_case; a.b (c) [d] 3.5%", ["well", "made", "snake", "case", "a", "b", "c", "d", "3", "5"]),
        ("it's dogs' 'tis 'good' rock'n'roll o''clock", ["it's", "dogs", "tis", "good", "rock'n'roll", "o", "clock"]),
        ("it\u2019s \u2018good\u2019 \u201cnice\u201d", ["it's", "good", "nice"]),
        ("cafe\u0301 CAFÉ", ["café", "café"]),  # a decomposed accent, and an upper-case one
        ("ΣΊΣΥΦΟΣ Привет नमस्ते 映画", ["σίσυφοσ", "привет", "नमस्ते", "映画"]),
        ("İ", ["i\u0307"]),  # lower case of the Turkish dotted I, by character
        ("fun\u2764\ufe0f \U0001f600 100\u20ac", ["fun", "100"]),  # symbols; a variation selector alone is no word
        ("\u0301a", ["a"]),  # a word does not start with a mark
        ("tab\tline\nnbsp\u00a0null\0end", ["tab", "line", "nbsp", "null", "end"]),
        ("[UNK] [PAD] <unk>", ["unk", "pad", "unk"]),
        ("lone\ud800surrogate", ["lone", "surrogate"]),
        ("x² ½", ["x²", "½"]),
    ],
)
def test_words_of_a_text(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_words_are_those_of_a_plain_reading_of_the_rules(text: str) -> None:
    assert words_of(text) == (split_plainly(text) or ["[UNK]"])


@pytest.mark.parametrize("text", ["", " \n", "?!", "<br />", "\ud800", "'"])
def test_a_text_without_words_is_one_unknown_word(text: str) -> None:
    assert fitted("a b").encode(text).tolist() == [UNK_ID]


def test_special_names_in_a_text_never_become_special_ids() -> None:
    tokenizer = fitted("[PAD] [UNK] [PAD]")
    assert tokenizer.words() == [*SPECIALS, "pad", "unk"]
    assert tokenizer.encode("[PAD] [UNK]").tolist() == [2, 3]


@given(st.lists(any_text))
def test_the_vocabulary_goes_by_frequency_then_code_points(texts: list[str]) -> None:
    full = TextTokenizer.fit(texts, vocab_size=10_000)
    counts = Counter(full.words()[index] for text in texts for index in full.encode(text) if index != UNK_ID)
    expected = [*SPECIALS, *sorted(counts, key=lambda word: (-counts[word], word))]
    assert full.words() == expected
    assert TextTokenizer.fit(texts, vocab_size=5).words() == expected[:5]


def test_the_vocabulary_does_not_depend_on_the_number_of_threads() -> None:
    script = (
        "from seqcls.data.tokenizer import TextTokenizer\n"
        "texts = [f'w{i % 997} x{i * i % 1009} y{i % 7}' for i in range(5000)]\n"
        "tokenizer = TextTokenizer.fit(texts, vocab_size=500)\n"
        "print(tokenizer.words(), tokenizer.encode_batch(texts)[0].tolist())\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **setting, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            check=True,
        ).stdout
        for setting in (
            {"TOKENIZERS_PARALLELISM": "false"},
            {"TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": "3"},
        )
    }
    assert len(outputs) == 1


@pytest.mark.parametrize("rules", RULES)
@given(st.lists(any_text), st.lists(any_text), st.integers(2, 30))
def test_ids_are_in_range_and_the_same_after_saving(
    tmp_path_factory: pytest.TempPathFactory, rules: str, train: list[str], texts: list[str], vocab_size: int
) -> None:
    vocab_size += RULES[rules].alphabet
    tokenizer = TextTokenizer.fit(train, vocab_size=vocab_size, rules=rules)
    path = tmp_path_factory.getbasetemp() / "tokenizer.json"
    tokenizer.save(path)
    loaded = TextTokenizer.load(path, max_length=None, truncating="middle")
    ids, offsets = tokenizer.encode_batch(train + texts)
    assert np.all((ids > PAD_ID) & (ids < tokenizer.input_size))
    assert tokenizer.input_size <= vocab_size
    assert np.all(np.diff(offsets) >= 1)
    assert loaded.words() == tokenizer.words()
    loaded_ids, loaded_offsets = loaded.encode_batch(train + texts)
    assert loaded_ids.tolist() == ids.tolist()
    assert loaded_offsets.tolist() == offsets.tolist()


@given(st.integers(0, 40), st.integers(1, 20), st.sampled_from(TRUNCATING))
def test_truncation_keeps_what_its_name_says(length: int, max_length: int, truncating: Truncating) -> None:
    text = " ".join(f"w{number:02}" for number in range(length))
    full = fitted(text).encode(text).tolist()
    cut = TextTokenizer.fit([text], vocab_size=1000, max_length=max_length, truncating=truncating).encode(text).tolist()
    expected = list(full)
    while len(expected) > max_length:  # one at a time; "middle" takes from behind a head of ceil(max_length / 2)
        expected.pop({"pre": 0, "post": -1, "middle": -(-max_length // 2)}[truncating])
    assert cut == expected


def test_many_texts_encode_as_one_by_one() -> None:
    texts = [f"a w{number % 50} " * (number % 4) for number in range(4_500)]  # more than two chunks
    tokenizer = fitted(*texts, vocab_size=30, max_length=5)
    ids, offsets = tokenizer.encode_batch(iter(texts))
    assert ids.dtype == np.int32
    assert offsets.dtype == np.int64
    assert len(offsets) == len(texts) + 1
    for index in range(0, len(texts), 97):
        assert ids[offsets[index] : offsets[index + 1]].tolist() == tokenizer.encode(texts[index]).tolist()


def test_no_texts_encode_to_nothing() -> None:
    ids, offsets = fitted("a").encode_batch([])
    assert (ids.tolist(), offsets.tolist()) == ([], [0])
    assert ids.dtype == np.int32


def test_hugging_face_reads_the_file(tmp_path: Path) -> None:
    tokenizer = fitted("It\u2019s a <br /> GOOD film")
    tokenizer.save(tmp_path / "tokenizer.json")
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = "it's [UNK] good<br>FILM"
    assert other.encode(text).ids == tokenizer.encode(text).tolist()


def test_fitting_twice_writes_the_same_file(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        fitted("c b a", "b a d").save(tmp_path / name)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_saving_replaces_the_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("old")
    fitted("new").save(path)
    assert json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]["new"] == 2
    assert list(tmp_path.iterdir()) == [path]


def _vocabulary(vocabulary: dict[str, int]) -> bytes:
    content = json.loads(fitted("a").to_json())
    content["model"]["vocab"] = vocabulary
    return json.dumps(content).encode()


def _with_added_token() -> bytes:
    tokenizer = tokenizers.Tokenizer.from_str(fitted("a").to_json())
    tokenizer.add_special_tokens(["[UNK]"])
    return tokenizer.to_str().encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff\xfe",
        fitted("a b").to_json().encode()[:-40],
        tokenizers.Tokenizer(tokenizers.models.BPE()).to_str().encode(),
        _vocabulary({"[PAD]": 0, "[UNK]": 1, "far": (1 << 32) - 1}),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        TextTokenizer.load(path, max_length=None, truncating="pre")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (_vocabulary({"[UNK]": 0, "[PAD]": 1, "a": 2}), ["[UNK]", "[PAD]", "a"]),
        (_vocabulary({"[PAD]": 0, "[UNK]": 1, "a": 3}), ["[PAD]", "[UNK]", "", "a"]),
        (_with_added_token(), ["[PAD]", "[UNK]", "a"]),
    ],
    ids=["other order", "a gap", "added token"],
)
def test_ids_of_another_program_move_up_by_two(tmp_path: Path, content: bytes, words: list[str]) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    tokenizer = TextTokenizer.load(path)
    assert tokenizer.words() == [*SPECIALS, *words]
    assert tokenizer.input_size == 2 + len(words)
    assert tokenizer.encode("a b").tolist() == [2 + words.index("a"), UNK_ID]
    assert tokenizer.encode("").tolist() == [UNK_ID]


@pytest.mark.parametrize("model", ["wordpiece", "unigram", "bpe"])
def test_a_tokenizer_of_another_program_gives_its_own_tokens(tmp_path: Path, model: str) -> None:
    texts = ["the lowest of the low, slowly", "lower and slower"]
    if model == "wordpiece":
        other = tokenizers.BertWordPieceTokenizer()
        other.train_from_iterator(texts, vocab_size=80)
    elif model == "unigram":
        other = tokenizers.SentencePieceUnigramTokenizer()
        other.train_from_iterator(texts, vocab_size=40, unk_token="<unk>", special_tokens=["<s>", "<unk>"])
    else:
        other = tokenizers.ByteLevelBPETokenizer()
        other.train_from_iterator(texts, vocab_size=300)
    other.enable_truncation(2)
    other.save(str(tmp_path / "tokenizer.json"))
    other.no_truncation()
    tokenizer = TextTokenizer.load(tmp_path / "tokenizer.json")
    for text in ["slow of low", "wholly ☃ unseen"]:
        tokens = other.encode(text, add_special_tokens=False).tokens
        expected = [
            "[UNK]" if token in ("[UNK]", "<unk>") or other.token_to_id(token) is None else token for token in tokens
        ]
        assert [tokenizer.words()[index] for index in tokenizer.encode(text)] == expected


def test_a_tokenizer_without_its_unknown_word_is_reported(tmp_path: Path) -> None:
    model = tokenizers.models.WordLevel({"film": 0}, unk_token="[UNK]")
    tokenizers.Tokenizer(model).save(str(tmp_path / "tokenizer.json"))
    tokenizer = TextTokenizer.load(tmp_path / "tokenizer.json")
    with pytest.raises(CheckpointError, match="cannot encode a text"):
        tokenizer.encode("room")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.json"):
        TextTokenizer.load(tmp_path / "nowhere.json", max_length=None, truncating="pre")


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_length is 0"):
        fitted("a", max_length=0)
    with pytest.raises(ConfigError, match="vocab_size is 1"):
        fitted("a", vocab_size=1)
    with pytest.raises(ConfigError, match=r"'sideways'.*pre, post, middle"):
        TextTokenizer.fit(["a"], vocab_size=9, truncating="sideways")  # type: ignore[arg-type]


def test_an_error_in_the_source_of_texts_comes_through() -> None:
    def broken() -> Iterator[str]:
        yield "a"
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        TextTokenizer.fit(broken(), vocab_size=9)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It isn't bad.", ["it", "isn", "'", "t", "bad", "."]),
        ('"Wow!" (really?)', ["wow", "!", "(", "really", "?", ")"]),
        ("one<br />two<br/>three<BR />four", ["one", "two<br/>three", "four"]),  # other line breaks are text
        ("a;b:c, d", ["a", "b", "c", ",", "d"]),
        ("well-made 3.5% \u2019quoted\u2019", ["well-made", "3", ".", "5%", "\u2019quoted\u2019"]),
        ('<b"r />x', ["x"]),  # the quote is dropped first
        ("a\x1cb\u2003c\nd", ["a", "b", "c", "d"]),
        ("", ["[UNK]"]),
    ],
)
def test_words_of_a_text_in_basic_english(text: str, words: list[str]) -> None:
    tokenizer = TextTokenizer.fit([text], vocab_size=100, rules="basic-english")
    assert [tokenizer.words()[index] for index in tokenizer.encode(text)] == words


def test_a_vocabulary_is_taken_as_it_is() -> None:
    tokenizer = TextTokenizer.from_words(["the", "a", "film"], max_length=3, truncating="post")
    assert tokenizer.words() == [*SPECIALS, "the", "a", "film"]
    assert tokenizer.encode("a new film the").tolist() == [3, UNK_ID, 4]


@pytest.mark.parametrize("words", [["a", "a"], ["[UNK]"], ["a", "[PAD]"]])
def test_a_vocabulary_with_a_word_twice_is_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="twice"):
        TextTokenizer.from_words(words)


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(ConfigError, match="tokenizer rules 'letters'; there are: word, basic-english, character, bpe"):
        TextTokenizer.fit(["a"], vocab_size=9, rules="letters")


@pytest.mark.parametrize("rules", ["word", "basic-english", "character"])
@given(st.lists(st.text(st.one_of(st.characters(max_codepoint=127), st.sampled_from("<br />'\".;:")))))
def test_ascii_text_is_split_as_the_saved_rules_say(rules: str, texts: list[str]) -> None:
    tokenizer = TextTokenizer.fit(texts, vocab_size=1000, rules=rules)
    plain = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    for text in texts:
        assert tokenizer.encode(text).tolist() == (plain.encode(text).ids or [UNK_ID])


@given(any_text)
def test_characters_are_those_of_the_composed_text(text: str) -> None:
    tokenizer = TextTokenizer.fit([text], vocab_size=10_000, rules="character")
    composed = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())
    assert "".join(tokenizer.words()[index] for index in tokenizer.encode(text)) == (composed or "[UNK]")


@given(st.lists(any_text, min_size=1), any_text)
def test_byte_pairs_keep_every_byte(train: list[str], text: str) -> None:
    tokenizer = TextTokenizer.fit(train, vocab_size=300, rules="bpe")
    ids = tokenizer.encode(text)
    decoder = tokenizers.decoders.ByteLevel()
    if text:
        assert UNK_ID not in ids
        assert decoder.decode([tokenizer.words()[index] for index in ids]) == text.encode("utf-8", "replace").decode()
    else:
        assert ids.tolist() == [UNK_ID]


def test_byte_pairs_need_room_for_the_bytes() -> None:
    with pytest.raises(ConfigError, match="vocab_size is 100; give at least 258"):
        TextTokenizer.fit(["a"], vocab_size=100, rules="bpe")


def test_frequent_pairs_become_one() -> None:
    tokenizer = TextTokenizer.fit(["low lower lowest " * 50], vocab_size=270, rules="bpe")
    assert "low" in tokenizer.words()
    assert tokenizer.input_size <= 270
    assert len(tokenizer.encode("low")) == 1


def test_ids_are_the_same_in_another_process(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ranges = [(0, 0x80), (0, 0x250), (0, 0x3000), (0, 0xD800), (0xE000, 0x110000)]
    texts = ["It's GOOD.", "caf\u00e9 \u0130\u0301 \U0001f600 ☃", "\u0391\u03a3 \u4e2d\u6587", "a\x1cb\x85c"]
    texts += ["".join(map(chr, rng.integers(*ranges[number % 5], size=30))) for number in range(500)]
    script = (
        "import json, sys\nfrom seqcls.data.tokenizer import TextTokenizer\n"
        "tokenizer = TextTokenizer.load(sys.argv[1])\n"
        "print(json.dumps([tokenizer.encode(text).tolist() for text in json.loads(sys.stdin.read())]))\n"
    )
    for rules in RULES:
        tokenizer = TextTokenizer.fit(texts, vocab_size=300, rules=rules)
        tokenizer.save(tmp_path / "tokenizer.json")
        done = subprocess.run(
            [sys.executable, "-c", script, tmp_path / "tokenizer.json"],
            input=json.dumps(texts),
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout) == [tokenizer.encode(text).tolist() for text in texts]


def test_of_very_much_text_an_even_sample_makes_the_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "VOCABULARY_BYTES", 1000)
    texts = [f"word{number:04} always" for number in range(2000)]
    words = TextTokenizer.fit(texts, vocab_size=5000).words()
    assert words[2] == "always"
    assert 40 < len(words) < 80
    assert {"word0000", "word1930"} & set(words)


@pytest.mark.parametrize("rules", RULES)
@given(st.lists(any_text, min_size=1), st.integers(0, 3))
def test_a_long_text_in_pieces_has_the_ids_of_the_whole(rules: str, parts: list[str], kind: int) -> None:
    glue = [" a", "a b", " caf\u00e9 x1 y<br />", "e e\u0301 "][kind]
    text = "".join(part + glue for part in parts)
    tokenizer = TextTokenizer.fit([text], vocab_size=1000, rules=rules)
    whole = tokenizer.encode(text).tolist()
    short = re.compile(r".{3,}?[A-Za-z0-9](?= [A-Za-z])|.+", re.DOTALL)
    with mock.patch.object(TextTokenizer, "_pieces", lambda self, text: short.findall(text)):
        assert "".join(tokenizer._pieces(text)) == text
        assert (tokenizer._encode_slowly([text_module._without_surrogates(text)])[0] or [UNK_ID]) == whole
        assert TextTokenizer.fit([text], vocab_size=1000, rules=rules).words() == tokenizer.words()
