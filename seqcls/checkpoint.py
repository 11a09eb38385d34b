"""Model and run directories: written whole or not at all, checked when read, never executed.

A model directory holds what prediction needs. A checkpoint is a model directory that also holds the state of the training.
A run directory holds the settings, the log of evaluations, checkpoints, and pointers to the best and the last of them::

    RUN/config.toml                       resolved settings
        metrics.jsonl                     a line an evaluation
        baseline.json                     figures of the linear baseline, if it was trained
        checkpoints.json                  {"best": NAME, "last": NAME}, replaced after a checkpoint is complete
        checkpoints/step-00000352/        model directory + training.safetensors + training.json
        model/                            model directory of the best checkpoint, once the run has ended
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from seqcls.errors import CheckpointError, ConfigError, OutputExistsError, UnknownNameError
from seqcls.files import new_directory, replace_file, write_file
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
    """Read a model directory, a checkpoint, or the best model of a run directory, and check every file's hash.

    Raises:
        CheckpointError: It is none, or a file is missing or damaged.
    """
    path = _resolve_model_path(path)
    contents = _read_verified(path, MODEL_FILES)
    description = _parse_json(contents["config.json"], path / "config.json")
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
            metrics=_parse_json(contents["metrics.json"], path / "metrics.json"),
            plugins=description["plugins"],
        )
    except (KeyError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{path}/config.json cannot be used: {error}") from error


def load_training(path: Path) -> TrainingSnapshot:
    """Read the training state of the checkpoint at ``path``; CheckpointError if it is missing or damaged."""
    contents = _read_verified(path, TRAINING_FILES)
    return TrainingSnapshot(
        tensors=_parse_tensors(contents["training.safetensors"], path / "training.safetensors"),
        values=_parse_json(contents["training.json"], path / "training.json"),
    )


@dataclass(frozen=True)
class RunDirectory:
    """The folder of one training run."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: Config, *, overwrite: bool = False) -> RunDirectory:
        """Make the folder and write the settings.

        Raises:
            OutputExistsError: It exists and is not empty; with ``overwrite``, it exists and is no run directory.
            CheckpointError: It cannot be written.
        """
        run = cls(path)
        run.check_new(overwrite=overwrite)
        with writing(path):
            if path.exists() and any(path.iterdir()):
                shutil.rmtree(path)
            run.checkpoints.mkdir(parents=True, exist_ok=True)
            replace_file(path / "config.toml", config.to_toml().encode())
        return run

    def check_new(self, *, overwrite: bool) -> None:
        """Raise OutputExistsError where `create` would, touching nothing."""
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            return
        if not overwrite:
            raise OutputExistsError(f"{self.path} exists; give another --output, or --force to replace the run in it")
        if not self.path.is_dir() or not (self.path / "config.toml").is_file():
            raise OutputExistsError(
                f"{self.path} is not a run directory, so that --force does not replace it; give another --output"
            )

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Open an existing run directory; CheckpointError if it is none."""
        run = cls(path)
        if not run.pointer_file.is_file():
            raise CheckpointError(f"{path} is not a run directory: it has no {run.pointer_file.name}")
        return run

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def pointer_file(self) -> Path:
        """The file that names the best and the last checkpoint."""
        return self.path / "checkpoints.json"

    @property
    def model(self) -> Path:
        """The model directory that the run leaves when it has ended."""
        return self.path / "model"

    @property
    def metrics_file(self) -> Path:
        """The log of evaluations."""
        return self.path / "metrics.jsonl"

    def pointed(self, which: str) -> Path | None:
        """Return the checkpoint that "best" or "last" names; None if there is none yet."""
        if not self.pointer_file.is_file():
            return None
        name = _parse_json(self.pointer_file.read_bytes(), self.pointer_file).get(which)
        return None if name is None else self.checkpoints / str(name)

    def save_checkpoint(self, step: int, *, is_best: bool, save: Callable[[Path], None]) -> Path:
        """Write a checkpoint, move the pointers to it, and only then delete checkpoints that nothing points to."""
        best = self.pointed("best")
        path = free_name(self.checkpoints / f"step-{step:08d}")
        save(path)
        best = path if is_best or best is None else best
        with writing(self.path):
            replace_file(self.pointer_file, to_json({"best": best.name, "last": path.name}))
            for old in self.checkpoints.iterdir():
                if old not in (best, path):
                    shutil.rmtree(old)
        return path

    def write_baseline(self, figures: Mapping[str, Any]) -> None:
        """Write the figures of the linear baseline, over those of an earlier one."""
        with writing(self.path):
            replace_file(self.path / "baseline.json", to_json(figures))

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Add a line to the log of evaluations."""
        with writing(self.path), self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, sort_keys=True) + "\n")


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


def free_name(path: Path) -> Path:
    """Return ``path``, or the first of path-2, path-3 … that does not exist."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def _resolve_model_path(path: Path) -> Path:
    """Return the model directory that ``path`` is, or that the run directory ``path`` holds."""
    if not path.is_dir():
        raise CheckpointError(f"there is no model directory {path}")
    if (path / "config.json").is_file() or (path / "manifest.json").is_file():
        return path
    run = RunDirectory(path)
    model = run.model if run.model.is_dir() else run.pointed("best")
    if model is None:
        raise CheckpointError(
            f"{path} is neither a model directory (no config.json) nor a run directory (no checkpoints.json)"
        )
    return model


def _read_verified(path: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Return the files' contents after comparing each with its hash in the manifest."""
    hashes = _parse_json(_read_file(path / "manifest.json"), path / "manifest.json")
    contents = {name: _read_file(path / name) for name in names}
    for name, data in contents.items():
        if hashlib.sha256(data).hexdigest() != hashes.get(name):
            raise CheckpointError(f"{path / name} is damaged or was changed: its SHA-256 is not the one in manifest.json")
    return contents


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} lacks {path.name}; copy the whole folder") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def _parse_json(data: bytes, path: Path) -> dict[str, Any]:
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
