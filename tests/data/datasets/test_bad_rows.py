"""Rows and labels that cannot be used are named, with the same verdict in every form."""

from __future__ import annotations

import gzip
import math
import re
from pathlib import Path
from typing import Any

import pytest
from table_files import (
    FORMS,
    GOOD,
    Write,
    as_csv,
    as_pairs,
    as_parquet,
    load,
    pairs,
    where,
)

from seqcls.data.datasets.files import FilesDataset
from seqcls.errors import DataError

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no text": ({"text": "", "label": "pos"}, "there is no text in column 'text'"),
    "null text": ({"text": None, "label": "pos"}, "there is no text in column 'text'"),
    "no label": ({"text": "a", "label": ""}, "there is no label in column 'label'"),
    "null label": ({"text": "a", "label": None}, "there is no label in column 'label'"),
    "white space as label": ({"text": "a", "label": "  "}, "there is no label in column 'label'"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_named_and_skipped_only_on_request(
    write: Write, form: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    row, problem = BAD[name]
    path = write(f"a{form}", FORMS[form]([*GOOD, row, *GOOD]))
    with pytest.raises(DataError, match=re.escape(f"{path}, {where(form, 7)}: {problem}; ") + ".*--skip-bad-rows"):
        load(path)
    assert pairs(load(path, skip_bad_rows=True)) == as_pairs(GOOD * 2)
    assert f"1 of 13 rows of train are bad and are skipped: {path}, {where(form, 7)}: {problem}" in caplog.text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weight", ["-1", "many", "", "nan", "inf", "1e999"])
def test_a_bad_weight_is_named_and_skipped_only_on_request(write: Write, form: str, weight: str) -> None:
    rows = [{**row, "votes": "1.5"} for row in GOOD]
    path = write(f"a{form}", FORMS[form]([*rows, {**GOOD[0], "votes": weight}, *rows]))
    problem = f"{path}, {where(form, 7)}: the weight in column 'votes' is {weight!r}; give a finite number of at least 0"
    with pytest.raises(DataError, match=re.escape(problem)):
        load(path, weight_column="votes")
    splits = load(path, weight_column="votes", skip_bad_rows=True)
    assert splits.train.weights is not None
    assert splits.train.weights.tolist() == [1.5] * 12


@pytest.mark.parametrize("value", [True, None, [1], -0.5])
def test_json_values_that_are_no_weights_are_refused(write: Write, value: Any) -> None:
    rows = [*GOOD, {**GOOD[0], "votes": value}]
    rows = [{"votes": 1, **row} for row in rows]
    with pytest.raises(DataError, match=re.escape(f"line 7: the weight in column 'votes' is {value!r}")):
        load(write("a.jsonl", FORMS[".jsonl"](rows)), weight_column="votes")


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
def test_labels_with_a_fraction_and_nan_are_bad(write: Write, form: str) -> None:
    rows = [{"text": "a", "label": 0.0}, {"text": "b", "label": 0.5}]
    with pytest.raises(DataError, match=r"in column 'label' the label 0\.5 has a fraction"):
        load(write(f"a{form}", FORMS[form](rows)))
    rows = [{"text": "a", "label": 0.0}, {"text": "b", "label": math.nan}]
    with pytest.raises(DataError, match="there is no label in column 'label'"):
        load(write(f"b{form}", FORMS[form](rows)))


@pytest.mark.parametrize("form", [".jsonl", ".json", ".parquet"])
def test_a_text_that_is_not_a_string_is_bad(write: Write, form: str) -> None:
    rows = [{"text": 5, "label": "a"}, {"text": 6, "label": "b"}]
    with pytest.raises(DataError, match=r"the text in column 'text' is 5, a int"):
        load(write(f"a{form}", FORMS[form](rows)))


@pytest.mark.parametrize("form", [".jsonl", ".parquet"])
def test_a_list_of_labels_is_multi_label(write: Write, form: str) -> None:
    rows = [{"text": "a", "label": ["x", "y"]}, {"text": "b", "label": ["y"]}, {"text": "c", "label": []}]
    splits = load(write(f"a{form}", FORMS[form](rows)))
    assert splits.is_multi_label
    assert [labels for _, labels in splits.train] == [(0, 1), (1,), ()]


def test_a_label_delimiter_is_multi_label(write: Write) -> None:
    path = write("a.csv", b"text,label\na,x;y\nb, y ;\nc,;\n")
    splits = load(path, label_delimiter=";", delimiter=",")
    assert splits.label_names == ("x", "y")
    assert [labels for _, labels in splits.train] == [(0, 1), (1,), ()]


@pytest.mark.parametrize("form", FORMS)
def test_a_label_that_training_never_saw_is_named(write: Write, form: str) -> None:
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
        ("a.txt", b"__label__a x\nno label\n__label__b b\n", "line 2: there is no label"),
        ("a.txt", b"__label__a x\n__label__ text\n__label__b b\n", "line 2: __label__ stands alone"),
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
        ("a.csv.gz", gzip.compress(as_csv(GOOD), mtime=0)[:-9], "cannot read"),
        ("a.csv.zst", b"no zstandard", "cannot read"),
        ("a.csv", b'text,label\nb,y\n"open,x\nmore,y\n', "line 3: a quote is opened and never closed"),
        ("a.json", b'[{"text": "a", "label": "x"}', "not JSON"),
        ("a.json", b"[" + b"9" * 5000 + b"]", "not JSON"),
        ("a.csv", b"text,text,label\na,b,x\nc,d,y\n", "has 2 columns 'text'; rename all but one"),
        ("imdb.npz", b"no archive", "cannot read"),
    ],
)
def test_a_broken_file_is_refused_even_when_bad_rows_are_skipped(
    write: Write, name: str, content: bytes, problem: str
) -> None:
    write("imdb_word_index.json", b"{}")
    path = write(name, content)
    with pytest.raises(DataError, match=problem):
        load(path, skip_bad_rows=True)


def test_a_label_that_training_lacks_is_a_bad_row_of_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "train.csv").write_text("text,label\n" + "good,a\nbad,b\n" * 10)
    (tmp_path / "test.csv").write_text("text,label\nfirst,a\nodd,c\nsecond,b\nother,d\nthird,a\n")
    options: dict[str, Any] = {"path": str(tmp_path / "train.csv"), "test": str(tmp_path / "test.csv")}
    with pytest.raises(DataError, match="'c' occurs in test, but never in training"):
        FilesDataset(**options).load()
    with caplog.at_level("WARNING", logger="seqcls"):
        splits = FilesDataset(**options, skip_bad_rows=True).load()
    assert splits.test is not None
    assert list(splits.test.sequences) == ["first", "second", "third"]
    assert splits.test.labels is not None
    assert splits.test.labels.tolist() == [0, 1, 0]
    assert "2 of 5 rows of test are bad" in caplog.text
    assert "line 3: the label 'c'" in caplog.text


def test_a_split_of_bad_rows_alone_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\n" + "good,a\nbad,b\n" * 10)
    (tmp_path / "other.csv").write_text("text,label\nodd,c\n")
    for split in ("test", "validation"):
        options: dict[str, Any] = {"path": str(tmp_path / "train.csv"), split: str(tmp_path / "other.csv")}
        with pytest.raises(DataError, match=f"the {split} data have no row"):
            FilesDataset(**options, skip_bad_rows=True).load()
