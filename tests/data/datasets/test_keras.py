"""Keras' imdb.npz is read, and no pickle in it is executed."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from table_files import (
    Write,
    load,
    pairs,
)

from seqcls.errors import DataError


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
