"""Files in every form give the same data, whatever their compression, encoding, delimiter and column names."""

from __future__ import annotations

import csv
import gzip
import io
import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from table_files import (
    FORMS,
    GOOD,
    Write,
    as_csv,
    as_jsonl,
    as_pairs,
    as_parquet,
    load,
    pairs,
)

from seqcls.data.datasets.files import FilesDataset
from seqcls.errors import DataError, MissingExtraError
from seqcls.testing import check_dataset


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
def test_the_delimiter_is_inferred(write: Write, delimiter: str) -> None:
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


def test_fasttexts_form(write: Write) -> None:
    path = write("train.txt", b'__label__pos A good one, "really"\n__label__neg Bad.\n\n__label__pos Fine\n')
    assert pairs(load(path)) == [('A good one, "really"', "pos"), ("Bad.", "neg"), ("Fine", "pos")]
    several = load(write("several.txt", b"__label__a __label__b both\n__label__a one\n"))
    assert several.is_multi_label
    assert several.train.labels is not None
    assert several.train.labels.tolist() == [[1, 1], [1, 0]]


def test_any_white_space_ends_a_label_of_fasttext_and_it_may_stand_anywhere(write: Write) -> None:
    path = write("train.txt", b"\n  \n__label__pos\tgreat film\n __label__neg\xc2\xa0bad film\n\n__label__pos  fine\r\n")
    assert pairs(load(path)) == [("great film", "pos"), ("bad film", "neg"), ("fine", "pos")]
    later = load(write("later.txt", b"__label__a great __label__b film\nplain text __label__a\n"))
    assert list(later.train.sequences) == ["great film", "plain text"]
    assert later.train.labels is not None
    assert later.train.labels.tolist() == [[1, 1], [1, 0]]
    inside = load(write("inside.txt", b"__label__a x__label__b\n__label__b y\n"))
    assert pairs(inside) == [("x__label__b", "a"), ("y", "b")]


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


def test_latin_1_is_read_with_a_warning_unless_it_is_named(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    content = "text,label\ncaf\u00e9,a\nna\u00efve \u2019x,b\n".encode("cp1252")
    path = write("a.csv", content)
    assert pairs(load(path)) == [("caf\u00e9", "a"), ("na\u00efve \u2019x", "b")]
    assert f"{path} is not UTF-8; it is read as Windows-1252" in caplog.text
    caplog.clear()
    assert pairs(load(path, encoding="cp1252")) == [("caf\u00e9", "a"), ("na\u00efve \u2019x", "b")]
    assert not caplog.records
    with pytest.raises(DataError, match="encoding 'klingon'"):
        load(path, encoding="klingon")


def test_messages_with_stray_quotes(write: Write) -> None:
    lines = b'spam\t"Win" a prize\nham\tI said "hi\nham\t"whole"\nspam\tyes\n'
    expected = [('"Win" a prize', "spam"), ('I said "hi', "ham"), ('"whole"', "ham"), ("yes", "spam")]
    path = write("sms.tsv", lines)
    assert pairs(load(path, text_column="2", label_column="1")) == expected
    well_formed = write("quoted.tsv", b'label\ttext\nham\t"a\tb"\nspam\tc\n')
    assert pairs(load(well_formed)) == [("a\tb", "ham"), ("c", "spam")]


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
