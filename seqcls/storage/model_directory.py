"""Model directories: written whole or not at all, checked when read, never executed.

A model directory holds what prediction needs. A checkpoint is a model directory that also holds the state of the training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqcls.config.settings import Config
from seqcls.data.encoding import NGRAMS_FILE, parse_preprocessor
from seqcls.data.preprocessor import Preprocessor
from seqcls.evaluation.scores import Score
from seqcls.model.build import describe_plugins
from seqcls.storage.description import read_description
from seqcls.storage.model_card import model_card
from seqcls.storage.rebuild import SavedModel
from seqcls.storage.resolved_options import resolve_options
from seqcls.storage.snapshot import TrainingSnapshot
from seqcls.storage.upgrade import FORMAT_VERSION
from seqcls.storage.writing import to_json, to_safetensors, writing
from seqcls.system.files import new_directory, write_file
from seqcls.system.untrusted import JSON_LIMIT, check_form, parse_json, parse_tensors, read_verified

MODEL_FILES = {"config.json": JSON_LIMIT, "metrics.json": JSON_LIMIT, "model.safetensors": None, "tokenizer.json": 64 << 20}
"""The most bytes of each file; None for one whose size depends on the model. Multilingual tokenizers have 40 MB."""


def save_model_directory(
    path: Path,
    *,
    config: Config,
    label_names: tuple[str, ...],
    preprocessor: Preprocessor,
    weights: Mapping[str, Tensor],
    metrics: Mapping[str, Any],
    training: TrainingSnapshot | None = None,
    plugins: Mapping[str, Mapping[str, str | None]] | None = None,
    thresholds: Sequence[float] | None = None,
    temperature: float = 1.0,
    split_digests: Mapping[str, str] | None = None,
    label_values: Mapping[str, bool | int] | None = None,
    replace: bool = False,
) -> None:
    """Write a model directory, with ``training`` a checkpoint, at ``path``, which must not exist unless ``replace`` is set.

    Everything is written and flushed to disk in a hidden sibling folder that takes the name last, so that ``path`` is either
    whole or absent. Every option is recorded, defaults included, so that a new default never changes an old model.

    Raises:
        CheckpointError: The folder cannot be written.
    """
    config = resolve_options(config)
    description = {
        "format_version": FORMAT_VERSION,
        "seqcls_version": metadata.version("seqcls"),
        "torch_version": torch.__version__,
        "plugins": plugins or describe_plugins(config.model),
        "label_names": list(label_names),
        "label_values": dict(label_values or {}),
        "input": preprocessor.kind,
        "thresholds": thresholds if thresholds is None else list(thresholds),
        "temperature": temperature,
        "split_digests": None if split_digests is None else dict(split_digests),
        "config": config.model_dump(mode="json"),
        "chosen": list(config.chosen),
    }
    contents = {
        "config.json": to_json(description),
        "metrics.json": to_json(metrics),
        "model.safetensors": to_safetensors(weights),
        "tokenizer.json": preprocessor.to_json().encode(),
    }
    if preprocessor.ngrams is not None:
        contents[NGRAMS_FILE] = preprocessor.ngrams.to_safetensors()
    if training is not None:
        contents["training.json"] = to_json(training.values)
        contents["training.safetensors"] = to_safetensors(training.tensors)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    # The model card may be edited by its owner, so that it is in no manifest.
    contents |= {"manifest.json": to_json(hashes), "README.md": model_card(description, metrics).encode(errors="replace")}
    with writing(path), new_directory(path, replace=replace) as temporary:
        for name, data in contents.items():
            write_file(temporary / name, data)


def load_model_directory(path: Path) -> SavedModel:
    """Read a model directory or a checkpoint, and check every file's hash.

    Raises:
        CheckpointError: It is none, or a file is missing or damaged.
    """
    contents = read_verified(path, model_files(path))
    description, config = read_description(contents["config.json"], path / "config.json")
    return SavedModel(
        path=path,
        config=config,
        label_names=tuple(description.label_names),
        label_values=description.label_values,
        preprocessor=parse_preprocessor(
            contents["tokenizer.json"],
            path / "tokenizer.json",
            max_length=config.data.max_length,
            truncating=config.data.truncating,
            ngrams=contents.get(NGRAMS_FILE),
        ),
        thresholds=None if description.thresholds is None else tuple(description.thresholds),
        temperature=description.temperature,
        split_digests=description.split_digests,
        weights=parse_tensors(contents["model.safetensors"], path / "model.safetensors"),
        metrics=_parse_metrics(contents["metrics.json"], path / "metrics.json"),
        plugins={kind: plugin.model_dump() for kind, plugin in description.plugins},
    )


def model_files(path: Path) -> dict[str, int | None]:
    """Return the files of the model directory at ``path`` and the most bytes of each: `MODEL_FILES`, and any n-grams."""
    return {**MODEL_FILES, NGRAMS_FILE: None} if (path / NGRAMS_FILE).exists() else dict(MODEL_FILES)


def _parse_metrics(data: bytes, path: Path) -> dict[str, Any]:
    metrics = parse_json(data, path)
    for figures in metrics.values():
        if isinstance(figures, dict) and "accuracy" in figures:
            check_form(figures, Score, path)
    return metrics
