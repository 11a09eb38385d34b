"""A model directory made to harm is refused with one error that names the file, quickly and in little memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import Loader, assert_refused, on_linux
from hostile_changes import (
    DEEP,
    Change,
    config,
    content,
    described,
    header,
    plugin,
    put_in_place,
    seal,
    tensors,
    tokenizer,
    values,
)

TABLE = "embedding.table.weight"


def _overlap(entries: dict[str, Any]) -> None:
    first, second = sorted(entries, key=lambda name: entries[name]["data_offsets"])[:2]
    size = entries[second]["data_offsets"][1] - entries[second]["data_offsets"][0]
    entries[second]["data_offsets"] = [entries[first]["data_offsets"][0], entries[first]["data_offsets"][0] + size]


def _shift_all(entries: dict[str, Any]) -> None:
    for entry in entries.values():
        entry["data_offsets"] = [place + 4 for place in entry["data_offsets"]]


def _link_out(path: Path) -> None:
    outside = path.parent.parent / "outside.json"
    outside.write_text("{}")
    path.symlink_to(outside)


def _poison(name: str, value: float) -> Change:
    return tensors(lambda entries: entries[name].view(-1)[-1:].fill_(value))


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
    "not an object": (content("config.json", b"[]"), "does not hold a JSON object"),
    "not UTF-8": (content("config.json", b'{"a": "\xff"}'), "not valid JSON"),
    "no format version": (values("config.json", lambda entries: entries.pop("format_version")), "format version None"),
    "a huge format version": (described(format_version=10**300), "format version 1000"),
    "a fractional format version": (described(format_version=1.0), r"format version 1\.0"),
    "a format version that is a bool": (described(format_version=True), "format version True"),
    "no config": (values("config.json", lambda entries: entries.pop("config")), "config: Field required"),
    "a config that is a list": (described(config=[]), "config: "),
    "a section that is a list": (described(config={"data": [1]}), r"data is \[1\]"),
    "options that are a list": (config("data", dataset="a.csv", dataset_options=[1]), r"config\.json"),
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
    "labels that are a string": (described(label_names="ab"), "label_names"),
    "a label that is a number": (described(label_names=["bad", 1]), r"label_names\.1"),
    "too many labels": (described(label_names=["a", "b", "c"]), r"head\.weight has shape"),
    "a temperature of 0": (described(temperature=0), "temperature"),
    "a negative temperature": (described(temperature=-1.5), "temperature"),
    "a NaN temperature": (described(temperature=float("nan")), "temperature"),
    "a temperature that is a string": (described(temperature="1"), "temperature"),
    "a null temperature": (described(temperature=None), "temperature"),
    "too few thresholds": (described(thresholds=[0.5]), "1 thresholds for 2 labels"),
    "a NaN threshold": (described(thresholds=[0.5, float("nan")]), r"thresholds\.1"),
    "an infinite threshold": (described(thresholds=[0.5, float("inf")]), r"thresholds\.1"),
    "a threshold that is a string": (described(thresholds=[0.5, "0.5"]), r"thresholds\.1"),
    "a threshold that is a bool": (described(thresholds=[0.5, True]), r"thresholds\.1"),
    "thresholds that are a number": (described(thresholds=0.5), "thresholds: "),
    "no thresholds": (values("config.json", lambda entries: entries.pop("thresholds")), "thresholds: "),
    "plugins that are a list": (described(plugins=[]), "plugins: "),
    "plugins without the encoder": (described(plugins={}), r"plugins\.encoder"),
    "a plugin that is a number": (plugin(target=7), r"plugins\.encoder\.target"),
    "a command as a plugin": (plugin(distribution="x; rm -rf ~"), r"plugins\.encoder\.distribution"),
    "a flag as a plugin": (plugin(distribution="--index-url=evil"), r"plugins\.encoder\.distribution"),
    "metrics of words": (content("metrics.json", b'{"test": {"accuracy": "best"}}'), r"metrics\.json: loss"),
    # manifest.json
    "a manifest without a file": (
        values("manifest.json", lambda entries: entries.pop("config.json")),
        r"config\.json is damaged",
    ),
    "a manifest of paths": (
        values("manifest.json", lambda entries: entries.update({"../../etc/passwd": "0" * 64})),
        "etc/passwd",
    ),
    "a manifest of numbers": (values("manifest.json", lambda entries: entries.update({"config.json": 1})), "config.json"),
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
    "a gap before the tensors": (header(_shift_all), "not a valid safetensors file"),
    "bytes after the tensors": (content("model.safetensors", lambda data: data + b"\0"), "not a valid safetensors file"),
    "an overflowing shape": (
        header(lambda entries: entries[TABLE].update(shape=[1 << 33, 1 << 33])),
        "not a valid safetensors",
    ),
    "a shape beyond 64 bits": (
        header(lambda entries: entries[TABLE].update(shape=[1 << 70])),
        "not a valid safetensors file",
    ),
    "a negative shape": (header(lambda entries: entries[TABLE].update(shape=[-1, 8])), "not a valid safetensors file"),
    "overflowing offsets": (
        header(lambda entries: entries[TABLE].update(data_offsets=[(1 << 64) - 8, 1 << 63])),
        "not a valid safetensors file",
    ),
    "an empty tensor of a huge shape": (
        tensors(lambda entries: entries.update({TABLE: torch.empty(1 << 40, 0)})),
        r"embedding\.table\.weight has shape \[1099511627776, 0\]",
    ),
    "an unknown type": (header(lambda entries: entries[TABLE].update(dtype="C128")), "not a valid safetensors file"),
    "a type of four bits": (
        header(lambda entries: entries[TABLE].update(dtype="F4", shape=[8 * entries[TABLE]["shape"][0], 8])),
        r"model\.safetensors",
    ),
    "a transposed tensor": (
        header(lambda entries: entries[TABLE]["shape"].reverse()),
        r"embedding\.table\.weight has shape",
    ),
    "half precision": (tensors(lambda entries: entries.update({TABLE: entries[TABLE].half()})), "is torch.float16"),
    "whole numbers": (tensors(lambda entries: entries.update({TABLE: entries[TABLE].int()})), "is torch.int32"),
    "a NaN weight": (_poison(TABLE, float("nan")), "a value of embedding.table.weight is not finite"),
    "an infinite weight": (_poison("head.bias", float("-inf")), "a value of head.bias is not finite"),
    "a missing tensor": (tensors(lambda entries: entries.pop(TABLE)), "lacks embedding.table.weight"),
    "an extra tensor": (tensors(lambda entries: entries.update(extra=torch.zeros(1))), "unexpected tensor extra"),
    "no tensor": (tensors(lambda entries: entries.clear()), "lacks|far more"),
    # tokenizer.json
    "JSON that is not a tokenizer": (content("tokenizer.json", b'{"model": 1}'), "cannot read the tokenizer"),
    "an empty JSON object": (content("tokenizer.json", b"{}"), r"tokenizer\.json"),
    "nested lists as tokenizer": (content("tokenizer.json", b'{"model": ' + DEEP), "cannot read the tokenizer"),
    "nested lists as features": (content("tokenizer.json", DEEP), r"tokenizer\.json is not valid JSON"),
    "huge features": (content("tokenizer.json", b"[" + b"[]," * (3 << 20) + b"1]"), r"tokenizer\.json has 9,"),
    "a huge tokenizer": (
        content("tokenizer.json", lambda data: data + b" " * (65 << 20)),
        r"tokenizer\.json has 6\d,\d+,\d+ bytes",
    ),
    "no vocabulary": (tokenizer(lambda entries: entries["model"].update(vocab={})), "tokenizer"),
    "a larger vocabulary": (
        tokenizer(lambda entries: entries["model"]["vocab"].update({f"w{n}": 10_000 + n for n in range(20_000)})),
        r"embedding\.table\.weight has shape .* tokenizer\.json make it",
    ),
    "a smaller vocabulary": (
        tokenizer(lambda entries: entries["model"].update(vocab={"[PAD]": 0, "[UNK]": 1, "film": 2})),
        r"embedding\.table\.weight has shape",
    ),
    "a word with the id 2^32 - 1": (
        tokenizer(lambda entries: entries["model"]["vocab"].update(far=(1 << 32) - 1)),
        "the id 4,294,967,295",
    ),
    "an id below 0": (tokenizer(lambda entries: entries["model"]["vocab"].update(film=-1)), "cannot read the tokenizer"),
    "a tokenizer with a broken pattern": (
        tokenizer(lambda entries: entries["pre_tokenizer"].update(pattern={"Regex": "(((("})),
        "cannot read the tokenizer",
    ),
    # not regular files
    "a link that leaves": (put_in_place("metrics.json", _link_out), r"metrics\.json is a link that leaves"),
    "a link to a device": (put_in_place("config.json", lambda path: path.symlink_to("/dev/zero")), "link that leaves"),
    "a link to itself": (put_in_place("config.json", lambda path: path.symlink_to(path)), r"cannot read .*config\.json"),
    "a link to nothing": (put_in_place("metrics.json", lambda path: path.symlink_to("nothing")), "lacks metrics.json"),
    "a pipe": (put_in_place("model.safetensors", os.mkfifo), "not a regular file"),
    "a folder": (put_in_place("tokenizer.json", os.mkdir), "not a regular file"),
}


@on_linux
@pytest.mark.parametrize("name", BROKEN_MODELS)
def test_a_broken_model_is_refused_at_little_cost(loader: Loader, model: Path, name: str) -> None:
    change, message = BROKEN_MODELS[name]
    change(model)
    assert_refused(loader.load("model", model), model, message)


@on_linux
def test_unchanged_files_load_after_their_hashes_are_written_again(loader: Loader, model: Path, checkpoint: Path) -> None:
    for what, directory in (("model", model), ("model", checkpoint), ("training", checkpoint)):
        seal(directory)
        assert loader.load(what, directory).error == ""
