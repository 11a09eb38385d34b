from __future__ import annotations

import json
import mmap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from seqcls.data.sequence_files import write_sequences
from seqcls.data.sequences import Sequences
from seqcls.errors import DataError


def arrays_of(sequences: Sequences) -> list[NDArray[Any]]:
    assert sequences.labels is not None
    return [sequences.values, sequences.offsets, sequences.labels]


def memory_of(array: NDArray[Any]) -> object:
    base: object = array
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    return base


def test_sequences_are_read_by_index() -> None:
    sequences = Sequences.from_list([[5, 6], [], [7]], labels=[0, 1, 0])
    assert len(sequences) == 3
    assert [part.tolist() for part in (sequences[0], sequences[1], sequences[2], sequences[-1])] == [
        [5, 6],
        [],
        [7],
        [7],
    ]
    assert sequences.lengths.tolist() == [2, 0, 1]
    assert sequences.values.dtype == np.int32
    assert sequences.offsets.dtype == np.int64
    with pytest.raises(IndexError):
        sequences[3]


def test_features_are_sequences_too(tmp_path: Path) -> None:
    sequences = Sequences.from_list([np.ones((2, 3)), np.zeros((1, 3))])
    sequences.save(tmp_path / "features.safetensors")
    loaded = Sequences.load(tmp_path / "features.safetensors")
    assert loaded.values.dtype == np.float32
    assert loaded.values.shape == (3, 3)
    assert loaded[0].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert loaded.labels is None


@given(st.lists(st.lists(st.integers(0, 99), max_size=4), min_size=1), st.data())
def test_taking_is_indexing(sequences: list[list[int]], draw: st.DataObject) -> None:
    indices = draw.draw(st.lists(st.integers(-len(sequences), len(sequences) - 1)))
    taken = Sequences.from_list(sequences, labels=range(len(sequences))).take(indices)
    assert [sequence.tolist() for sequence in taken] == [sequences[index] for index in indices]
    assert taken.labels is not None
    assert taken.labels.tolist() == [index % len(sequences) for index in indices]


@given(st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=4)), st.booleans())
def test_saving_and_loading_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, sequences: list[list[int]], labelled: bool
) -> None:
    original = Sequences.from_list(sequences, labels=range(len(sequences)) if labelled else None)
    path = tmp_path_factory.getbasetemp() / "round-trip.safetensors"
    original.save(path)
    loaded = Sequences.load(path)
    assert [sequence.tolist() for sequence in loaded] == sequences
    assert loaded.values.dtype == np.int32
    assert loaded.offsets.dtype == np.int64
    if labelled:
        assert loaded.labels is not None
        assert loaded.labels.tolist() == list(range(len(sequences)))
        assert loaded.labels.dtype == np.int64
    else:
        assert loaded.labels is None


def test_weights_are_saved_and_taken_with_their_sequences(tmp_path: Path) -> None:
    original = replace(Sequences.from_list([[1, 2], [3], []], labels=[0, 1, 0]), weights=np.array([0.1, 2.0, 0.0]))
    original.save(tmp_path / "x.safetensors")
    loaded = Sequences.load(tmp_path / "x.safetensors")
    taken = loaded.take([2, 0])
    assert loaded.weights is not None
    assert taken.weights is not None
    assert loaded.weights.tolist() == [0.1, 2.0, 0.0]
    assert taken.weights.tolist() == [0.0, 0.1]
    assert len({sequences.digest for sequences in (original, replace(original, weights=None), taken)}) == 3
    assert loaded.digest == original.digest
    for wrong in (np.ones(2), np.ones((3, 1)), np.ones(3, np.float32)):
        with pytest.raises(DataError, match=r"weights are float.* give float64 \[3\]"):
            replace(original, weights=wrong)


def test_loaded_arrays_are_the_mapped_file(tmp_path: Path) -> None:
    replace(Sequences.from_list([[1, 2], [3]], labels=[0, 1]), weights=np.ones(2)).save(tmp_path / "x.safetensors")
    loaded = Sequences.load(tmp_path / "x.safetensors")
    mapped = memory_of(loaded.values)
    assert isinstance(mapped, mmap.mmap)
    assert loaded.weights is not None
    for array in [*arrays_of(loaded), loaded.weights, loaded[0]]:
        assert memory_of(array) is mapped
        assert not array.flags.writeable
        assert array.flags.aligned


def test_views_with_gaps_are_saved_by_value(tmp_path: Path) -> None:
    values = np.arange(10, dtype=np.int32)[::2]
    Sequences(values, np.array([0, 5])).save(tmp_path / "x.safetensors")
    assert Sequences.load(tmp_path / "x.safetensors").values.tolist() == [0, 2, 4, 6, 8]


def test_safetensors_reads_the_file(tmp_path: Path) -> None:
    Sequences.from_list([[1, 2], [3]], labels=[0, 1]).save(tmp_path / "x.safetensors")
    arrays = safetensors.numpy.load_file(tmp_path / "x.safetensors")
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "values": [1, 2, 3],
        "offsets": [0, 2, 3],
        "labels": [0, 1],
    }


@pytest.mark.parametrize(
    ("values", "offsets", "labels"),
    [
        (np.zeros(3, np.int64), np.array([0, 3]), None),
        (np.zeros(3, np.float32), np.array([0, 3]), None),
        (np.zeros((3, 1), np.int32), np.array([0, 3]), None),
        (np.zeros(3, np.int32), np.array([0, 2]), None),
        (np.zeros(3, np.int32), np.array([1, 3]), None),
        (np.zeros(3, np.int32), np.array([0, 2, 1, 3]), None),
        (np.zeros(3, np.int32), np.array([0, 4, 3]), None),
        (np.zeros(3, np.int32), np.array([0, 3], np.int32), None),
        (np.zeros(0, np.int32), np.array([], np.int64), None),
        (np.zeros(3, np.int32), np.array([0, 3]), np.array([0, 1])),
        (np.zeros(3, np.int32), np.array([0, 3]), np.array([0.5])),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    values: NDArray[Any], offsets: NDArray[Any], labels: NDArray[Any] | None, tmp_path: Path
) -> None:
    with pytest.raises(DataError):
        Sequences(values, offsets, labels)
    arrays = {"values": values, "offsets": offsets} | ({} if labels is None else {"labels": labels})
    safetensors.numpy.save_file(arrays, tmp_path / "wrong.safetensors")
    with pytest.raises(DataError, match=r"wrong\.safetensors"):
        Sequences.load(tmp_path / "wrong.safetensors")


@pytest.mark.parametrize(
    "sequences", [[np.ones((2, 3)), np.ones((2, 4))], [[1], [[1.0]]], [3, 4], [["a"]], [[0.5]], [[None]], [[True]]]
)
def test_lists_that_are_no_sequences_are_refused(sequences: list[Any]) -> None:
    with pytest.raises(DataError):
        Sequences.from_list(sequences)


def _file(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def _header(**values: object) -> dict[str, object]:
    offsets = {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}
    return {"offsets": offsets, "values": {"dtype": "I32", "shape": [0], "data_offsets": [8, 8], **values}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\xff" * 8,
        _file({}),
        _file([]),
        _file(1),
        _file(b"\xff"),
        _file(b"[" * 100_000),
        _file({"offsets": 1, "values": 2}, bytes(8)),
        _file({**_header(), "more": _header()["values"]}, bytes(8)),
        _file(_header(), bytes(9)),
        _file(_header(), bytes(7)),
        _file(_header(dtype="I99"), bytes(8)),
        _file(_header(dtype=[]), bytes(8)),
        _file(_header(shape="x"), bytes(8)),
        _file(_header(shape=[-1]), bytes(8)),
        _file(_header(shape=[2**70]), bytes(8)),
        _file(_header(shape=[0.5]), bytes(8)),
        _file(_header(data_offsets=[8]), bytes(8)),
        _file(_header(data_offsets=[-8, -8]), bytes(8)),
        _file(_header(data_offsets=[2**70, 2**70]), bytes(8)),
        _file(_header(data_offsets=["a", "b"]), bytes(8)),
    ],
)
def test_a_garbled_file_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.safetensors"):
        Sequences.load(tmp_path / "bad.safetensors")


def test_the_plain_file_that_the_garbled_ones_come_from_is_read(tmp_path: Path) -> None:
    (tmp_path / "good.safetensors").write_bytes(_file(_header(), bytes(8)))
    assert len(Sequences.load(tmp_path / "good.safetensors")) == 0


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.safetensors"):
        Sequences.load(tmp_path / "nowhere.safetensors")


@given(st.integers(0), st.integers(1, 255))
def test_no_damage_to_a_file_raises_anything_but_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, place: int, flip: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    Sequences.from_list([[1, 2], [3]], labels=[0, 1]).save(path)
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= flip
    path.write_bytes(content)
    try:
        sequences = Sequences.load(path)
    except DataError:
        return
    assert sequences.lengths.sum() == len(sequences.values)


def chunks_of(*parts: list[list[int]]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (np.array([number for sequence in part for number in sequence], dtype=np.int32), np.array(list(map(len, part))))
        for part in parts
    ]


@pytest.mark.parametrize("labels", [None, np.array([0, 1, 0]), np.array([[1, 0], [0, 0], [1, 1]], dtype=np.uint8)])
def test_a_file_written_in_pieces_is_the_file_written_at_once(tmp_path: Path, labels: np.ndarray | None) -> None:
    write_sequences(tmp_path / "pieces", chunks_of([[1, 2], [3]], [], [[4, 5, 6]]), count=3, labels=labels)
    Sequences.from_list([[1, 2], [3], [4, 5, 6]], labels=labels).save(tmp_path / "once")
    assert (tmp_path / "pieces").read_bytes() == (tmp_path / "once").read_bytes()
    loaded = Sequences.load(tmp_path / "pieces")
    assert [sequence.tolist() for sequence in loaded] == [[1, 2], [3], [4, 5, 6]]
    if labels is not None:
        assert loaded.labels is not None
        assert loaded.labels.dtype == labels.dtype
        assert loaded.labels.tolist() == labels.tolist()


def test_more_or_fewer_sequences_than_announced_leave_no_file(tmp_path: Path) -> None:
    for count in (1, 3):
        with pytest.raises(DataError, match=f"{count} sequences were announced, but 2 came"):
            write_sequences(tmp_path / "file", chunks_of([[1], [2]]), count=count, labels=None)
    assert not list(tmp_path.iterdir())
