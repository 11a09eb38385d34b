"""What is fuzzed: for each loader, how to call it with a file of any content, and valid files to start from.

Hypothesis (test_fuzz.py) and atheris (fuzz_coverage.py) both call `Target.run`: only a SeqclsError may come out of it.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from static_vectors import TOKENS, new_table, write_model2vec
from toy import toy_config, toy_splits

from seqcls import Config, Trainer
from seqcls.config.toml import load_toml
from seqcls.data.datasets.arrays import read_arrays
from seqcls.data.datasets.files import FilesDataset
from seqcls.data.datasets.keras import WORD_INDEX, read_imdb
from seqcls.data.encoding import parse_preprocessor
from seqcls.data.sequences import Sequences
from seqcls.data.static_vectors import read_static_vectors
from seqcls.data.tokenizer import TextTokenizer
from seqcls.errors import SeqclsError
from seqcls.model.embeddings.pretrained import read_vectors
from seqcls.storage.model_directory import MODEL_FILES, load_model_directory
from seqcls.storage.run_directory import RunDirectory
from seqcls.storage.snapshot import TRAINING_FILES, load_training
from seqcls.storage.writing import to_json
from seqcls.system.untrusted import parse_tensors
from seqcls.training.objective import class_weights


@dataclass(frozen=True)
class Target:
    """A loader.

    Attributes:
        name: The name of the file that it is given.
        read: Reads the file, to the end.
        seeds: Makes valid contents.
        wrap: Puts a mutated content into what makes it a file: an archive, whose checksum would find any change.
    """

    name: str
    read: Callable[[Path], object]
    seeds: Callable[[], list[bytes]]
    wrap: Callable[[bytes], bytes] = bytes

    def run(self, data: bytes, folder: Path) -> bool:
        """Write a file of this content into ``folder`` and read it; return whether it was accepted."""
        path = folder / self.name
        path.write_bytes(self.wrap(data))
        try:
            self.read(path)
        except SeqclsError:
            return False
        return True


# Tables, arrays, vectors, settings.


def _read_rows(path: Path) -> None:
    list(FilesDataset(path=str(path), skip_bad_rows=True).pairs())
    list(FilesDataset(path=str(path), label_delimiter="|", skip_bad_rows=True, encoding="latin-1").pairs())


def _zip(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _lists(*lists: list[int]) -> Any:
    array = np.empty(len(lists), dtype=object)
    array[:] = lists
    return array


_VALUES, _OFFSETS = _npy(np.arange(8, dtype=np.float32).reshape(4, 2)), _npy(np.array([0, 1, 4]))
_LABELS = [_npy(np.array([1, 0])), _npy(np.array(["good", "bad"]))]
_REVIEWS, _RATINGS = _npy(_lists([1, 4, 5], [1, 6])), _npy(np.array([1, 0]))
_INDEX = json.dumps({"film": 1, "good": 2, "bad": 3}).encode()


def _keras(reviews: bytes = _REVIEWS, ratings: bytes = _RATINGS) -> bytes:
    return _zip(x_train=reviews, y_train=ratings, x_test=_REVIEWS, y_test=_RATINGS)


def _read_keras(path: Path) -> None:
    path.with_name(WORD_INDEX).write_bytes(_INDEX)
    list(read_imdb(path, "train"))


def _read_word_index(path: Path) -> None:
    path.with_name("imdb.npz").write_bytes(_keras())
    list(read_imdb(path.with_name("imdb.npz"), "train"))


def _toml() -> list[bytes]:
    return [Config().to_toml().encode(), toy_config(class_weights="balanced").to_toml().encode(), b"fit.lr = 0.1\n[data]\n"]


# Tokenizers and model directories.


def _read_tokenizer(path: Path) -> None:
    tokenizer = parse_preprocessor(path.read_bytes(), path, max_length=9, truncating="middle")
    if isinstance(tokenizer, TextTokenizer):
        values, _ = tokenizer.encode_batch(["A film's é\u0301 <br/>", "", "w" * 300])
        assert values.min() >= 0
        assert values.max() < tokenizer.input_size


def _tokenizers() -> list[bytes]:
    texts = ["the film was good", "the room was bad"]
    ours = [TextTokenizer.fit(texts, vocab_size=300, rules=rules) for rules in ("word", "character", "bpe")]
    features = json.dumps({"mean": [0.5, 1.0], "std": [1.0, 2.0]})
    unigram = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["film", -1.0]], "byte_fallback": False}
    piece = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    piece["vocab"] = {"[UNK]": 0, "film": 1, "##s": 2}
    others = [json.dumps({**json.loads(ours[0].to_json()), "model": model}) for model in (unigram, piece)]
    return [text.encode() for text in (features, *others, *(tokenizer.to_json() for tokenizer in ours))]


def _read_static(path: Path) -> None:
    folder = write_model2vec(path.parent / "vectors")
    (folder / "model.safetensors").write_bytes(path.read_bytes())
    table, tokenizer = read_static_vectors(str(folder))
    assert np.isfinite(table[tokenizer.encode("a superb film 42")]).all()


def _static() -> list[bytes]:
    with tempfile.TemporaryDirectory() as scratch:
        rows = new_table(5, 3)
        mapping, weights = np.arange(len(TOKENS)) % 5, np.ones(len(TOKENS), np.float32)
        folders = [
            write_model2vec(Path(scratch) / "plain"),
            write_model2vec(Path(scratch) / "shared", rows, mapping=mapping, weights=weights),
        ]
        return [(folder / "model.safetensors").read_bytes() for folder in folders]


_SCRATCH = tempfile.TemporaryDirectory(prefix="seqcls-fuzz-")  # deleted when Python ends


@cache
def _checkpoint() -> Path:
    folder = Path(_SCRATCH.name) / "run"
    Trainer(None, toy_splits(), config=toy_config(epochs=1), callbacks=[], output=folder).fit()
    checkpoint = RunDirectory.open(folder).checkpoints.pointed("last")
    assert checkpoint is not None
    return checkpoint


def _in_checkpoint(name: str) -> Target:
    """Fuzz a file of a checkpoint, the hash in the manifest made right."""

    def read(path: Path) -> None:
        checkpoint, folder = _checkpoint(), path.parent / "checkpoint"
        folder.mkdir(exist_ok=True)
        for file in checkpoint.iterdir():
            if not (folder / file.name).exists():
                (folder / file.name).write_bytes(file.read_bytes())
        whole = {part: (folder / part).read_bytes() for part in (name, "manifest.json")}
        try:
            (folder / name).write_bytes(path.read_bytes())
            if name != "manifest.json":
                hashes = json.loads(whole["manifest.json"])
                hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
                (folder / "manifest.json").write_bytes(to_json(hashes))
            if name.startswith("training"):
                load_training(folder)
            else:
                load_model_directory(folder).build()
        finally:
            for part, data in whole.items():
                (folder / part).write_bytes(data)

    return Target(name, read, lambda: [(_checkpoint() / name).read_bytes()])


TARGETS: dict[str, Target] = {
    "csv": Target(
        "a.csv",
        _read_rows,
        lambda: [
            b'text,label\n"A ""good"" film",pos\nbad,neg\n',
            "a;1\nö;0|1\n".encode("utf-16"),
            b"text\tlabel\r\n\xe9,x\t1\n",
        ],
    ),
    "jsonl": Target(
        "a.jsonl",
        _read_rows,
        lambda: [b'{"text": "good", "label": 1}\n{"text": "bad", "label": ["a", 0]}\n', b'[{"text": "x", "label": 1.0}]'],
    ),
    "fasttext": Target("a.txt", _read_rows, lambda: [b"__label__pos __label__1 good film\n__label__neg bad\n"]),
    "ts": Target(
        "a.ts",
        lambda path: list(read_arrays(path)),
        lambda: [b"# x\n@timeStamps false\n@classLabel true up down\n@data\n1,2.5,3:1e3,2,1:up\n3,2:-30,0:down\n"],
    ),
    "npz": Target(
        "a.npz",
        lambda path: list(read_arrays(path)),
        lambda: [_zip(values=_VALUES, offsets=_OFFSETS, labels=labels) for labels in _LABELS],
    ),
    "npz values": Target(
        "a.npz",
        lambda path: list(read_arrays(path)),
        lambda: [_VALUES, _OFFSETS, _npy(np.zeros((4, 2), np.complex64)), _npy(np.zeros(4, "M8[s]"))],
        lambda data: _zip(values=data, offsets=_OFFSETS, labels=_LABELS[0]),
    ),
    "npz offsets": Target(
        "a.npz",
        lambda path: list(read_arrays(path)),
        lambda: [_OFFSETS, _npy(np.array([0, 1, 4], np.uint64)), *_LABELS],
        lambda data: _zip(values=_VALUES, offsets=data, labels=_LABELS[0]),
    ),
    "npz labels": Target(
        "a.npz",
        lambda path: list(read_arrays(path)),
        lambda: _LABELS,
        lambda data: _zip(values=_VALUES, offsets=_OFFSETS, labels=data),
    ),
    "keras npz": Target("imdb.npz", _read_keras, lambda: [_keras()]),
    "keras reviews": Target("imdb.npz", _read_keras, lambda: [_REVIEWS, _RATINGS], lambda data: _keras(reviews=data)),
    "keras ratings": Target("imdb.npz", _read_keras, lambda: [_RATINGS, _REVIEWS], lambda data: _keras(ratings=data)),
    "keras words": Target(WORD_INDEX, _read_word_index, lambda: [_INDEX]),
    "vectors": Target(
        "a.vec",
        lambda path: list(read_vectors(path, expected_size=3)),
        lambda: [b"2 3\nfilm 1 2 3\ngood -1.5e3 0 .5\n", b"new york 1 2 3\n\xff 1 2 3\n"],
    ),
    "toml": Target("a.toml", lambda path: Config().updated(load_toml(path), source=str(path)), _toml),
    "class weights": Target(
        "a.json",
        lambda path: class_weights(str(path), np.array([0, 1]), ["neg", "pos"]),
        lambda: [b'{"pos": 1.5, "neg": 2}'],
    ),
    "tokenizer": Target("tokenizer.json", _read_tokenizer, _tokenizers),
    "static": Target("vectors.safetensors", _read_static, _static),
    "safetensors": Target(
        "a.safetensors",
        lambda path: parse_tensors(path.read_bytes(), path),
        lambda: [(_checkpoint() / "model.safetensors").read_bytes()],
    ),
    "sequences": Target(
        "a.safetensors",
        Sequences.load,
        lambda: [_saved(Sequences.from_list([[2, 3], [4]], labels=[0, 1])), _saved(Sequences.from_list([[2], []]))],
    ),
    **{
        name: _in_checkpoint(name)
        for name in (*MODEL_FILES, *TRAINING_FILES, "manifest.json")
        if name != "tokenizer.json"  # which has a target of its own
    },
}


def _saved(sequences: Sequences) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        sequences.save(Path(folder) / "a")
        return (Path(folder) / "a").read_bytes()
