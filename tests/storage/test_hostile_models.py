"""Model directories and checkpoints that are damaged, or made to harm: one error each, that names the file, fast and small.

Whoever changes a file can change its hash, so each change here is sealed again: what is tested is the check behind the hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile import Loader
from safetensors.torch import load_file, save
from toy import toy_config, toy_splits

from seqcls import Classifier, Trainer, load_recipe
from seqcls.errors import CheckpointError
from seqcls.storage.locate import resolve_model_path
from seqcls.storage.model_directory import load_model_directory
from seqcls.storage.run_directory import RunDirectory
from seqcls.storage.snapshot import load_training
from seqcls.storage.writing import to_json
from seqcls.system.untrusted import read_file

Change = Callable[[Path], object]
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the harness forks, and reads /proc")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "run"
    Trainer(None, toy_splits(), config=toy_config(epochs=1), callbacks=[], output=folder).fit()
    return folder


@pytest.fixture(scope="module")
def loader(trained: Path) -> Iterator[Loader]:
    loader = Loader(trained / "model")
    yield loader
    loader.close()


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "model", tmp_path / "model"))


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Path:
    last = RunDirectory.open(trained).checkpoints.pointed("last")
    assert last is not None
    return Path(shutil.copytree(last, tmp_path / "checkpoint"))


def seal(directory: Path) -> None:
    """Make the hashes in the manifest those of the files."""
    names = json.loads((directory / "manifest.json").read_bytes())
    hashes = {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in names}
    (directory / "manifest.json").write_bytes(to_json(hashes))


def content(name: str, data: bytes | Callable[[bytes], bytes]) -> Change:
    """Change the bytes of a file."""

    def change(directory: Path) -> None:
        path = directory / name
        path.write_bytes(data if isinstance(data, bytes) else data(path.read_bytes()))
        if name != "manifest.json":
            seal(directory)

    return change


def values(name: str, change: Callable[[dict[str, Any]], object]) -> Change:
    """Change the values of a JSON file."""

    def changed(data: bytes) -> bytes:
        found = json.loads(data)
        change(found)
        return to_json(found)

    return content(name, changed)


def config(section: str, **settings: Any) -> Change:
    """Change settings in config.json."""
    return values("config.json", lambda found: found["config"][section].update(settings))


def described(**entries: Any) -> Change:
    """Change entries of config.json."""
    return values("config.json", lambda found: found.update(entries))


def plugin(**entries: Any) -> Change:
    """Change the record of the encoder in config.json."""
    return values("config.json", lambda found: found["plugins"]["encoder"].update(entries))


def tensors(change: Callable[[dict[str, torch.Tensor]], object], name: str = "model.safetensors") -> Change:
    """Change the tensors of a safetensors file."""

    def changed(directory: Path) -> None:
        found = load_file(directory / name)
        change(found)
        content(name, save(found))(directory)

    return changed


def header(change: Callable[[dict[str, Any]], object]) -> Change:
    """Change the tensors' entries in the header of model.safetensors, and leave its metadata and the tensors."""

    def changed(data: bytes) -> bytes:
        size = int.from_bytes(data[:8], "little")
        found = json.loads(data[8 : 8 + size])
        metadata = {"__metadata__": found.pop("__metadata__")}
        change(found)
        text = json.dumps(metadata | found).encode()
        return len(text).to_bytes(8, "little") + text + data[8 + size :]

    return content("model.safetensors", changed)


def put_in_place(name: str, make: Callable[[Path], object]) -> Change:
    """Put something else in the place of a file."""

    def change(directory: Path) -> None:
        (directory / name).unlink()
        make(directory / name)

    return change


def tokenizer(change: Callable[[dict[str, Any]], object]) -> Change:
    """Change the values of tokenizer.json."""
    return values("tokenizer.json", change)


TABLE = "embedding.table.weight"


def _overlap(found: dict[str, Any]) -> None:
    first, second = sorted(found, key=lambda name: found[name]["data_offsets"])[:2]
    size = found[second]["data_offsets"][1] - found[second]["data_offsets"][0]
    found[second]["data_offsets"] = [found[first]["data_offsets"][0], found[first]["data_offsets"][0] + size]


def _shift_all(found: dict[str, Any]) -> None:
    for entry in found.values():
        entry["data_offsets"] = [place + 4 for place in entry["data_offsets"]]


def _link_out(path: Path) -> None:
    outside = path.parent.parent / "outside.json"
    outside.write_text("{}")
    path.symlink_to(outside)


def _poison(name: str, value: float) -> Change:
    return tensors(lambda found: found[name].view(-1)[-1:].fill_(value))


DEEP = b"[" * 100_000
BROKEN_MODELS: dict[str, tuple[Change, str]] = {
    # config.json
    "a key twice": (
        content("config.json", lambda data: data.replace(b'"input"', b'"config": {}, "input"')),
        "config' occurs",
    ),
    "a nested key twice": (content("config.json", lambda data: data.replace(b'"lr"', b'"seed": 1, "lr"')), "'seed' occurs"),
    "100,000 lists": (content("config.json", b'{"a": ' + DEEP + b"]" * 100_000 + b"}"), r"config\.json is not valid JSON"),
    "huge JSON": (content("config.json", lambda data: data + b" " * (5 << 20)), r"config\.json has 5,\d+,\d+ bytes"),
    "a number of 5000 digits": (content("config.json", b'{"a": ' + b"9" * 5000 + b"}"), "not valid JSON"),
    "no object": (content("config.json", b"[]"), "does not hold a JSON object"),
    "not UTF-8": (content("config.json", b'{"a": "\xff"}'), "not valid JSON"),
    "no format version": (values("config.json", lambda found: found.pop("format_version")), "format version None"),
    "a huge format version": (described(format_version=10**300), "format version 1000"),
    "a fractional format version": (described(format_version=1.0), r"format version 1\.0"),
    "a true format version": (described(format_version=True), "format version True"),
    "no config": (values("config.json", lambda found: found.pop("config")), "config: Field required"),
    "config a list": (described(config=[]), "config: "),
    "a section a list": (described(config={"data": [1]}), r"data is \[1\]"),
    "options a list": (config("data", dataset="a.csv", dataset_options=[1]), r"config\.json"),
    "an unknown setting": (config("fit", launch="rm -rf /"), r"unknown setting fit\.launch"),
    "a nested option": (config("model", encoder_options={"hidden_size": {"a": [1]}}), r"config\.json"),
    "a path as encoder": (config("model", encoder="../../etc/passwd"), "needs the encoder"),
    "a function as encoder": (config("model", encoder="os:system"), "needs the encoder"),
    "a huge hidden size": (config("model", encoder_options={"hidden_size": 10**8}), "make it"),
    "an overflowing hidden size": (config("model", encoder_options={"hidden_size": 10**12}), "cannot be built"),
    "a hidden size beyond 64 bits": (config("model", encoder_options={"hidden_size": 10**30}), "cannot be built"),
    "a million layers": (config("model", encoder_options={"hidden_size": 4, "num_layers": 10**6}), "far more tensors"),
    "a huge embedding": (config("model", embedding_size=10**9), "make it"),
    "a huge transformer": (
        config("model", encoder="transformer", encoder_options={"num_layers": 10**6}),
        "far more tensors",
    ),
    "huge n-grams": (config("model", embedding="ngram-hash", embedding_options={"buckets": 10**10}), "lacks|make it"),
    "a billion filters": (config("model", encoder="cnn", encoder_options={"num_filters": 10**9}), "lacks|make it"),
    "a million widths": (config("model", encoder="cnn", encoder_options={"widths": "3," * 10**6 + "3"}), "far more tensors"),
    "a huge NumPy state": (config("model", encoder="numpy-simple-rnn", encoder_options={"hidden_size": 10**9}), "lacks"),
    "an embedding of numbers": (
        config("model", embedding="features", embedding_options={}),
        "is for text, but the embedding",
    ),
    # labels, thresholds, plugins, metrics
    "a label twice": (described(label_names=["bad", "bad"]), "label_names: .*twice"),
    "no labels": (described(label_names=[]), "label_names"),
    "labels a string": (described(label_names="ab"), "label_names"),
    "a label a number": (described(label_names=["bad", 1]), r"label_names\.1"),
    "too many labels": (described(label_names=["a", "b", "c"]), r"head\.weight has shape"),
    "a temperature of 0": (described(temperature=0), "temperature"),
    "a negative temperature": (described(temperature=-1.5), "temperature"),
    "a NaN temperature": (described(temperature=float("nan")), "temperature"),
    "a temperature a string": (described(temperature="1"), "temperature"),
    "no temperature at all": (described(temperature=None), "temperature"),
    "too few thresholds": (described(thresholds=[0.5]), "1 thresholds for 2 labels"),
    "a NaN threshold": (described(thresholds=[0.5, float("nan")]), r"thresholds\.1"),
    "an infinite threshold": (described(thresholds=[0.5, float("inf")]), r"thresholds\.1"),
    "a threshold a string": (described(thresholds=[0.5, "0.5"]), r"thresholds\.1"),
    "a threshold a bool": (described(thresholds=[0.5, True]), r"thresholds\.1"),
    "thresholds a number": (described(thresholds=0.5), "thresholds: "),
    "no thresholds": (values("config.json", lambda found: found.pop("thresholds")), "thresholds: "),
    "plugins a list": (described(plugins=[]), "plugins: "),
    "no encoder's plugin": (described(plugins={}), r"plugins\.encoder"),
    "a plugin a number": (plugin(target=7), r"plugins\.encoder\.target"),
    "a command as a plugin": (plugin(distribution="x; rm -rf ~"), r"plugins\.encoder\.distribution"),
    "a flag as a plugin": (plugin(distribution="--index-url=evil"), r"plugins\.encoder\.distribution"),
    "metrics of words": (content("metrics.json", b'{"test": {"accuracy": "best"}}'), r"metrics\.json: loss"),
    # manifest.json
    "a manifest without a file": (
        values("manifest.json", lambda found: found.pop("config.json")),
        r"config\.json is damaged",
    ),
    "a manifest of paths": (
        values("manifest.json", lambda found: found.update({"../../etc/passwd": "0" * 64})),
        "etc/passwd",
    ),
    "a manifest of numbers": (values("manifest.json", lambda found: found.update({"config.json": 1})), "config.json"),
    "a huge manifest": (content("manifest.json", lambda data: data + b" " * (5 << 20)), r"manifest\.json has 5,"),
    # model.safetensors
    "a header of 2^40 bytes": (content("model.safetensors", (1 << 40).to_bytes(8, "little") + b"{}"), "1,099,511,627,776"),
    "a header of 2^64 bytes": (content("model.safetensors", b"\xff" * 8 + b"{}"), "18,446,744"),
    "a header of nested lists": (
        content("model.safetensors", (6 + 100_000).to_bytes(8, "little") + b'{"a": ' + DEEP),
        r"model\.safetensors is not valid JSON",
    ),
    "a tensor twice": (
        content("model.safetensors", (18).to_bytes(8, "little") + b'{"a": {}, "a": {}}'),
        "'a' occurs twice",
    ),
    "overlapping tensors": (header(_overlap), "not a valid safetensors file"),
    "a hole before the tensors": (header(_shift_all), "not a valid safetensors file"),
    "bytes after the tensors": (content("model.safetensors", lambda data: data + b"\0"), "not a valid safetensors file"),
    "an overflowing shape": (header(lambda found: found[TABLE].update(shape=[1 << 33, 1 << 33])), "not a valid safetensors"),
    "a shape beyond 64 bits": (header(lambda found: found[TABLE].update(shape=[1 << 70])), "not a valid safetensors file"),
    "a negative shape": (header(lambda found: found[TABLE].update(shape=[-1, 8])), "not a valid safetensors file"),
    "overflowing offsets": (
        header(lambda found: found[TABLE].update(data_offsets=[(1 << 64) - 8, 1 << 63])),
        "not a valid safetensors file",
    ),
    "an empty tensor of a huge shape": (
        tensors(lambda found: found.update({TABLE: torch.empty(1 << 40, 0)})),
        r"embedding\.table\.weight has shape \[1099511627776, 0\]",
    ),
    "an unknown type": (header(lambda found: found[TABLE].update(dtype="C128")), "not a valid safetensors file"),
    "a type of four bits": (
        header(lambda found: found[TABLE].update(dtype="F4", shape=[8 * found[TABLE]["shape"][0], 8])),
        r"model\.safetensors",
    ),
    "a transposed tensor": (
        header(lambda found: found[TABLE]["shape"].reverse()),
        r"embedding\.table\.weight has shape",
    ),
    "half precision": (tensors(lambda found: found.update({TABLE: found[TABLE].half()})), "is torch.float16"),
    "whole numbers": (tensors(lambda found: found.update({TABLE: found[TABLE].int()})), "is torch.int32"),
    "a NaN weight": (_poison(TABLE, float("nan")), "a value of embedding.table.weight is not finite"),
    "an infinite weight": (_poison("head.bias", float("-inf")), "a value of head.bias is not finite"),
    "a missing tensor": (tensors(lambda found: found.pop(TABLE)), "lacks embedding.table.weight"),
    "an extra tensor": (tensors(lambda found: found.update(extra=torch.zeros(1))), "unexpected tensor extra"),
    "no tensor": (tensors(lambda found: found.clear()), "lacks|far more"),
    # tokenizer.json
    "JSON that is no tokenizer": (content("tokenizer.json", b'{"model": 1}'), "cannot read the tokenizer"),
    "JSON of no kind": (content("tokenizer.json", b"{}"), r"tokenizer\.json"),
    "nested lists as tokenizer": (content("tokenizer.json", b'{"model": ' + DEEP), "cannot read the tokenizer"),
    "nested lists as features": (content("tokenizer.json", DEEP), r"tokenizer\.json is not valid JSON"),
    "huge features": (content("tokenizer.json", b"[" + b"[]," * (3 << 20) + b"1]"), r"tokenizer\.json has 9,"),
    "a huge tokenizer": (
        content("tokenizer.json", lambda data: data + b" " * (65 << 20)),
        r"tokenizer\.json has 6\d,\d+,\d+ bytes",
    ),
    "no vocabulary": (tokenizer(lambda found: found["model"].update(vocab={})), "tokenizer"),
    "a larger vocabulary": (
        tokenizer(lambda found: found["model"]["vocab"].update({f"w{n}": 10_000 + n for n in range(20_000)})),
        r"embedding\.table\.weight has shape .* tokenizer\.json make it",
    ),
    "a smaller vocabulary": (
        tokenizer(lambda found: found["model"].update(vocab={"[PAD]": 0, "[UNK]": 1, "film": 2})),
        r"embedding\.table\.weight has shape",
    ),
    "a word with the id 2^32 - 1": (
        tokenizer(lambda found: found["model"]["vocab"].update(far=(1 << 32) - 1)),
        "the id 4,294,967,295",
    ),
    "an id below 0": (tokenizer(lambda found: found["model"]["vocab"].update(film=-1)), "cannot read the tokenizer"),
    "a tokenizer with a broken pattern": (
        tokenizer(lambda found: found["pre_tokenizer"].update(pattern={"Regex": "(((("})),
        "cannot read the tokenizer",
    ),
    # what is no file
    "a link that leaves": (put_in_place("metrics.json", _link_out), r"metrics\.json is a link that leaves"),
    "a link to a device": (put_in_place("config.json", lambda path: path.symlink_to("/dev/zero")), "link that leaves"),
    "a link to itself": (put_in_place("config.json", lambda path: path.symlink_to(path)), r"cannot read .*config\.json"),
    "a link to nothing": (put_in_place("metrics.json", lambda path: path.symlink_to("nothing")), "lacks metrics.json"),
    "a pipe": (put_in_place("model.safetensors", os.mkfifo), "not a regular file"),
    "a folder": (put_in_place("tokenizer.json", os.mkdir), "not a regular file"),
}

BROKEN_TRAINING: dict[str, tuple[Change, str]] = {
    "a negative step": (values("training.json", lambda found: found.update(step=-1)), "step: "),
    "a huge step": (values("training.json", lambda found: found.update(step=10**30)), "step: "),
    "a step a string": (values("training.json", lambda found: found.update(step="1")), "step: "),
    "a step a bool": (values("training.json", lambda found: found.update(step=True)), "step: "),
    "no epoch": (values("training.json", lambda found: found.pop("epoch")), "epoch: Field required"),
    "a NaN time": (values("training.json", lambda found: found.update(seconds=float("nan"))), "seconds: "),
    "a growing learning rate": (values("training.json", lambda found: found.update(lr_reduction=1e9)), "lr_reduction: "),
    "best a number": (values("training.json", lambda found: found.update(best=3)), "best: "),
    "best without figures": (values("training.json", lambda found: found["best"].pop("validation")), r"best\.validation"),
    "figures of words": (
        values("training.json", lambda found: found["best"]["train"].update(loss="low")),
        r"best\.train\.loss",
    ),
    "an unknown figure": (values("training.json", lambda found: found["best"]["train"].update(x=1)), r"best\.train\.x"),
    "a place beyond NumPy's state": (
        values("training.json", lambda found: found.update(rng_numpy=[10**6, 0, 0.0])),
        "rng_numpy",
    ),
    "Python's state too short": (
        values("training.json", lambda found: found["rng_python"].__setitem__(1, [1, 2])),
        "random generators",
    ),
    "Python's place too far": (
        values("training.json", lambda found: found["rng_python"][1].__setitem__(-1, 10**6)),
        "random generators",
    ),
    "nested lists": (content("training.json", DEEP), r"training\.json is not valid JSON"),
    "no state of torch": (tensors(lambda found: found.pop("rng.torch"), "training.safetensors"), "random generators"),
    "a short state of torch": (
        tensors(lambda found: found.update({"rng.torch": torch.zeros(3, dtype=torch.uint8)}), "training.safetensors"),
        "random generators",
    ),
    "a garbled state of torch": (
        tensors(lambda found: found["rng.torch"].fill_(255), "training.safetensors"),
        "random generators",
    ),
    "a short state of NumPy": (
        tensors(lambda found: found.update({"rng.numpy": torch.zeros(3, dtype=torch.int64)}), "training.safetensors"),
        "random generators",
    ),
    "NumPy's state of large words": (
        tensors(lambda found: found["rng.numpy"].fill_(1 << 40), "training.safetensors"),
        "random generators",
    ),
    "NumPy's state of a word just too large": (
        tensors(lambda found: found["rng.numpy"].fill_(1 << 32), "training.safetensors"),
        "32-bit words",
    ),
    "a NaN in the optimizer": (
        tensors(lambda found: found["optimizer.0.exp_avg"].fill_(float("nan")), "training.safetensors"),
        r"optimizer\.0\.exp_avg is not finite",
    ),
    "a name of no parameter": (
        tensors(lambda found: found.update({"optimizer.x.step": torch.zeros(1)}), "training.safetensors"),
        "unexpected tensor",
    ),
}


def _assert_refused(outcome: Any, directory: Path, message: str) -> None:
    assert outcome.error == "CheckpointError", outcome
    assert str(directory) in outcome.message
    assert len(outcome.message) < 2_000
    with pytest.raises(CheckpointError, match=message):
        raise CheckpointError(outcome.message)
    assert outcome.seconds < 1
    assert outcome.megabytes < 200


@on_linux
@pytest.mark.parametrize("name", BROKEN_MODELS)
def test_a_broken_model_is_one_error_that_costs_little(loader: Loader, model: Path, name: str) -> None:
    change, message = BROKEN_MODELS[name]
    change(model)
    _assert_refused(loader.load("model", model), model, message)


@on_linux
@pytest.mark.parametrize("name", BROKEN_TRAINING)
def test_a_broken_training_state_is_one_error_that_costs_little(loader: Loader, checkpoint: Path, name: str) -> None:
    change, message = BROKEN_TRAINING[name]
    change(checkpoint)
    _assert_refused(loader.load("training", checkpoint), checkpoint, message)


@on_linux
def test_what_is_sealed_again_without_a_change_loads(loader: Loader, model: Path, checkpoint: Path) -> None:
    for what, directory in (("model", model), ("model", checkpoint), ("training", checkpoint)):
        seal(directory)
        assert loader.load(what, directory).error == ""


def _boundaries(path: Path) -> set[int]:
    """Where parts of a file end, and beside that: of safetensors the length, the header, and each tensor."""
    data = path.read_bytes()
    ends = [0, len(data) // 2, len(data)]
    if path.suffix == ".safetensors":
        size = int.from_bytes(data[:8], "little")
        entries = json.loads(data[8 : 8 + size]).values()
        ends += [8, 8 + size, *(8 + size + place for entry in entries for place in entry.get("data_offsets", []))]
    else:
        ends += [number for number, byte in enumerate(data) if byte in b"{}[],:"][:: max(1, len(data) // 500)]
        ends = [end for end in ends if end < len(data.rstrip()) - 1]  # white space at the end is of no account
    return {cut for end in ends for cut in (end - 1, end, end + 1) if 0 <= cut < len(data)}


@pytest.mark.parametrize("name", ["config.json", "manifest.json", "metrics.json", "model.safetensors", "tokenizer.json"])
def test_a_file_cut_at_any_boundary_is_refused(model: Path, name: str) -> None:
    whole = (model / name).read_bytes()
    for cut in sorted(_boundaries(model / name)):
        content(name, whole[:cut])(model)
        with pytest.raises(CheckpointError, match=name):
            Classifier.from_pretrained(model, device="cpu")


@pytest.mark.parametrize("name", ["training.json", "training.safetensors"])
def test_a_training_state_cut_at_any_boundary_is_refused(checkpoint: Path, name: str) -> None:
    whole = (checkpoint / name).read_bytes()
    for cut in sorted(_boundaries(checkpoint / name)):
        content(name, whole[:cut])(checkpoint)
        with pytest.raises(CheckpointError, match=name):
            load_training(checkpoint)


def test_each_of_500_flipped_bits_is_found(checkpoint: Path) -> None:
    rng = random.Random(0)
    paths = sorted(path for path in checkpoint.iterdir() if path.name != "README.md")
    sizes = [path.stat().st_size for path in paths]
    for _ in range(500):
        # Half of them fall anywhere, the others on each file alike, so that a small one is hit as well.
        (path,) = rng.choices(paths, sizes if rng.random() < 0.5 else None)
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError, match=str(checkpoint)):
            _load_whole(checkpoint)
        path.write_bytes(whole)
    _load_whole(checkpoint)


def _load_whole(checkpoint: Path) -> None:
    load_model_directory(checkpoint)
    load_training(checkpoint)


def test_a_path_in_the_settings_is_never_opened(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret.csv"
    os.mkfifo(secret)  # opening it would wait for ever
    config("data", dataset=str(secret), tokenizer=str(secret))(model)
    config("fit", class_weights=str(secret))(model)
    config("model", embedding="pretrained", embedding_options={"path": str(secret)})(model)
    assert Classifier.from_pretrained(model, device="cpu").predict(["superb film"])


def test_links_to_a_model_and_within_it_are_followed(model: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(model)
    (model / "config.json").rename(model / "config-1.json")
    (model / "config.json").symlink_to("config-1.json")
    assert Classifier.from_pretrained(tmp_path / "current", device="cpu").predict(["superb film"])


def test_a_model_in_the_cache_of_hugging_face_is_read(model: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--me--mine" / "blobs", tmp_path / "models--me--mine" / "snapshots" / "0a1b"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in model.iterdir():
        path.rename(blobs / path.name)
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert Classifier.from_pretrained(snapshot, device="cpu").predict(["superb film"])


@pytest.mark.parametrize("name", ["snapshot", "tmp"])
def test_a_folder_beside_one_named_blobs_is_no_such_cache(model: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / "0a1b"
    shutil.copytree(model, folder)
    (tmp_path / "blobs").mkdir()
    (folder / "config.json").rename(tmp_path / "blobs" / "config.json")
    (folder / "config.json").symlink_to("../../blobs/config.json")
    with pytest.raises(CheckpointError, match="link that leaves"):
        Classifier.from_pretrained(folder, device="cpu")


def test_a_file_may_have_as_many_bytes_as_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    path.write_bytes(b"12345")
    assert read_file(path, 5) == b"12345"
    with pytest.raises(CheckpointError, match="5 bytes, more than the 4"):
        read_file(path, 4)


@pytest.mark.parametrize("name", ["../../../etc", "/etc", "..", "a/b", 7, [], ""])
def test_a_pointer_names_a_checkpoint_of_the_run(trained: Path, tmp_path: Path, name: object) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (run / "checkpoints.json").write_bytes(to_json({"best": name, "last": name}))
    with pytest.raises(CheckpointError, match=r"checkpoints\.json: best"):
        RunDirectory(run).checkpoints.pointed("last")
    shutil.rmtree(run / "model")
    with pytest.raises(CheckpointError, match=r"checkpoints\.json: best"):
        resolve_model_path(run)


ENCODERS = [
    *("numpy-simple-rnn", "torch-rnn", "lstm", "gru", "min-gru", "mean-pool", "cnn", "transformer", "bilstm"),
    "bilstm-mean-pool",
]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_is_built_without_memory_first(encoder: str, tmp_path: Path) -> None:
    options = {"hidden_size": 16} if encoder == "transformer" else {}
    base = load_recipe("default", encoder=encoder).updated({"model": {"encoder_options": options}}, source="test")
    changes = {"fit": {"epochs": 1, "device": "cpu"}, "model": {"embedding_size": 8}, "data": {"vocab_size": 100}}
    result = Trainer(
        None, toy_splits(), config=base.updated(changes, source="test"), callbacks=[], output=tmp_path / "run"
    ).fit()
    assert result.model_dir is not None
    saved = load_model_directory(result.model_dir)
    state = torch.get_rng_state()
    saved._check_size(None)
    assert torch.equal(torch.get_rng_state(), state)
    texts = ["superb film", "awful meal", ""]
    assert np.isfinite(Classifier(saved, device="cpu").predict_proba(texts)).all()
