"""Files of one's own: every form, and what is wrong with data, with the same verdict in every form."""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import math
import pickle
import re
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from seqcls import Classifier, Trainer, load_recipe
from seqcls.data.datasets.files import FilesDataset
from seqcls.data.splits import Splits
from seqcls.errors import DataError, MissingExtraError
from seqcls.testing import check_dataset

Rows = list[dict[str, Any]]
GOOD: Rows = [{"text": f"text, number {n}", "label": ("neg", "pos")[n % 2]} for n in range(6)]


def as_csv(rows: Rows, **settings: Any) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)), **settings)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def as_tsv(rows: Rows) -> bytes:
    return as_csv(rows, delimiter="\t")


def as_jsonl(rows: Rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_parquet(rows: Rows) -> bytes:
    names = dict.fromkeys(name for row in rows for name in row)
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), sink)
    return sink.getvalue()


def as_arrow(rows: Rows) -> bytes:
    table = pyarrow.parquet.read_table(io.BytesIO(as_parquet(rows)))
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


FORMS: dict[str, Callable[[Rows], bytes]] = {
    ".csv": as_csv,
    ".tsv": as_tsv,
    ".jsonl": as_jsonl,
    ".json": lambda rows: json.dumps(rows, indent=1).encode(),
    ".parquet": as_parquet,
    ".arrow": as_arrow,
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], str]:
    def write(name: str, content: bytes) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)

    return write


Write = Callable[[str, bytes], str]


def load(path: str, **options: Any) -> Splits:
    return FilesDataset(path=path, **options).load()


def pairs(splits: Splits, name: str = "train") -> list[tuple[str, str]]:
    split = splits.labelled()[name]
    return [(text, splits.label_names[label]) for text, label in split]  # type: ignore[index]


def as_pairs(rows: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(row["text"], str(row["label"])) for row in rows]


# Forms.


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same(write: Write, form: str) -> None:
    path = write(f"data{form}", FORMS[form](GOOD))
    check_dataset(FilesDataset(path=path))
    splits = load(path)
    assert splits.label_names == ("neg", "pos")
    assert pairs(splits) == as_pairs(GOOD)
    assert list(splits.labelled()) == ["train"]


@pytest.mark.parametrize("form", FORMS)
def test_compressed_files_are_read(write: Write, form: str) -> None:
    content = FORMS[form](GOOD)
    assert pairs(load(write(f"a{form}.gz", gzip.compress(content)))) == as_pairs(GOOD)
    assert pairs(load(write(f"a{form}.zst", pa.compress(content, codec="zstd", asbytes=True)))) == as_pairs(GOOD)


def test_an_arrow_stream_is_read_as_well(write: Write) -> None:
    table = pyarrow.parquet.read_table(io.BytesIO(as_parquet(GOOD)))
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert pairs(load(write("a.arrow", sink.getvalue()))) == as_pairs(GOOD)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_out(write: Write, delimiter: str) -> None:
    path = write("a.csv", as_csv(GOOD, delimiter=delimiter))
    assert pairs(load(path)) == as_pairs(GOOD)
    assert pairs(load(path, delimiter={"\t": "tab"}.get(delimiter, delimiter))) == as_pairs(GOOD)


@pytest.mark.parametrize("names", [("review", "sentiment"), ("Content", "CLASS"), ("message", "target"), ("sentence", "y")])
def test_columns_are_found_by_their_usual_names(write: Write, names: tuple[str, str]) -> None:
    rows = [{"id": number, names[0]: row["text"], names[1]: row["label"]} for number, row in enumerate(GOOD)]
    assert pairs(load(write("a.csv", as_csv(rows)))) == as_pairs(GOOD)
    assert pairs(load(write("a.jsonl", as_jsonl(rows)))) == as_pairs(GOOD)


def test_columns_are_named(write: Write) -> None:
    rows = [{"text": "no", "what": row["text"], "Which": row["label"]} for row in GOOD]
    path = write("a.csv", as_csv(rows))
    assert pairs(load(path, text_column="what", label_column="which")) == as_pairs(GOOD)
    with pytest.raises(
        DataError,
        match=r"a\.csv: no column .*the label; there are \['text', 'what', 'Which'\]: .*--label-col",
    ):
        load(path)
    with pytest.raises(DataError, match=r"no column 'wat'; there are .* --text-column"):
        load(path, text_column="wat", label_column="Which")


def test_a_file_without_a_header_asks_for_numbers(write: Write) -> None:
    path = write("a.tsv", b"ham\tSee you\nspam\tWin!\nham\tOk\n")
    with pytest.raises(DataError, match=r"if the first row is data, .*--text-column 2"):
        load(path)
    assert pairs(load(path, text_column="2", label_column="1")) == [("See you", "ham"), ("Win!", "spam"), ("Ok", "ham")]


def test_several_files_patterns_and_splits(write: Write, tmp_path: Path) -> None:
    for number in range(3):
        write(f"part-{number}.csv", as_csv(GOOD[2 * number : 2 * number + 2]))
    extra = write("extra.jsonl", as_jsonl(GOOD[:2]))
    assert pairs(load(str(tmp_path / "part-*.csv"))) == as_pairs(GOOD)
    splits = load(f"{tmp_path}/part-0.csv, {extra}", validation=f"{tmp_path}/part-1.csv", test=f"{tmp_path}/part-2.csv")
    assert pairs(splits) == as_pairs(GOOD[:2] * 2)
    assert pairs(splits, "validation") == as_pairs(GOOD[2:4])
    assert pairs(splits, "test") == as_pairs(GOOD[4:])


def test_a_folder_a_class(write: Write, tmp_path: Path) -> None:
    for row in GOOD:
        write(f"reviews/{row['label']}/{row['text']}.txt", row["text"].encode())
    write("reviews/.hidden/a.txt", b"no")
    assert sorted(pairs(load(str(tmp_path / "reviews")))) == sorted(as_pairs(GOOD))


def test_a_folder_a_split(write: Write, tmp_path: Path) -> None:
    for split, rows in {"train": GOOD[:4], "dev": GOOD[4:], "test": GOOD[:2]}.items():
        for row in rows:
            write(f"folders/{split}/{row['label']}/{row['text']}.txt", row["text"].encode())
        write(f"tables/{split}.csv", as_csv(rows))
    for folder in ("folders", "tables"):
        splits = load(str(tmp_path / folder))
        assert sorted(pairs(splits, "validation")) == sorted(as_pairs(GOOD[4:]))
        assert sorted(pairs(splits, "train")) == sorted(as_pairs(GOOD[:4]))
        assert sorted(pairs(splits, "test")) == sorted(as_pairs(GOOD[:2]))


def test_fasttexts_form(write: Write) -> None:
    path = write("train.txt", b'__label__pos A good one, "really"\n__label__neg Bad.\n\n__label__pos Fine\n')
    assert pairs(load(path)) == [('A good one, "really"', "pos"), ("Bad.", "neg"), ("Fine", "pos")]
    several = load(write("several.txt", b"__label__a __label__b both\n__label__a one\n"))
    assert several.is_multi_label
    assert several.train.labels is not None
    assert several.train.labels.tolist() == [[1, 1], [1, 0]]


def keras_archive(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def objects(*items: Any) -> np.ndarray:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def test_keras_imdb(write: Write, tmp_path: Path) -> None:
    train, test = objects([1, 4, 5, 6], [1, 6]), objects([1, 2, 4], [5])
    path = write("imdb.npz", keras_archive(x_train=train, y_train=np.array([1, 0]), x_test=test, y_test=np.array([0, 1])))
    with pytest.raises(DataError, match=r"imdb_word_index\.json, which has the words"):
        load(path)
    write("imdb_word_index.json", json.dumps({"a": 1, "good": 2, "film": 3}).encode())
    splits = load(path)
    assert pairs(splits) == [("a good film", "1"), ("film", "0")]
    assert pairs(splits, "test") == [("a", "0"), ("good", "1")]


class Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("it-ran"),))


@pytest.mark.parametrize(
    "bad",
    [
        objects([1], ["a"]),
        objects([1], [-4]),
        objects([1], [1 << 40]),
        objects([1], Runs()),
        objects([1], [True]),
        objects([1], [1.5]),
        np.array([1, 2]),
        np.zeros((2, 2, 2), dtype=int),
    ],
)
def test_a_pickle_in_an_archive_is_never_executed(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: np.ndarray
) -> None:
    monkeypatch.chdir(tmp_path)
    write("imdb_word_index.json", b'{"a": 1}')
    labels = np.array([0, 1])
    path = write("imdb.npz", keras_archive(x_train=bad, y_train=labels, x_test=bad, y_test=labels))
    with pytest.raises(DataError, match=r"imdb\.npz is damaged, or holds more than lists of integers"):
        load(path)
    assert not Path("it-ran").exists()


@pytest.mark.parametrize("code", [b"cos\nsystem\n(S'touch it-ran'\ntR.", b"Ppersistent\n.", b"I1\n.", b"", b"(lp0\n"])
def test_other_pickles_are_refused(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    write("imdb_word_index.json", b'{"a": 1}')
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x_train.npy", member.getvalue() + code)
        archive.writestr("y_train.npy", member.getvalue() + pickle.dumps([0]))
    with pytest.raises(DataError, match=r"imdb\.npz is damaged, or holds more"):
        load(write("imdb.npz", file.getvalue()))
    assert not Path("it-ran").exists()


# A place in the memo of 2^32 - 1, for which Python's reader of pickles would take 64 GB; and a text of 2^60 bytes.
@pytest.mark.parametrize("code", [b"\x80\x04]r\xff\xff\xff\xff.", b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little") + b"."])
def test_a_pickle_takes_no_memory_for_what_it_does_not_hold(write: Write, code: bytes) -> None:
    write("imdb_word_index.json", b'{"a": 1}')
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x_train.npy", member.getvalue() + code)
    with pytest.raises(DataError, match="it does more than build a list"):
        load(write("imdb.npz", file.getvalue()))


def test_a_word_index_of_nested_lists_is_refused(write: Write) -> None:
    write("imdb_word_index.json", b"[" * 100_000)
    with pytest.raises(DataError, match=r"imdb_word_index\.json is damaged"):
        load(write("imdb.npz", keras_archive(x_train=objects([1]), y_train=np.array([1]))))


# One verdict for all forms: a row is fine, or it is bad and named.


def where(form: str, row: int) -> str:
    """Return where a row of a table, numbered from 1, stands."""
    return {".csv": f"line {row + 1}", ".tsv": f"line {row + 1}", ".jsonl": f"line {row}", ".json": f"item {row}"}.get(
        form, f"row {row}"
    )


KEPT: dict[str, dict[str, Any]] = {
    "NA": {"text": "NA", "label": "pos"},
    "None": {"text": "None", "label": "None"},
    "null": {"text": "null", "label": "null"},
    "nan": {"text": "nan", "label": "pos"},
    "only white space": {"text": "  ", "label": "pos"},
    "line breaks": {"text": "a\nb\r\nc", "label": "pos"},
    "quotes": {"text": 'he said "no", "no"', "label": "pos"},
    "a NUL": {"text": "a\0b", "label": "pos"},
    "a line separator": {"text": "a\u2028b\u0085c", "label": "pos"},
    "a tab": {"text": "a\tb", "label": "pos"},
    "markup": {"text": "[/red] <b>x</b>", "label": "pos"},
    "emoji": {"text": "\U0001f600 caf\u00e9", "label": "\u00e9t\u00e9"},
    "a byte order mark inside": {"text": "a\ufeffb", "label": "pos"},
    "a number as text": {"text": "42", "label": "pos"},
    "white space around a label": {"text": "a", "label": " pos "},
    "a formula": {"text": "=1+1", "label": "pos"},
    "long": {"text": "word " * 20_000, "label": "pos"},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", KEPT)
def test_text_is_kept_as_it_is(write: Write, form: str, name: str) -> None:
    row = KEPT[name]
    found = pairs(load(write(f"a{form}", FORMS[form]([*GOOD, row, *GOOD]))))
    assert found == [*as_pairs(GOOD), (row["text"], row["label"].strip()), *as_pairs(GOOD)]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no text": ({"text": "", "label": "pos"}, "there is no text in column 'text'"),
    "null text": ({"text": None, "label": "pos"}, "there is no text in column 'text'"),
    "no label": ({"text": "a", "label": ""}, "there is no label in column 'label'"),
    "null label": ({"text": "a", "label": None}, "there is no label in column 'label'"),
    "white space as label": ({"text": "a", "label": "  "}, "there is no label in column 'label'"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_named_and_left_out_only_when_told(
    write: Write, form: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    row, problem = BAD[name]
    path = write(f"a{form}", FORMS[form]([*GOOD, row, *GOOD]))
    with pytest.raises(DataError, match=re.escape(f"{path}, {where(form, 7)}: {problem}; ") + ".*--skip-bad-rows"):
        load(path)
    assert pairs(load(path, skip_bad_rows=True)) == as_pairs(GOOD * 2)
    assert f"1 of 13 rows of train are bad and are skipped: {path}, {where(form, 7)}: {problem}" in caplog.text


@pytest.mark.parametrize("form", [".jsonl", ".json", ".parquet"])
@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([0, 1, 10, 2], ("0", "1", "2", "10")),
        ([0.0, 1.0, 2.0, 1.0], ("0", "1", "2")),
        ([True, False, True, True], ("false", "true")),
        (["10", "9", "1", "1"], ("1", "9", "10")),
        (["b", "10", "9", "a"], ("10", "9", "a", "b")),
    ],
)
def test_labels_may_be_numbers(write: Write, form: str, values: list[Any], names: tuple[str, ...]) -> None:
    rows = [{"text": f"t{n}", "label": value} for n, value in enumerate(values)]
    assert load(write(f"a{form}", FORMS[form](rows))).label_names == names


@pytest.mark.parametrize("form", [".jsonl", ".json", ".parquet"])
def test_a_label_with_a_fraction_and_one_that_is_no_number_are_bad(write: Write, form: str) -> None:
    rows = [{"text": "a", "label": 0.0}, {"text": "b", "label": 0.5}]
    with pytest.raises(DataError, match=r"in column 'label' the label 0\.5 has a fraction"):
        load(write(f"a{form}", FORMS[form](rows)))
    rows = [{"text": "a", "label": 0.0}, {"text": "b", "label": math.nan}]
    with pytest.raises(DataError, match="there is no label in column 'label'"):
        load(write(f"b{form}", FORMS[form](rows)))


@pytest.mark.parametrize("form", [".jsonl", ".json", ".parquet"])
def test_a_text_that_is_no_text_is_bad(write: Write, form: str) -> None:
    rows = [{"text": 5, "label": "a"}, {"text": 6, "label": "b"}]
    with pytest.raises(DataError, match=r"the text in column 'text' is 5, a int"):
        load(write(f"a{form}", FORMS[form](rows)))


@pytest.mark.parametrize("form", [".jsonl", ".parquet"])
def test_a_list_of_labels_makes_several(write: Write, form: str) -> None:
    rows = [{"text": "a", "label": ["x", "y"]}, {"text": "b", "label": ["y"]}, {"text": "c", "label": []}]
    splits = load(write(f"a{form}", FORMS[form](rows)))
    assert splits.is_multi_label
    assert [labels for _, labels in splits.train] == [(0, 1), (1,), ()]


def test_a_delimiter_makes_several_labels(write: Write) -> None:
    path = write("a.csv", b"text,label\na,x;y\nb, y ;\nc,;\n")
    splits = load(path, label_delimiter=";", delimiter=",")
    assert splits.label_names == ("x", "y")
    assert [labels for _, labels in splits.train] == [(0, 1), (1,), ()]


@pytest.mark.parametrize("form", FORMS)
def test_numbers_here_and_words_there_are_named(write: Write, form: str) -> None:
    train = write(f"train{form}", FORMS[form]([{"text": f"t{n}", "label": str(n % 2)} for n in range(4)]))
    test = write(f"test{form}", FORMS[form](GOOD))
    with pytest.raises(DataError) as error:
        load(train, test=test)
    assert f"{test}, {where(form, 1)}: the label 'neg' occurs in test, but never in training, which has ['0', '1']" in str(
        error.value
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_single_class_is_refused(write: Write, form: str) -> None:
    with pytest.raises(DataError, match=r"at least two labels; the data have \['neg'\]"):
        load(write(f"a{form}", FORMS[form](GOOD[:1] * 3)))


# What only some forms can have.

CSV = as_csv(GOOD)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a byte order mark", b"\xef\xbb\xbf" + CSV),
        ("CR LF", CSV.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")),
        ("LF", CSV.replace(b"\r\n", b"\n")),
        ("lone CR", CSV.replace(b"\r\n", b"\r")),
        ("UTF-16 with mark", CSV.decode().encode("utf-16")),
        ("UTF-16 little-endian", CSV.decode().encode("utf-16-le")),
        ("UTF-16 big-endian", CSV.decode().encode("utf-16-be")),
        ("no line break at the end", CSV.rstrip()),
        ("empty lines", CSV.replace(b"\r\n", b"\r\n\r\n")),
        ("all in quotes", as_csv(GOOD, quoting=csv.QUOTE_ALL)),
        ("white space in the header", CSV.replace(b"text,label", b" text , label ")),
        ("other case", CSV.replace(b"text,label", b"Text,LABEL")),
        (
            "another column twice",
            b"\r\n".join(line + b",x,y" for line in CSV.replace(b"label", b"label,x,x"[:5]).rstrip().split(b"\r\n")),
        ),
    ],
)
def test_csv_as_programs_write_it(write: Write, name: str, content: bytes) -> None:
    assert pairs(load(write("a.csv", content))) == as_pairs(GOOD)


def test_latin_1_is_read_with_a_warning_and_without_one_when_named(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    content = "text,label\ncaf\u00e9,a\nna\u00efve \u2019x,b\n".encode("cp1252")
    path = write("a.csv", content)
    assert pairs(load(path)) == [("caf\u00e9", "a"), ("na\u00efve \u2019x", "b")]
    assert f"{path} is not UTF-8; it is read as Windows-1252" in caplog.text
    caplog.clear()
    assert pairs(load(path, encoding="cp1252")) == [("caf\u00e9", "a"), ("na\u00efve \u2019x", "b")]
    assert not caplog.records
    with pytest.raises(DataError, match="encoding 'klingon'"):
        load(path, encoding="klingon")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (
            "a.csv",
            b"text,label\ncaf\xc3\xa9,a\nbad \xe9 byte,b\nx,b\n",
            "line 3: the byte 0xE9 after 'bad ' is invalid in the file's",
        ),
        ("a.csv", b"text,label\na,b,b\nb,b\nc,a\n", "line 2: 3 fields, but the header has 2; put text that contains the"),
        ("a.csv", b"text,label\nb,b\na\nb,a\n", "line 3: 1 fields, but the header has 2"),
        ("a.csv", b'text,label\nb,b\n"a" c,a\nc,a\n', "line 3: there is text after a closing quote; double the quotes"),
        ("a.csv", b"text,label\na,a\ntext,label\nb,b\n", "line 3: the header is repeated"),
        (
            "a.jsonl",
            b'{"text": "\xc3\xa9", "label": "a"}\n{"text": "\xe9", "label": "b"}\nLAST',
            "line 2: the byte 0xE9 after",
        ),
        (
            "a.jsonl",
            b'{"text": "a", "label": "a"}\n{"text": "b", "label":}\nLAST',
            "line 2, column 23: not JSON: Expect",
        ),
        (
            "a.jsonl",
            b'{"text": "a", "label": "a"}\n{"text": "b", "label": ' + b"9" * 5000 + b"}\nLAST",
            "line 2: not JSON: Exceeds the limit",
        ),
        ("a.jsonl", b'{"text": "a", "label": "a"}\n[1]\nLAST', "line 2: a list, not an object"),
        ("a.jsonl", b'{"text": "a", "label": "a"}\n{"text": "b"}\nLAST', "line 2: there is no label in column 'label'"),
        ("a.json", b'[{"text": "a", "label": "a"}, 7, LAST]', "item 2: a int, not an object"),
        ("a.txt", b"__label__a caf\xc3\xa9\n__label__b \xe9\n__label__b b\n", "line 2: the byte 0xE9"),
        ("a.txt", b"__label__a x\nno label\n__label__b b\n", "line 2: there is no label: the line does not begin with __la"),
        ("a.txt", b"__label__a x\n__label__b \n__label__b b\n", "line 2: there is no text after the label"),
    ],
)
def test_a_broken_row_is_named(write: Write, name: str, content: bytes, problem: str) -> None:
    path = write(name, content.replace(b"LAST", b'{"text": "last", "label": "b"}'))
    with pytest.raises(DataError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}, {problem}")
    assert load(path, skip_bad_rows=True).label_names == ("a", "b")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\xef\xbb\xbf\n\n", "is empty"),
        ("a.jsonl", b"\n", "is empty"),
        ("a.csv", b"text,label\n", "no rows"),
        ("a.parquet", as_parquet([{"text": "a", "label": "b"}])[:-9], "cannot read"),
        ("a.arrow", b"no arrow", "cannot read"),
        ("a.csv.gz", gzip.compress(CSV, mtime=0)[:-9], "cannot read"),
        ("a.csv.zst", b"no zstandard", "cannot read"),
        ("a.csv", b'text,label\nb,y\n"open,x\nmore,y\n', "line 3: a quote is opened and never closed"),
        ("a.json", b'[{"text": "a", "label": "x"}', "not JSON"),
        ("a.json", b"[" + b"9" * 5000 + b"]", "not JSON"),
        ("a.csv", b"text,text,label\na,b,x\nc,d,y\n", "has 2 columns 'text'; rename all but one"),
        ("imdb.npz", b"no archive", "cannot read"),
    ],
)
def test_a_broken_file_is_refused_even_when_bad_rows_are_left_out(
    write: Write, name: str, content: bytes, problem: str
) -> None:
    write("imdb_word_index.json", b"{}")
    path = write(name, content)
    with pytest.raises(DataError, match=problem):
        load(path, skip_bad_rows=True)


def test_messages_with_stray_quotes(write: Write) -> None:
    lines = b'spam\t"Win" a prize\nham\tI said "hi\nham\t"whole"\nspam\tyes\n'
    expected = [('"Win" a prize', "spam"), ('I said "hi', "ham"), ('"whole"', "ham"), ("yes", "spam")]
    path = write("sms.tsv", lines)
    assert pairs(load(path, text_column="2", label_column="1")) == expected
    well_formed = write("quoted.tsv", b'label\ttext\nham\t"a\tb"\nspam\tc\n')
    assert pairs(load(well_formed)) == [("a\tb", "ham"), ("c", "spam")]


def test_groups_stay_on_one_side(write: Write) -> None:
    rows = [{"text": f"t{n}", "label": "ab"[n % 2], "author": f"writer {n // 4}"} for n in range(80)]
    splits = load(write("a.csv", as_csv(rows)), group_column="author", test_fraction=0.2).with_validation(
        fraction=0.2, seed=0
    )
    groups = {name: set(split.groups or ()) for name, split in splits.labelled().items()}
    assert all(groups.values())
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["validation"]
    assert not groups["validation"] & groups["test"]
    with pytest.raises(DataError, match="there is no group in column 'author'"):
        load(write("b.csv", as_csv([*rows, {"text": "t", "label": "a", "author": ""}])), group_column="author")


def test_a_test_fraction_is_stratified_and_seeded(write: Write) -> None:
    rows = [{"text": f"t{n}", "label": "aaab"[n % 4]} for n in range(100)]
    path = write("a.csv", as_csv(rows))
    first, again, other = (load(path, test_fraction=0.2, seed=seed) for seed in (0, 0, 1))
    assert first.test is not None
    assert np.bincount(first.test.labels).tolist() == [15, 5]
    assert pairs(first, "test") == pairs(again, "test") != pairs(other, "test")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for path in ("nowhere.csv", "no-*.csv", f"{tmp_path}/nothing/"):
        with pytest.raises(DataError, match="there is no file"):
            load(path)
    with pytest.raises(DataError, match="neither one folder of text files per class, nor files"):
        load(str(tmp_path))


def test_without_pyarrow_the_extra_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a.parquet", as_parquet(GOOD))
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'seqcls\[data\]'"):
        load(path)


@pytest.mark.parametrize("form", [".csv", ".jsonl", ".parquet"])
def test_a_document_of_ten_megabytes(write: Write, form: str) -> None:
    rows = [{"text": "word " * 2_000_000, "label": "a"}, {"text": "short", "label": "b"}]
    path = write(f"a{form}", FORMS[form](rows))
    started = time.perf_counter()
    splits = load(path)
    assert len(splits.train.texts[0]) == 10_000_000
    assert time.perf_counter() - started < 5


def test_a_file_can_be_trained_on_and_the_run_says_so(
    write: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    rows = [{"text": f"this is {('bad', 'good')[n % 2]} number {n}", "label": n % 2} for n in range(200)]
    path = write("reviews.csv", as_csv(rows))
    config = load_recipe("default", encoder="mean-pool", dataset=path).updated(
        {"fit": {"epochs": 10, "lr": 0.02}}, source="test"
    )
    assert (config.data.dataset, config.data.dataset_options) == ("files", {"path": path})
    result = Trainer(config=config, output=tmp_path / "run", callbacks=[]).fit()
    assert result.validation is not None
    assert result.validation.accuracy == 1
    assert result.model is not None
    assert Classifier.from_pretrained(result.model, device="cpu").predict(["number good"]) == ["1"]
    again = Trainer("mean-pool", path)
    assert again.config.data.dataset_options == {"path": path}


def test_another_file_is_other_data(write: Write) -> None:
    first = FilesDataset(path=write("a.csv", CSV)).fingerprint()
    assert FilesDataset(path=write("b.csv", CSV)).fingerprint() != first
    assert FilesDataset(path=write("a.csv", CSV), label_column="label").fingerprint() != first
