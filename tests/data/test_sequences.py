from __future__ import annotations

import json
import logging
import mmap
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import seqcls.data.cache
from seqcls.data.cache import EncodedCache, EncodedData, UnencodedData
from seqcls.data.sequences import Sequences, Unencoded, encode, unknown_rate, write_sequences
from seqcls.data.tokenizer import UNK_ID, TextTokenizer
from seqcls.data.tokenizer_worker import encode_on_two_cores
from seqcls.errors import DataError

KEY = "0a1b"
TEXTS = ["a good film", "bad", "", "good good good bad"]


@pytest.fixture
def cache(tmp_path: Path) -> EncodedCache:
    return EncodedCache(tmp_path / "cache")


@pytest.fixture
def data() -> EncodedData:
    return example_data()


def example_data() -> EncodedData:
    tokenizer = TextTokenizer.fit(TEXTS, num_words=4, max_length=3, truncating="pre")
    splits = {"train": encode(tokenizer, TEXTS, [1, 0, 0, 1]), "test": encode(tokenizer, TEXTS[:2], [1, 0])}
    return EncodedData(tokenizer, splits, ("neg", "pos"))


def as_lists(data: EncodedData) -> object:
    splits = {name: [array.tolist() for array in arrays_of(split)] for name, split in data.splits.items()}
    settings_ = (data.tokenizer.max_length, data.tokenizer.truncating)
    return data.tokenizer.to_json(), settings_, list(splits.items()), data.label_names


def arrays_of(sequences: Sequences) -> list[NDArray[Any]]:
    assert sequences.labels is not None
    return [sequences.values, sequences.offsets, sequences.labels]


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


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


def test_loaded_arrays_are_the_mapped_file(tmp_path: Path) -> None:
    Sequences.from_list([[1, 2], [3]], labels=[0, 1]).save(tmp_path / "x.safetensors")
    loaded = Sequences.load(tmp_path / "x.safetensors")
    mapped = memory_of(loaded.values)
    assert isinstance(mapped, mmap.mmap)
    for array in [*arrays_of(loaded), loaded[0]]:
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


def test_encoding_joins_ids_and_labels(data: EncodedData) -> None:
    # The vocabulary of four: [PAD], [UNK], good (4 times), bad (2); "a" and "film" (once each) are unknown.
    assert [sequence.tolist() for sequence in data.splits["train"]] == [[1, 2, 1], [3], [UNK_ID], [2, 2, 3]]
    labels = data.splits["train"].labels
    assert labels is not None
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 0, 0, 1]
    assert encode(data.tokenizer, TEXTS).labels is None


def test_unknown_rate_is_a_share_of_ids(data: EncodedData) -> None:
    assert unknown_rate(data.splits["train"]) == 3 / 8
    assert unknown_rate(Sequences.from_list([])) == 0


def test_nothing_is_cached_at_first(cache: EncodedCache, caplog: pytest.LogCaptureFixture) -> None:
    assert cache.open(KEY) is None
    assert not cache.root.exists()
    assert not caplog.records


def test_stored_data_comes_back_mapped_and_the_same(cache: EncodedCache, data: EncodedData) -> None:
    for found in (cache.store(KEY, data), cache.open(KEY)):
        assert found is not None
        assert as_lists(found) == as_lists(data)
        assert all(isinstance(memory_of(split.values), mmap.mmap) for split in found.splits.values())
    assert names_in(cache.root) == {KEY}
    files = {"manifest.json", "tokenizer.json", "train.safetensors", "test.safetensors"}
    assert names_in(cache.root / KEY) == files


def test_keys_do_not_mix(cache: EncodedCache, data: EncodedData) -> None:
    cache.store(KEY, data)
    assert cache.open("other") is None
    for key in ("", ".", "..", "a/b"):
        with pytest.raises(ValueError, match="cache key"):
            cache.open(key)


def _cut(folder: Path) -> None:
    content = (folder / "train.safetensors").read_bytes()
    (folder / "train.safetensors").write_bytes(content[:-4])


def _flip(name: str) -> Callable[[Path], None]:
    def flip(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[-20] ^= 1
        (folder / name).write_bytes(content)

    flip.__name__ = f"flip {name}"
    return flip


def _edit(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(manifest | changes))

    edit.__name__ = f"edit {next(iter(changes))}"
    return edit


def _replace(name: str, content: bytes) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        (folder / name).write_bytes(content)

    replace.__name__ = f"replace {name} by {content.decode()}"
    return replace


def _rename_from_other_key(folder: Path) -> None:
    EncodedCache(folder.parent).store("other", example_data())
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    (folder.parent / "other").rename(folder)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_cut, r"train\.safetensors is damaged"),
        (_flip("train.safetensors"), r"train\.safetensors is damaged"),
        (_flip("tokenizer.json"), r"tokenizer\.json is damaged"),
        (_flip("manifest.json"), r"manifest\.json is damaged"),
        (lambda folder: (folder / "test.safetensors").unlink(), r"test\.safetensors"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"tokenizer\.json"),
        (lambda folder: (folder / "manifest.json").unlink(), r"manifest\.json"),
        (_edit(label_names=["pos", "neg"]), r"manifest\.json is damaged"),
        (_edit(files={}), r"manifest\.json is damaged"),
        (_edit(format_version=99), "format version 99"),
        (_replace("manifest.json", b""), r"manifest\.json is damaged"),
        (_replace("manifest.json", b"[]"), r"manifest\.json is damaged"),
        (_replace("manifest.json", b"{}"), "format version None"),
        (_rename_from_other_key, "belongs to the key other"),
    ],
)
def test_an_unsound_entry_is_rebuilt_with_one_warning(
    cache: EncodedCache,
    data: EncodedData,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    words: str,
) -> None:
    cache.store(KEY, data)
    damage(cache.root / KEY)
    assert cache.open(KEY) is None
    assert len(caplog.records) == 1
    assert re.search(words, caplog.text)
    assert "it is rebuilt" in caplog.text
    assert (caplog.records[0].name, caplog.records[0].levelno) == ("seqcls", logging.WARNING)
    caplog.clear()
    rebuilt = cache.store(KEY, data)
    found = cache.open(KEY)
    assert found is not None
    assert as_lists(found) == as_lists(rebuilt) == as_lists(data)
    assert not caplog.records
    assert names_in(cache.root) == {KEY}


def test_an_entry_of_another_format_is_rebuilt(
    cache: EncodedCache, data: EncodedData, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.store(KEY, data)
    monkeypatch.setattr(seqcls.data.cache, "FORMAT_VERSION", 99)
    assert cache.open(KEY) is None
    assert "format version 2; this version of seqcls reads 99; it is rebuilt" in caplog.text
    cache.store(KEY, data)
    assert cache.open(KEY) is not None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0), st.integers(1, 255), st.sampled_from(["manifest.json", "tokenizer.json", "train.safetensors"]))
def test_no_flipped_byte_goes_unnoticed(cache: EncodedCache, place: int, flip: int, name: str) -> None:
    data = example_data()
    cache.store(KEY, data)
    content = bytearray((cache.root / KEY / name).read_bytes())
    content[place % len(content)] ^= flip
    (cache.root / KEY / name).write_bytes(content)
    found = cache.open(KEY)
    assert found is None or as_lists(found) == as_lists(data)  # white space of the manifest may be another


@pytest.mark.parametrize("name", [KEY, f"{KEY}/manifest.json"])
def test_what_stands_in_the_way_is_replaced(cache: EncodedCache, data: EncodedData, name: str) -> None:
    (cache.root / name).parent.mkdir(parents=True)
    (cache.root / name).write_text("x")
    cache.store(KEY, data)
    found = cache.open(KEY)
    assert found is not None
    assert as_lists(found) == as_lists(data)


def test_a_folder_that_cannot_be_written_is_done_without(
    tmp_path: Path, data: EncodedData, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("x")
    cache = EncodedCache(tmp_path / "file" / "cache")
    assert cache.open(KEY) is None
    assert cache.store(KEY, data) is data
    assert len(caplog.records) == 1
    assert "cannot cache encoded data" in caplog.text


def _raise(error: BaseException) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_a_full_disk_is_done_without(
    cache: EncodedCache, data: EncodedData, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", _raise(OSError(28, "No space left on device")))
    assert cache.store(KEY, data) is data
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text
    assert names_in(cache.root) == set()


def test_an_interrupted_store_leaves_nothing(
    cache: EncodedCache, data: EncodedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sequences, "save", _raise(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        cache.store(KEY, data)
    assert names_in(cache.root) == set()
    assert cache.open(KEY) is None


def test_processes_that_store_one_entry_do_not_break_each_other(cache: EncodedCache, data: EncodedData) -> None:
    (cache.root / KEY).mkdir(parents=True)
    (cache.root / KEY / "manifest.json").write_text("left over")  # all must replace it
    script = (
        "import sys\n"
        "from seqcls.data.cache import EncodedCache, EncodedData\n"
        "from seqcls.data.sequences import encode\n"
        "from seqcls.data.tokenizer import TextTokenizer\n"
        f"texts = {TEXTS!r}\n"
        "tokenizer = TextTokenizer.fit(texts, num_words=4, max_length=3, truncating='pre')\n"
        "splits = {'train': encode(tokenizer, texts, [1, 0, 0, 1]), 'test': encode(tokenizer, texts[:2], [1, 0])}\n"
        "data = EncodedData(tokenizer, splits, ('neg', 'pos'))\n"
        "cache = EncodedCache(sys.argv[1])\n"
        f"for _ in range(20):\n    stored = cache.store({KEY!r}, data)\n"
        "print([sequence.tolist() for sequence in stored.splits['train']])\n"
    )
    command = [sys.executable, "-c", script, str(cache.root)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(3)]
    outputs = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(outputs) == 1
    found = cache.open(KEY)
    assert found is not None
    assert as_lists(found) == as_lists(data)
    assert names_in(cache.root) == {KEY}


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
        with pytest.raises(DataError, match=f"{count} sequences were announced, 2 came"):
            write_sequences(tmp_path / "file", chunks_of([[1], [2]]), count=count, labels=None)
    assert not list(tmp_path.iterdir())


def test_texts_are_encoded_on_the_way_to_the_cache_or_in_memory_without_it(
    cache: EncodedCache, data: EncodedData, tmp_path: Path
) -> None:
    unencoded = UnencodedData(data.tokenizer, {"train": Unencoded(data.tokenizer, TEXTS, np.arange(len(TEXTS)))}, ("a", "b"))
    stored = cache.store(KEY, unencoded)
    (tmp_path / "file").touch()
    unstored = EncodedCache(tmp_path / "file" / "cache").store(KEY, unencoded)
    assert as_lists(stored) == as_lists(unstored)
    assert isinstance(memory_of(stored.splits["train"].values), mmap.mmap)


def test_of_a_large_file_a_sample_of_blocks_is_checked(
    cache: EncodedCache, data: EncodedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seqcls.data.cache, "_BLOCK", 16)
    monkeypatch.setattr(seqcls.data.cache, "_MOST_BLOCKS", 4)
    cache.store(KEY, data)
    path = cache.root / KEY / "train.safetensors"
    content = path.read_bytes()
    assert cache.open(KEY) is not None
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert cache.open(KEY) is None
    path.write_bytes(content[:-1])
    assert cache.open(KEY) is None


def test_two_processes_encode_as_one(data: EncodedData, tmp_path: Path) -> None:
    texts = [f"good film {number} \ud800 caf\u00e9" if number % 7 else "" for number in range(9_001)]
    expected = data.tokenizer.encode_batch(texts)
    found = list(encode_on_two_cores(data.tokenizer, texts))
    assert np.concatenate([values for values, _ in found]).tolist() == expected[0].tolist()
    assert np.concatenate([lengths for _, lengths in found]).tolist() == np.diff(expected[1]).tolist()
    assert list(encode_on_two_cores(data.tokenizer, [])) == []


@pytest.mark.parametrize("program", ["import sys; sys.exit(3)", "import sys; sys.stdin.buffer.read(50); print('no answer')"])
def test_a_second_process_that_fails_is_replaced(
    data: EncodedData, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, program: str
) -> None:
    start = subprocess.Popen
    monkeypatch.setattr(
        "seqcls.data.tokenizer_worker.subprocess.Popen",
        lambda command, **kwargs: start([sys.executable, "-c", program], **kwargs),
    )
    texts = [f"good {number}" for number in range(7_000)]
    found = list(encode_on_two_cores(data.tokenizer, texts))
    assert np.concatenate([values for values, _ in found]).tolist() == data.tokenizer.encode_batch(texts)[0].tolist()
    assert "the second encoding process failed" in caplog.text
