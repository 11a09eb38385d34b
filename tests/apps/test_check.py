from __future__ import annotations

import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from work import peak_memory

from seqcls import DataConfig, DataReport, Split, Splits, Trainer
from seqcls.apps.check import minhash
from seqcls.apps.check.checks import check_data, quick_findings
from seqcls.apps.check.findings import Finding, excerpt
from seqcls.apps.check.leaks import _count_texts, find_leaks
from seqcls.apps.check.tally import Tally
from seqcls.data.datasets.base import Dataset
from seqcls.data.datasets.imdb import ImdbDataset
from seqcls.data.stored_texts import StoredTexts
from seqcls.data.tokenizer import TextTokenizer
from seqcls.training.callbacks.console import ConsoleReporter

NAMES = ("neg", "pos")
QUICK = {"duplicates", "overlap", "conflicting-labels", "empty", "long", "html", "mojibake", "replacement-character"}
QUICK |= {"single-example", "few-examples", "imbalance"}


def _texts(count: int, *, seed: int, words: int = 25) -> list[str]:
    """Texts of words that say nothing about a label, and that all occur often."""
    rng = random.Random(seed)
    return [
        " ".join(f"w{'abcdefghijklmnopqrst'[rng.randrange(20)]}{rng.randrange(15)}" for _ in range(words))
        for _ in range(count)
    ]


def _split(texts: list[str], labels: list[int] | None = None) -> Split:
    return Split(texts, np.array([row % 2 for row in range(len(texts))] if labels is None else labels, dtype=np.int64))


def _clean(size: int = 400) -> dict[str, list[str]]:
    return {"train": _texts(size, seed=1), "validation": _texts(60, seed=2), "test": _texts(60, seed=3)}


def _check(texts: dict[str, list[str]], **settings: object) -> dict[str, Finding]:
    splits = Splits(**{name: _split(found) for name, found in texts.items()}, label_names=NAMES)
    return {finding.kind: finding for finding in check_data(splits, DataConfig(**settings))}


def test_clean_data_gives_no_finding() -> None:
    assert _check(_clean()) == {}


def test_exact_duplicates_are_counted_within_a_split_and_across() -> None:
    data = _clean()
    data["train"][10] = data["train"][13] = data["train"][4]
    data["test"][7] = data["train"][200]
    data["test"][8] = data["train"][201]
    found = _check(data)
    assert set(found) == {"duplicates", "overlap", "conflicting-labels"}
    within, across, conflict = found["duplicates"], found["overlap"], found["conflicting-labels"]
    assert (within.count, within.severity) == (2, "note")  # below 1% of the split
    assert "(1 with another label)" in within.message
    assert [(example.split, example.row) for example in within.examples[:2]] == [("train", 5), ("train", 11)]
    assert (across.count, across.severity) == (2, "warning")
    assert "2 texts in test are" in across.message
    assert [tuple(example[:2]) for example in across.examples] == [("train", 201), ("test", 8), ("train", 202), ("test", 9)]
    # 4, 10 and 13 are one text; 200 and 7 another: both have both labels.
    assert conflict.count == 3
    assert [example.excerpt[:6] for example in conflict.examples[:2]] == ["[neg] ", "[pos] "]


def test_many_duplicates_in_a_split_are_a_warning() -> None:
    data = _clean()
    data["train"][:40] = [data["train"][0], data["train"][1]] * 20
    assert _check(data)["duplicates"].severity == "warning"


def test_near_duplicates_are_found_within_a_split_and_across() -> None:
    data = _clean()
    data["train"][9] = data["train"][3] + " AND more"
    data["test"][20] = "So: " + data["train"][150].replace(" ", ", ").upper()
    found = _check(data)
    assert set(found) == {"near-duplicates", "near-overlap"}
    assert [tuple(example[:2]) for example in found["near-duplicates"].examples] == [("train", 4), ("train", 10)]
    assert [tuple(example[:2]) for example in found["near-overlap"].examples] == [("train", 151), ("test", 21)]
    assert found["near-overlap"].severity == "warning"


def test_near_duplicates_with_other_labels_are_judged_by_their_labels_first() -> None:
    data = _clean()
    for row in range(0, 20, 2):
        data["train"][row + 1] = data["train"][row] + " not"
    found = _check(data)["near-duplicates"]
    assert "10 with another label" in found.message
    assert found.advice.startswith("Look at the labels first")
    assert found.examples[1].excerpt.endswith("not")  # shown where it differs


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("", "empty", ""),
        (" ?! _ ", "empty", "?! _"),
        ("caf\ufffd au lait", "replacement-character", "caf\ufffd"),
        ("un café crÃ¨me", "mojibake", "crÃ¨me"),
        ("itâ€™s fine", "mojibake", "itâ€™s"),
        ("ÐŸÑ€Ð¸Ð²ÐµÑ‚", "mojibake", "ÐŸÑ"),
        ("a <b>bold</b> claim", "html", "<b>"),
        ('see <a href="there">this</a>', "html", "<a href"),
        ("Tom &amp; Jerry &#39;", "html", "&amp;"),
    ],
)
def test_a_damaged_text_is_found_and_shown(text: str, kind: str, shown: str) -> None:
    data = _clean()
    data["validation"][4] = text
    finding = _check(data)[kind]
    assert finding.count == 1
    assert "1 text with" in finding.message
    assert "(validation 1)" in finding.message
    (example,) = finding.examples
    assert example[:2] == ("validation", 5)
    assert shown in example.excerpt


@pytest.mark.parametrize(
    "text",
    [
        "one line<br />and <BR> another",
        "3 < 4 & 5 > 2",
        "AT&T; R&D",
        "Spaß» und «Ärger»",
        "À la carte, NÃO, Österreich",
        "<3 you",
    ],
)
def test_what_looks_like_damage_and_is_none_gives_no_finding(text: str) -> None:
    data = _clean()
    data["train"][0] = f"{text} {data['train'][0]}"
    assert set(_check(data)) == set()


def test_a_text_that_swallowed_others_is_found() -> None:
    data = _clean()
    data["train"][11] = "\n".join(_texts(300, seed=9))
    finding = _check(data, max_length=None)["long"]
    assert (finding.count, finding.examples[0].row, finding.severity) == (1, 12, "warning")


def test_cut_texts_are_counted_at_the_length_of_the_settings() -> None:
    data = _clean()
    data["train"][:100] = _texts(100, seed=8, words=30)
    found = _check(data, max_length=25)["truncation"]
    assert (found.count, found.severity) == (100, "warning")
    assert "25.0% of the texts of train have more than 25 tokens" in found.message
    data["train"][5:100] = _texts(95, seed=8)
    assert _check(data, max_length=25)["truncation"].severity == "note"
    assert "truncation" not in _check(data, max_length=None)


def test_unknown_words_are_counted_with_the_vocabulary_of_train() -> None:
    data = _clean()
    data["test"] = [text.replace("w", "v", 10) for text in data["test"]]
    found = _check(data)["unknown-words"]
    assert (found.count, found.severity) == (600, "warning")
    assert "40.0% of the words of test" in found.message
    assert found.examples[0].split == "test"


def test_unknown_words_of_validation_data_that_training_would_hold_out_are_counted() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{number}" for number in rng.integers(0, 3000, 10)) for _ in range(200)]
    found = _check({"train": texts})["unknown-words"]
    assert "of the words of held-out validation" in found.message
    assert found.examples == ()


def test_rare_labels_and_imbalance_are_told() -> None:
    labels = [0] * 390 + [1] * 9 + [2]
    splits = Splits(train=_split(_texts(400, seed=1), labels), label_names=("common", "rare", "lone"))
    found = {finding.kind: finding for finding in check_data(splits)}
    assert set(found) == {"single-example", "few-examples", "imbalance"}
    assert found["single-example"].message == "1 label with at most one example in train: lone (1)"
    assert found["few-examples"].message == "1 label with fewer than 10 examples in train: rare (9)"
    assert "common has 390 times the examples of lone" in found["imbalance"].message
    assert "98%" in found["imbalance"].advice


@pytest.mark.parametrize(("covered", "severity"), [(1000, "warning"), (85, "note")])
def test_a_token_that_decides_the_label_is_found(covered: int, severity: str) -> None:
    data = _clean(2000)
    for row in range(covered):
        data["train"][2 * row + 1] += " src7731"
    found = _check(data)
    assert set(found) == {"leak"}
    assert f"'src7731' ({covered:,} texts, 100% pos)" in found["leak"].message
    assert (found["leak"].count, found["leak"].severity) == (1, severity)
    (example,) = found["leak"].examples
    assert example[:2] == ("train", 2)
    assert example.excerpt.endswith("src7731")


def test_a_word_that_only_leans_to_a_label_and_a_rare_word_are_no_leaks() -> None:
    data = _clean(2000)
    for row in range(1000):
        data["train"][2 * row + (row % 5 > 0)] += " awful"  # 80% of one label
    for row in range(60):
        data["train"][2 * row] += " boll"  # always of one, but seldom
    assert _check(data) == {}


def test_a_word_of_a_label_that_nearly_all_texts_have_is_no_leak() -> None:
    splits = Splits(train=_split(_texts(2000, seed=1), [0] * 1900 + [1] * 100), label_names=NAMES)
    assert "leak" not in {finding.kind for finding in check_data(splits)}


def test_ratings_that_tell_the_label_are_found() -> None:
    data = _clean(1000)
    for row in range(200):
        data["train"][row] += f" {(2, 9)[row % 2]}{('/10', ' out of 10')[row % 3 > 0]}"
    finding = _check(data)["rating"]
    assert (finding.count, finding.severity) == (200, "warning")
    assert "the label of 100%" in finding.message
    assert "2/10" in finding.examples[0].excerpt
    for row in range(200):
        data["train"][row] = data["train"][row].replace("2/10", "9/10").replace("2 out", "9 out")
    assert "rating" not in _check(data)


def test_a_text_may_have_several_labels() -> None:
    texts = _texts(2000, seed=1)
    labels = np.array([[row % 2, row % 3 == 0, 0] for row in range(2000)], dtype=np.uint8)
    labels[7, 2] = 1
    texts[12] = texts[6] = texts[0]  # the same set of labels
    texts[5] = texts[2]  # another
    for row in range(0, 2000, 3):
        texts[row] += " third"
    found = {
        finding.kind: finding for finding in check_data(Splits(train=Split(texts, labels), label_names=("a", "b", "c")))
    }
    assert set(found) == {"duplicates", "conflicting-labels", "single-example", "imbalance", "leak"}
    assert (found["duplicates"].count, found["conflicting-labels"].count) == (3, 1)
    assert [example.excerpt.split()[0] for example in found["conflicting-labels"].examples] == ["[none]", "[a]"]
    assert "100% b" in found["leak"].message
    assert found["single-example"].message.endswith("c (1)")


def test_texts_on_the_disk_are_checked_as_those_in_memory() -> None:
    data = _clean()
    data["train"][10] = data["train"][4]
    data["train"][20] += " <b>"
    in_memory = Splits(train=_split(data["train"]), test=_split(data["test"]), label_names=NAMES)
    stored = Split(StoredTexts.write(data["train"]), in_memory.train.labels)
    assert check_data(Splits(train=stored, test=in_memory.test, label_names=NAMES)) == check_data(in_memory)


def test_a_split_without_texts_and_texts_without_words_are_no_trouble() -> None:
    empty = Split([], np.empty(0, dtype=np.int64))
    wordless = Splits(train=_split([f"?{'!' * row}" for row in range(40)]), test=empty, label_names=NAMES)
    assert [(finding.kind, finding.count) for finding in check_data(wordless)] == [("empty", 40), ("unknown-words", 4)]


def test_surrogates_and_control_characters_do_no_harm() -> None:
    data = _clean()
    data["train"][3] = "\udcff\x1b[31m red \x00 " + data["train"][4]
    found = _check(data)
    assert set(found) == {"near-duplicates"}
    assert all(example.excerpt.isprintable() for example in found["near-duplicates"].examples)


def test_warnings_come_before_notes_and_every_finding_is_complete() -> None:
    data = _clean()
    data["train"][0], data["train"][1], data["train"][9] = "", "a <b>b</b>", data["train"][8]
    splits = Splits(**{name: _split(found) for name, found in data.items()}, label_names=NAMES)
    findings = check_data(splits)
    assert [finding.severity for finding in findings] == ["warning", "warning", "note", "note"]
    for finding in findings:
        assert finding.advice.endswith(".")
        assert finding.count > 0
        assert finding.examples
        assert finding.as_dict()["examples"][0] == finding.examples[0]._asdict()


def test_the_quick_look_finds_what_one_pass_does() -> None:
    data = _clean(2000)
    data["train"][0], data["train"][1], data["test"][1] = "", "a <b>b</b>", data["train"][8]
    data["train"][3] = data["train"][2] + " again"
    for row in range(1, 2000, 2):
        data["train"][row] += " src7731"
    splits = Splits(**{name: _split(found) for name, found in data.items()}, label_names=NAMES)
    everything, quick = check_data(splits), quick_findings(splits)
    assert {finding.kind for finding in everything} - QUICK == {"leak", "near-duplicates"}
    assert quick == [finding for finding in everything if finding.kind in QUICK]


def test_an_excerpt_is_one_short_line() -> None:
    assert excerpt("one\n two\t three") == "one two three"
    long = excerpt("word " * 100, start=250)
    assert long.startswith("…")
    assert long.endswith("…")
    assert len(long) <= 62


# Near duplicates.


def _edited(text: str, edits: int, rng: random.Random) -> str:
    words = text.split()
    for place in rng.sample(range(len(words)), edits):
        words[place] = f"edited{rng.random()}"
    return " ".join(words)


def test_near_duplicates_are_nearly_all_found_and_nothing_else() -> None:
    rng = random.Random(0)
    originals = _texts(1500, seed=4, words=60)
    copies = [_edited(text, row % 6, rng) for row, text in enumerate(originals)]
    earlier, later = (minhash.Signatures.of(texts, np.ones(1500, dtype=bool)) for texts in (originals, copies))
    found = dict(minhash.find_copies(later, earlier))
    exact = [
        minhash.jaccard(minhash.shingle_set(one), minhash.shingle_set(other))
        for one, other in zip(originals, copies, strict=True)
    ]
    true = {row for row, value in enumerate(exact) if value >= minhash.THRESHOLD}
    assert 700 < len(true) < 1400
    assert all(row == other for row, other in found.items())
    assert set(found) <= true
    assert len(found) >= 0.98 * len(true)


def test_the_jaccard_index_is_that_of_the_sets_of_runs_of_three_words() -> None:
    one, other = "a b c d e f g", "a b c d e f h"
    sets = [{tuple(text.split()[i : i + 3]) for i in range(5)} for text in (one, other)]
    expected = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    assert minhash.jaccard(minhash.shingle_set(one), minhash.shingle_set(other)) == pytest.approx(expected)
    assert len(minhash.shingle_set("a b c a b c a b c")) == 3


def test_short_texts_are_not_compared() -> None:
    signatures = minhash.Signatures.of(["a b c d e", "A, b c d e", "a b c d e f"], np.ones(3, dtype=bool))
    assert signatures.rows.tolist() == [2]


def test_a_family_of_copies_costs_no_more_than_its_size() -> None:
    rng = random.Random(0)
    (text,) = _texts(1, seed=4, words=100)
    copies = [_edited(text, 1, rng) for _ in range(5000)]
    started = time.perf_counter()
    signatures = minhash.Signatures.of(copies, np.ones(5000, dtype=bool))
    assert len(minhash.find_copies(signatures, signatures)) == 4999
    assert time.perf_counter() - started < 20


# Training.


class _Faulty(Dataset):
    """Has one text in train and test."""

    def load(self) -> Splits:
        train = [(text, row % 2) for row, text in enumerate(_texts(60, seed=1))]
        return Splits.from_pairs(train, test=[*train[:1], ("wa1", 1)])

    def fingerprint(self) -> str:
        return "faulty 1"


def test_a_run_looks_at_data_that_it_has_to_read_and_only_then(tmp_path: Path) -> None:
    lines: list[str] = []
    Trainer("mean-pool", _Faulty(), callbacks=[DataReport(lines.append)], output=tmp_path / "run").plan()
    assert [line.partition(" ")[0] for line in lines] == ["warning:", "`seqcls"]
    assert lines[0] == "warning: 1 text in test is the same as a text in train (0 with another label)"
    lines.clear()
    Trainer("mean-pool", _Faulty(), callbacks=[DataReport(lines.append), ConsoleReporter()], output=tmp_path / "run").plan()
    assert lines == []


def test_clean_data_are_passed_in_silence() -> None:
    lines: list[str] = []
    DataReport(lines.append).on_data(Splits(train=_split(_texts(100, seed=1)), label_names=NAMES))
    assert lines == []


@pytest.mark.imdb
@pytest.mark.slow
def test_the_known_duplicates_of_imdb_are_found() -> None:
    folder = os.environ.get("SEQCLS_DATA_DIR")
    if folder is None or not Path(folder, "imdb").is_dir():
        pytest.skip("SEQCLS_DATA_DIR names no folder with imdb/ in it")
    splits = ImdbDataset().load()
    expected = {}
    seen: dict[str, set[str]] = {}
    for name, split in splits.labelled().items():
        seen[name] = set(split.texts)
        expected[f"duplicates: {name}"] = len(split) - len(seen[name])
        for other in set(seen) - {name}:
            expected[f"overlap: {name} {other}"] = sum(text in seen[other] for text in split.texts)
    assert expected["duplicates: train"] + expected["duplicates: validation"] > 90
    assert expected["duplicates: test"] == 199
    assert expected["overlap: test train"] + expected["overlap: test validation"] == 123
    started = time.perf_counter()
    findings = check_data(splits)
    assert time.perf_counter() - started < 90
    found = {}
    for finding in findings:
        if finding.kind in ("duplicates", "overlap"):
            earlier, later = (example.split for example in finding.examples[:2])
            found[f"{finding.kind}: {later}" + (f" {earlier}" if earlier != later else "")] = finding.count
    assert found == {key: count for key, count in expected.items() if count}
    kinds = {finding.kind for finding in findings}
    assert {"near-duplicates", "near-overlap", "rating", "truncation", "html"} <= kinds
    assert not kinds & {"conflicting-labels", "mojibake", "empty", "imbalance", "leak"}


@given(
    seed=st.integers(0, 1000),
    rows=st.integers(1, 40),
    num_labels=st.integers(2, 6),
    is_multi_label=st.booleans(),
)
def test_texts_are_counted_by_token_and_label(seed: int, rows: int, num_labels: int, is_multi_label: bool) -> None:
    rng = np.random.default_rng(seed)
    texts = [" ".join(f"w{word}" for word in rng.integers(0, 8, rng.integers(1, 6))) for _ in range(rows)]
    labels = rng.integers(0, num_labels, rows)
    if is_multi_label:
        labels = (rng.random((rows, num_labels)) < 0.4).astype(np.uint8)
    tokenizer = TextTokenizer.fit(texts, vocab_size=100)
    total, of_label, of_token, counts = _count_texts(Split(texts, labels), tokenizer)
    has_token = np.zeros((rows, tokenizer.input_size), dtype=int)
    for row, ids in enumerate(tokenizer.encode_batch([text])[0] for text in texts):
        has_token[row, ids] = 1
    table = np.zeros((num_labels, tokenizer.input_size), dtype=int)
    table[of_label, of_token] = counts
    has_label = labels.astype(int) if is_multi_label else np.eye(num_labels, dtype=int)[labels]
    np.testing.assert_array_equal(total, has_token.sum(axis=0))
    np.testing.assert_array_equal(table, has_label.T @ has_token)
    assert (counts > 0).all()


def test_a_tally_merges_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqcls.apps.check.tally.SMALL", 10)
    values, tally = np.random.default_rng(0).integers(0, 50, 5_000), Tally()
    for part in np.split(values, 100):
        tally.add(part)
        assert tally.num_held <= 110
    keys, counts = tally.counts()
    assert (keys.tolist(), counts.tolist()) == tuple(column.tolist() for column in np.unique(values, return_counts=True))
    assert [column.tolist() for column in Tally().counts()] == [[], []]


def test_many_labels_are_checked_without_a_table_of_labels_by_tokens() -> None:
    pairs = [(f"w{number % 997} text{number} telling{number % 40}", f"label {number % 3000}") for number in range(6_000)]
    splits = Splits.from_pairs(pairs)
    tokenizer = TextTokenizer.fit(splits.train.texts, vocab_size=20_000)
    with peak_memory() as peak:
        assert list(find_leaks(splits, tokenizer)) == []
        assert peak() < 3_000 * tokenizer.input_size
