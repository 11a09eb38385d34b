"""Descriptions of models in older formats, brought to the current one.

This module imports neither torch nor pydantic, since `seqcls.NumpyClassifier` reads config.json without them. Values come
from untrusted files: whatever has an unexpected form is left as it is, for the check that follows to refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqcls.config.old_names import renamed
from seqcls.errors import CheckpointError, ConfigError

FORMAT_VERSION = 2
"""The version that is written. Version 1 recorded only the options that were given; version 2 records every option."""

_RECURRENT = {"hidden_size": 128, "num_layers": 1, "bidirectional": False, "dropout": 0.0, "pooling": "last"}
_INITIALIZED = {**_RECURRENT, "initialization": "orthogonal"}
_REGULARIZED = {**_INITIALIZED, "variational": False, "weight_dropout": 0.0}
_SIZES = {"train_size": 10_000, "validation_size": 1000, "test_size": 2000, "seed": 0}

# Files of version 1 leave out the options that were not given. They mean these values, whatever today's defaults are, so
# that this table must never change.
_OPTIONS_OF_0_1: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "encoder": {
        "bilstm-mean-pool": {
            "hidden_size": 128,
            "num_layers": 2,
            "dropout": 0.2,
            "variational": False,
            "weight_dropout": 0.0,
            "projection_size": 128,
            "pooling": "mean",
            "initialization": "orthogonal",
        },
        "cnn": {"widths": "3,4,5", "num_filters": 100},
        "gru": _INITIALIZED,
        "lstm": _REGULARIZED,
        "mean-pool": {"pooling": "mean", "normalized": False},
        "min-gru": {**_RECURRENT, "num_layers": 2},
        "numpy-simple-rnn": {"hidden_size": 128, "pooling": "last"},
        "torch-rnn": {**_INITIALIZED, "nonlinearity": "tanh"},
        "transformer": {
            "hidden_size": 128,
            "num_layers": 2,
            "num_heads": 4,
            "feedforward_size": 256,
            "dropout": 0.1,
            "pooling": "mean",
        },
    },
    "embedding": {
        "features": {},
        "ngram-hash": {"std": 0.1, "max_n": 2, "buckets": 200_000},
        "pretrained": {"freeze": False},
        "word": {"std": 0.1},
    },
    "dataset": {
        "arrays": {"validation": None, "test": None},
        "files": {
            "validation": None,
            "test": None,
            "test_fraction": 0.0,
            "text_column": None,
            "label_column": None,
            "group_column": None,
            "label_delimiter": None,
            "delimiter": None,
            "quoting": None,
            "encoding": None,
            "header": None,
            "skip_bad_rows": False,
            "seed": 0,
        },
        "imdb": {"source": None, "validation": "grouped", "validation_fraction": 0.1, "split_seed": 0},
        "reviews": {**_SIZES, "train_size": 20_000},
        "tasks": {**_SIZES, "length": 20},
        "torchtext": {"root": None},
    },
    "callback": {"tensorboard": {"every_steps": 10}},
}
_ALIASES_OF_0_1 = {"bilstm": "bilstm-mean-pool"}


def read_format(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the content of config.json in the current format.

    Args:
        values: The content of the file, which is not changed.
        path: The file, for error messages.

    Raises:
        CheckpointError: This version of seqcls does not know the format, or a setting is there under two names.
    """
    version = values.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise CheckpointError(
            f"{path.parent} has format version {version!r:.60}, and this seqcls reads 1 to {FORMAT_VERSION}; "
            f"it was written by seqcls {values.get('seqcls_version')!r:.60}: install that version"
        )
    try:
        return dict(values) if version == FORMAT_VERSION else _from_version_1(values)
    except ConfigError as error:
        raise CheckpointError(f"{path} cannot be used: {error}") from error


def _from_version_1(values: Mapping[str, Any]) -> dict[str, Any]:
    config = renamed(_table(values.get("config")))
    data, model, fit = (dict(_table(config.get(section))) for section in ("data", "model", "fit"))
    plugins = dict(_table(values.get("plugins")))
    for kind in ("encoder", "embedding"):
        if (name := _ALIASES_OF_0_1.get(_text(model.get(kind)))) is not None:
            model[kind] = name
            plugins[kind] = {**_table(plugins.get(kind)), "name": name, "target": None, "distribution": "seqcls"}
        _fill(model, f"{kind}_options", kind, model.get(kind))
    _fill(data, "dataset_options", "dataset", data.get("dataset"))
    names, options = fit.get("callbacks"), fit.get("callback_options", {})
    if isinstance(names, list) and isinstance(options, Mapping):
        fit = {**fit, "callback_options": dict(options)}
        for name in names:
            if _text(name) in _OPTIONS_OF_0_1["callback"]:
                _fill(fit["callback_options"], name, "callback", name)
    sections = {"data": data, "model": model, "fit": fit}
    known = {name: section for name, section in sections.items() if isinstance(config.get(name), Mapping)}
    upgraded = {"config": {**config, **known}, "plugins": plugins}
    return {**values, **{name: table for name, table in upgraded.items() if isinstance(values.get(name), Mapping)}}


def _fill(section: dict[str, Any], setting: str, kind: str, name: object) -> None:
    """Add the options of a built-in plugin that ``section[setting]`` leaves out."""
    options = section.get(setting, {})
    defaults = _OPTIONS_OF_0_1[kind].get(_text(name))
    if defaults is not None and isinstance(options, Mapping):
        section[setting] = {**defaults, **options}


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
