from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import seqcls.data.cache
from seqcls.data.cache import FORMAT_VERSION, EncodedCache
from seqcls.data.encoding import EncodedData, encode_splits
from seqcls.data.sequences import Sequences
from seqcls.data.splits import Split, Splits
from seqcls.data.tokenizer import TextTokenizer

KEY = "0a1b"
TEXTS = ["a good film", "bad", "", "good good good bad"]
TOKENIZER = TextTokenizer.fit(TEXTS, vocab_size=4, max_length=3, truncating="pre")
SPLITS = Splits(Split(TEXTS, np.array([1, 0, 0, 1])), test=Split(TEXTS[:2], np.array([1, 0])), label_names=("neg", "pos"))


@pytest.fixture
def cache(tmp_path: Path) -> EncodedCache:
    return EncodedCache(tmp_path / "cache")


@pytest.fixture
def data() -> EncodedData:
    return encode_splits(TOKENIZER, SPLITS)


def test_weights_are_kept(cache: EncodedCache) -> None:
    weighted = replace(SPLITS, train=replace(SPLITS.train, weights=np.array([0.5, 1, 0, 2])))
    stored = cache.store(KEY, TOKENIZER, weighted)
    for data in (stored, cache.open(KEY), encode_splits(TOKENIZER, weighted)):
        assert data is not None
        assert data.splits["train"].weights is not None
        assert data.splits["train"].weights.tolist() == [0.5, 1, 0, 2]
        assert data.splits["test"].weights is None


def store(cache: EncodedCache, key: str = KEY) -> EncodedData:
    return cache.store(key, TOKENIZER, SPLITS)


def as_lists(data: EncodedData) -> object:
    splits = {name: [array.tolist() for array in arrays_of(split)] for name, split in data.splits.items()}
    settings_ = (data.preprocessor.max_length, data.preprocessor.truncating)
    return data.preprocessor.to_json(), settings_, list(splits.items()), data.label_names


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


def test_nothing_is_cached_at_first(cache: EncodedCache, caplog: pytest.LogCaptureFixture) -> None:
    assert cache.open(KEY) is None
    assert not cache.root.exists()
    assert not caplog.records


def test_stored_data_comes_back_mapped_and_the_same(cache: EncodedCache, data: EncodedData) -> None:
    for found in (store(cache), cache.open(KEY)):
        assert found is not None
        assert as_lists(found) == as_lists(data)
        assert all(isinstance(memory_of(split.values), mmap.mmap) for split in found.splits.values())
    assert names_in(cache.root) == {KEY}
    files = {"entry.json", "manifest.json", "tokenizer.json", "train.safetensors", "test.safetensors"}
    assert names_in(cache.root / KEY) == files


def test_keys_do_not_mix(cache: EncodedCache, data: EncodedData) -> None:
    store(cache)
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
    """Change entry.json and its hash in the manifest, as another version of seqcls might have written them."""

    def edit(folder: Path) -> None:
        entry = json.dumps(json.loads((folder / "entry.json").read_text()) | changes).encode()
        (folder / "entry.json").write_bytes(entry)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["entry.json"] = hashlib.sha256(entry).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(manifest))

    edit.__name__ = f"edit {next(iter(changes))}"
    return edit


def _replace(name: str, content: bytes) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        (folder / name).write_bytes(content)

    replace.__name__ = f"replace {name} by {content.decode()}"
    return replace


def _rename_from_other_key(folder: Path) -> None:
    store(EncodedCache(folder.parent), "other")
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
        (_flip("entry.json"), r"entry\.json is damaged"),
        (_flip("manifest.json"), r"json is damaged"),
        (lambda folder: (folder / "test.safetensors").unlink(), r"test\.safetensors"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"tokenizer\.json"),
        (lambda folder: (folder / "entry.json").unlink(), r"entry\.json"),
        (lambda folder: (folder / "manifest.json").unlink(), r"manifest\.json"),
        (_replace("entry.json", b'{"label_names": ["pos", "neg"]}'), r"entry\.json is damaged"),
        (_edit(format_version=99), "format version 99"),
        (_edit(label_names=7), r"entry\.json: label_names"),
        (_edit(truncating="both"), r"entry\.json: truncating"),
        (_edit(splits={"train": "0" * 64}), r"train\.safetensors is damaged"),
        (_replace("manifest.json", b""), r"manifest\.json is not valid JSON"),
        (_replace("manifest.json", b"[]"), r"manifest\.json does not hold a JSON object"),
        (_replace("manifest.json", b"{}"), r"entry\.json is damaged"),
        (_replace("manifest.json", b'{"format_version": 2, "files": {}}'), r"manifest\.json is not a list of files"),
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
    store(cache)
    damage(cache.root / KEY)
    assert cache.open(KEY) is None
    assert len(caplog.records) == 1
    assert re.search(words, caplog.text)
    assert "it is rebuilt" in caplog.text
    assert "copy" not in caplog.text  # the advice for a damaged model
    assert (caplog.records[0].name, caplog.records[0].levelno) == ("seqcls", logging.WARNING)
    caplog.clear()
    rebuilt = store(cache)
    found = cache.open(KEY)
    assert found is not None
    assert as_lists(found) == as_lists(rebuilt) == as_lists(data)
    assert not caplog.records
    assert names_in(cache.root) == {KEY}


def test_an_entry_of_another_format_is_rebuilt(
    cache: EncodedCache, data: EncodedData, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(cache)
    monkeypatch.setattr(seqcls.data.cache, "FORMAT_VERSION", 99)
    assert cache.open(KEY) is None
    assert f"format version {FORMAT_VERSION}, and this version of seqcls reads 99; it is rebuilt" in caplog.text
    store(cache)
    assert cache.open(KEY) is not None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0),
    st.integers(1, 255),
    st.sampled_from(["entry.json", "manifest.json", "tokenizer.json", "train.safetensors"]),
)
def test_no_flipped_byte_goes_unnoticed(cache: EncodedCache, place: int, flip: int, name: str) -> None:
    data = encode_splits(TOKENIZER, SPLITS)
    store(cache)
    content = bytearray((cache.root / KEY / name).read_bytes())
    content[place % len(content)] ^= flip
    (cache.root / KEY / name).write_bytes(content)
    found = cache.open(KEY)
    assert found is None or as_lists(found) == as_lists(data)  # white space of the manifest may be another


@pytest.mark.parametrize("name", [KEY, f"{KEY}/manifest.json"])
def test_what_stands_in_the_way_is_replaced(cache: EncodedCache, data: EncodedData, name: str) -> None:
    (cache.root / name).parent.mkdir(parents=True)
    (cache.root / name).write_text("x")
    store(cache)
    found = cache.open(KEY)
    assert found is not None
    assert as_lists(found) == as_lists(data)


def test_a_folder_that_cannot_be_written_is_done_without(
    tmp_path: Path, data: EncodedData, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("x")
    cache = EncodedCache(tmp_path / "file" / "cache")
    assert cache.open(KEY) is None
    assert as_lists(store(cache)) == as_lists(data)
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
    assert as_lists(store(cache)) == as_lists(data)
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text
    assert names_in(cache.root) == set()


def test_an_interrupted_store_leaves_nothing(
    cache: EncodedCache, data: EncodedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seqcls.data.cache, "encode_to_file", _raise(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        store(cache)
    assert names_in(cache.root) == set()
    assert cache.open(KEY) is None


def test_processes_that_store_one_entry_do_not_break_each_other(cache: EncodedCache, data: EncodedData) -> None:
    (cache.root / KEY).mkdir(parents=True)
    (cache.root / KEY / "manifest.json").write_text("left over")  # all must replace it
    script = (
        "import sys\n"
        "import numpy as np\n"
        "from seqcls.data.cache import EncodedCache\n"
        "from seqcls.data.splits import Split, Splits\n"
        "from seqcls.data.tokenizer import TextTokenizer\n"
        f"texts = {TEXTS!r}\n"
        "tokenizer = TextTokenizer.fit(texts, vocab_size=4, max_length=3, truncating='pre')\n"
        "train, test = Split(texts, np.array([1, 0, 0, 1])), Split(texts[:2], np.array([1, 0]))\n"
        "splits = Splits(train, test=test, label_names=('neg', 'pos'))\n"
        "cache = EncodedCache(sys.argv[1])\n"
        f"for _ in range(20):\n    stored = cache.store({KEY!r}, tokenizer, splits)\n"
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


def test_without_a_cache_the_splits_are_encoded_in_memory(cache: EncodedCache, tmp_path: Path) -> None:
    stored = store(cache)
    (tmp_path / "file").touch()
    unstored = store(EncodedCache(tmp_path / "file" / "cache"))
    assert as_lists(stored) == as_lists(unstored)
    assert isinstance(memory_of(stored.splits["train"].values), mmap.mmap)
    assert not isinstance(memory_of(unstored.splits["train"].values), mmap.mmap)


def test_of_a_large_file_a_sample_of_blocks_is_checked(
    cache: EncodedCache, data: EncodedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seqcls.data.cache, "_BLOCK", 16)
    monkeypatch.setattr(seqcls.data.cache, "_MOST_BLOCKS", 4)
    store(cache)
    path = cache.root / KEY / "train.safetensors"
    content = path.read_bytes()
    assert cache.open(KEY) is not None
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert cache.open(KEY) is None
    path.write_bytes(content[:-1])
    assert cache.open(KEY) is None


def test_a_label_with_a_lone_surrogate_is_read_again(cache: EncodedCache, caplog: pytest.LogCaptureFixture) -> None:
    splits = Splits.from_pairs([("a b", "x\ud800"), ("c d", "y")] * 10)
    cache.store(KEY, TextTokenizer.fit(splits.train.texts, vocab_size=9), splits)
    found = cache.open(KEY)
    assert found is not None
    assert found.label_names == ("x\ud800", "y")
    assert caplog.messages == []
