"""Model directories and checkpoints: written whole or not at all, checked when read, never executed.

A model directory holds what prediction needs. A checkpoint is a model directory that also holds the state of the training.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from seqcls import registry
from seqcls.config import Config
from seqcls.encoders.base import Encoder
from seqcls.errors import CheckpointError, ConfigError, UnknownNameError
from seqcls.files import new_directory, write_file
from seqcls.model import SequenceClassifier
from seqcls.pipeline import build_model, describe_plugins
from seqcls.sequences import Preprocessor, load_preprocessor
from seqcls.text import TextTokenizer

FORMAT_VERSION = 1
MODEL_FILES = ("config.json", "metrics.json", "model.safetensors", "tokenizer.json")
TRAINING_FILES = ("training.json", "training.safetensors")


@dataclass(frozen=True, eq=False)
class TrainingSnapshot:
    """What a run needs besides the model to go on: tensors (optimizer, random generators) and plain JSON values."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]

    def named(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with ``prefix``, without it."""
        return {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}


@dataclass(frozen=True, eq=False)
class SavedModel:
    """A model directory, read and checked."""

    path: Path
    config: Config
    label_names: tuple[str, ...]
    tokenizer: Preprocessor
    thresholds: tuple[float, ...] | None
    weights: dict[str, Tensor]
    metrics: dict[str, Any]
    plugins: dict[str, dict[str, str | None]]

    def build(self, encoder: Encoder | None = None) -> SequenceClassifier:
        """Build the model, around ``encoder`` if given, and load its weights.

        Raises:
            CheckpointError: The encoder's plugin is missing, or the weights do not fit it.
        """
        self._check_installed("embedding", self.config.model.embedding)
        if encoder is None:
            self._check_installed("encoder", self.config.model.encoder)
        try:
            model = build_model(
                self.config.model,
                vocab_size=self.tokenizer.vocab_size,
                num_classes=len(self.label_names),
                encoder=encoder,
            )
        except ConfigError as error:
            raise CheckpointError(f"{self.path}/config.json: {error}") from error
        self.load_into(model)
        return model

    def _check_installed(self, kind: str, name: str) -> None:
        try:
            registry.REGISTRIES[kind].resolve(name)
        except UnknownNameError as error:
            raise CheckpointError(f"{self.path} needs the {kind} {name!r}: {self._remedy(kind)}") from error

    def load_into(self, model: SequenceClassifier) -> None:
        """Load the weights into a built model; CheckpointError names the first that does not fit."""
        expected = model.state_dict()
        for name in expected.keys() ^ self.weights.keys():
            place = "lacks" if name in expected else "has the unexpected tensor"
            raise CheckpointError(f"{self.path}/model.safetensors {place} {name}; {self._remedy('encoder')}")
        for name, tensor in expected.items():
            if tensor.shape != self.weights[name].shape:
                raise CheckpointError(
                    f"{self.path}/model.safetensors: {name} has shape {list(self.weights[name].shape)}, but "
                    f"config.json makes it {list(tensor.shape)}; the files belong to different models"
                )
        model.load_state_dict(self.weights)

    def _remedy(self, kind: str) -> str:
        plugin = self.plugins[kind]
        distribution, version = plugin.get("distribution"), plugin.get("version")
        if distribution in (None, "seqcls"):
            or_pass = ", or pass a built one as encoder" if kind == "encoder" else ""
            return f"it was made with {plugin.get('target')}: register that {kind} first{or_pass}"
        return f"install the package that provides it: pip install {distribution}=={version}"


def save_model_directory(
    path: Path,
    *,
    config: Config,
    label_names: tuple[str, ...],
    tokenizer: Preprocessor,
    weights: Mapping[str, Tensor],
    metrics: Mapping[str, Any],
    training: TrainingSnapshot | None = None,
    plugins: Mapping[str, Mapping[str, str | None]] | None = None,
    thresholds: Sequence[float] | None = None,
    replace: bool = False,
) -> None:
    """Write a model directory, with ``training`` a checkpoint, at ``path``, which must not exist unless ``replace`` is set.

    Everything is written and flushed to disk in a hidden sibling folder that takes the name last, so that ``path`` is either
    whole or absent.

    Raises:
        CheckpointError: The folder cannot be written.
    """
    description = {
        "format_version": FORMAT_VERSION,
        "seqcls_version": metadata.version("seqcls"),
        "torch_version": torch.__version__,
        "plugins": plugins or describe_plugins(config.model),
        "label_names": list(label_names),
        "input": "text" if isinstance(tokenizer, TextTokenizer) else "features",
        "thresholds": thresholds if thresholds is None else list(thresholds),
        "config": config.model_dump(mode="json"),
    }
    contents = {
        "config.json": to_json(description),
        "metrics.json": to_json(metrics),
        "model.safetensors": save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}),
        "tokenizer.json": tokenizer.to_json().encode(),
    }
    if training is not None:
        contents["training.json"] = to_json(training.values)
        contents["training.safetensors"] = save_tensors(training.tensors)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    # The model card may be edited by its owner, so that it is in no manifest.
    contents |= {"manifest.json": to_json(hashes), "README.md": _model_card(description, metrics).encode()}
    with writing(path), new_directory(path, replace=replace) as temporary:
        for name, data in contents.items():
            write_file(temporary / name, data)


def load_model_directory(path: Path) -> SavedModel:
    """Read a model directory or a checkpoint, and check every file's hash.

    Raises:
        CheckpointError: It is none, or a file is missing or damaged.
    """
    contents = _read_verified(path, MODEL_FILES)
    description = parse_json(contents["config.json"], path / "config.json")
    if description.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {description.get('format_version')}, this seqcls reads {FORMAT_VERSION}; "
            f"it was written by seqcls {description.get('seqcls_version')}: install that version"
        )
    try:
        config = Config().updated(description["config"], source=f"{path}/config.json")
        return SavedModel(
            path=path,
            config=config,
            label_names=tuple(description["label_names"]),
            tokenizer=load_preprocessor(
                path / "tokenizer.json", max_length=config.data.max_length, truncating=config.data.truncating
            ),
            thresholds=None if description["thresholds"] is None else tuple(map(float, description["thresholds"])),
            weights=_parse_tensors(contents["model.safetensors"], path / "model.safetensors"),
            metrics=parse_json(contents["metrics.json"], path / "metrics.json"),
            plugins=description["plugins"],
        )
    except (KeyError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{path}/config.json cannot be used: {error}") from error


def load_training(path: Path) -> TrainingSnapshot:
    """Read the training state of the checkpoint at ``path``; CheckpointError if it is missing or damaged."""
    contents = _read_verified(path, TRAINING_FILES)
    return TrainingSnapshot(
        tensors=_parse_tensors(contents["training.safetensors"], path / "training.safetensors"),
        values=parse_json(contents["training.json"], path / "training.json"),
    )


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's error into a CheckpointError that names ``path``."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another --output. "
            "Checkpoints already written are kept"
        ) from error


def to_json(values: Mapping[str, Any]) -> bytes:
    """Return values as sorted, indented JSON."""
    return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()


def _read_verified(path: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Return the files' contents after comparing each with its hash in the manifest."""
    hashes = parse_json(read_file(path / "manifest.json"), path / "manifest.json")
    contents = {name: read_file(path / name) for name in names}
    for name, data in contents.items():
        if hashlib.sha256(data).hexdigest() != hashes.get(name):
            raise CheckpointError(f"{path / name} is damaged or was changed: its SHA-256 is not the one in manifest.json")
    return contents


def read_file(path: Path) -> bytes:
    """Return a file's content; CheckpointError if it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} lacks {path.name}; copy the whole folder") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def parse_json(data: bytes, path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds; CheckpointError if it holds none."""
    try:
        values = json.loads(data)
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} does not hold a JSON object")
    return values


def _parse_tensors(data: bytes, path: Path) -> dict[str, Tensor]:
    try:
        return load_tensors(data)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a valid safetensors file: {error}") from error


def _model_card(description: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    config, encoder = description["config"], description["plugins"]["encoder"]
    scores = [
        f"| {split} | {score['loss']:.4f} | {100 * score['accuracy']:.2f} % | {score['count']} |"
        for split, score in metrics.items()
        if isinstance(score, Mapping) and "accuracy" in score
    ]
    table = ["", "| split | loss | accuracy | examples |", "|---|---|---|---|", *scores] if scores else []
    labels = ", ".join(description["label_names"])
    given, example = {"text": ("text", '["some text"]'), "features": ("numbers", "[numbers]")}[description["input"]]
    lines = [
        f"# {encoder['name']} on {config['data']['dataset']}",
        "",
        f"A sequence classifier made with seqcls {description['seqcls_version']}: {given} in, a label out ({labels}).",
        *table,
        "",
        "```python",
        "from seqcls import Classifier",
        "",
        f'Classifier.from_pretrained("this-folder").predict({example})',
        "```",
        "",
    ]
    return "\n".join(lines)
