"""Model directories and checkpoints: written whole or not at all, checked when read, never executed.

A model directory holds what prediction needs. A checkpoint is a model directory that also holds the state of the training.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor
from torch.overrides import TorchFunctionMode

from seqcls import registry
from seqcls.config.options import with_defaults
from seqcls.config.settings import Config
from seqcls.data.encoding import parse_preprocessor
from seqcls.data.preprocessor import Preprocessor
from seqcls.errors import CheckpointError, ConfigError, PluginError, SeqclsError, UnknownNameError
from seqcls.model.build import build_model, describe_plugins
from seqcls.model.encoders.base import Encoder
from seqcls.model.network import Network
from seqcls.storage.description import read_description
from seqcls.storage.schemas import Figures, Progress
from seqcls.storage.upgrade import FORMAT_VERSION
from seqcls.system.files import new_directory, write_file
from seqcls.system.randomness import RandomState
from seqcls.system.untrusted import GARBLED, JSON_LIMIT, check_form, parse_json, parse_tensors, read_verified

# The largest that a file may be. Tokenizers of large models in many languages have 40 MB.
MODEL_FILES = {"config.json": JSON_LIMIT, "metrics.json": JSON_LIMIT, "model.safetensors": None, "tokenizer.json": 64 << 20}
TRAINING_FILES = {"training.json": JSON_LIMIT, "training.safetensors": None}


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
    preprocessor: Preprocessor
    thresholds: tuple[float, ...] | None
    temperature: float
    weights: dict[str, Tensor]
    metrics: dict[str, Any]
    plugins: dict[str, dict[str, str | None]]

    def build(self, encoder: Encoder | None = None) -> Network:
        """Build the model, around ``encoder`` if given, and load its weights.

        Raises:
            CheckpointError: The encoder's plugin is missing, or the weights do not fit it.
        """
        self._check_installed("embedding", self.config.model.embedding)
        if encoder is None:
            self._check_installed("encoder", self.config.model.encoder)
        try:
            self._rehearse(encoder)
            model = self._build(encoder)
        except SeqclsError:
            raise
        except Exception as error:  # an encoder may raise anything
            reason = f"{error}".partition("\n")[0]  # torch adds its own stack
            raise CheckpointError(
                f"{self.path}/config.json describes a model that cannot be built: {reason:.200}; {_OTHER_MODEL}"
            ) from error
        self.load_into(model)
        return model

    def _rehearse(self, encoder: Encoder | None) -> None:
        """Build the model without memory for its values and compare it: it may be described as larger than any machine."""
        try:
            with _Budget(1000 + 100 * len(self.weights), self.path), torch.device("meta"):
                model = self._build(encoder)
        except SeqclsError:
            raise
        except Exception:
            if self._is_built_in():
                raise
            return  # an encoder of others need not know the meta device; installing it meant trusting it
        self._compare(model)

    def _build(self, encoder: Encoder | None) -> Network:
        try:
            return build_model(
                self.config.model,
                vocab_size=self.preprocessor.input_size,
                num_classes=len(self.label_names),
                encoder=encoder,
            )
        except ConfigError as error:
            raise CheckpointError(f"{self.path}/config.json: {error}") from error

    def _is_built_in(self) -> bool:
        named = {"encoder": self.config.model.encoder, "embedding": self.config.model.embedding}
        return all(name in registry.REGISTRIES[kind].builtins for kind, name in named.items())

    def _check_installed(self, kind: str, name: str) -> None:
        try:
            registry.REGISTRIES[kind].resolve(name)
        except UnknownNameError as error:
            raise CheckpointError(f"{self.path} needs the {kind} {name!r}: {self._remedy(kind)}") from error

    def load_into(self, model: Network) -> None:
        """Load the weights into a built model; CheckpointError names the first that does not fit."""
        self._compare(model)
        parameters = dict(model.named_parameters())
        for name, tensor in self.weights.items():
            # Infinity may stand in a buffer, such as the mask of an encoder.
            if _is_broken(tensor, may_be_infinite=name not in parameters):
                raise CheckpointError(f"{self.path}/model.safetensors: a value of {name} is not finite; {_OTHER_MODEL}")
        model.load_state_dict(self.weights)

    def _compare(self, model: Network) -> None:
        """Raise a CheckpointError unless the weights have the names, shapes and types of the model's."""
        kind, expected_kind = self.preprocessor.kind, model.embedding.kind
        if kind != expected_kind:
            raise CheckpointError(
                f"{self.path}/tokenizer.json is for {kind}, but the embedding of config.json takes {expected_kind}; "
                f"{_OTHER_MODEL}"
            )
        expected, remedy = model.state_dict(), _OTHER_MODEL if self._is_built_in() else self._remedy("encoder")
        for name in sorted(expected.keys() ^ self.weights.keys()):
            place = "lacks" if name in expected else "has the unexpected tensor"
            raise CheckpointError(f"{self.path}/model.safetensors {place} {name:.200}; {remedy}")
        for name, tensor in expected.items():
            found = self.weights[name]
            if tensor.shape != found.shape:
                raise CheckpointError(
                    f"{self.path}/model.safetensors: {name} has shape {list(found.shape)}, but config.json and "
                    f"tokenizer.json make it {list(tensor.shape)}; {_OTHER_MODEL}"
                )
            if tensor.dtype != found.dtype:
                raise CheckpointError(
                    f"{self.path}/model.safetensors: {name} is {found.dtype}, and should be {tensor.dtype}; {_OTHER_MODEL}"
                )

    def _remedy(self, kind: str) -> str:
        plugin = self.plugins[kind]
        distribution, version = plugin.get("distribution"), plugin.get("version")
        if distribution in (None, "seqcls"):
            or_pass = ", or pass a built one as encoder" if kind == "encoder" else ""
            return f"it was made with {plugin.get('target')}: register that {kind} first{or_pass}"
        return f"install the package that provides it: pip install {distribution}=={version}"


_OTHER_MODEL = "the files belong to different models: copy the whole folder again"


def _is_broken(tensor: Tensor, *, may_be_infinite: bool = False) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return False
    extremes = torch.stack(tensor.aminmax())  # NaN if there is one; no copy, unlike tensor.isfinite()
    return bool(extremes.isnan().any() if may_be_infinite else (~extremes.isfinite()).any())


_FILLING = (torch.Tensor.normal_, torch.Tensor.uniform_, torch.nn.init.normal_, torch.nn.init.uniform_)


class _Budget(TorchFunctionMode):
    """Ends the building of a model that asks far more of torch than the tensors in its file account for."""

    def __init__(self, calls: int, path: Path) -> None:
        super().__init__()
        self._calls = calls
        self._path = path

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._calls -= 1
        if self._calls < 0:
            raise CheckpointError(
                f"{self._path}/config.json describes a model of far more tensors than model.safetensors has; {_OTHER_MODEL}"
            )
        if func in _FILLING:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:  # there are no values; asked to fill them, PyTorch imports its compiler, for a second
                return tensor
        return func(*args, **(kwargs or {}))


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
        "input": preprocessor.kind,
        "thresholds": thresholds if thresholds is None else list(thresholds),
        "temperature": temperature,
        "config": config.model_dump(mode="json"),
    }
    contents = {
        "config.json": to_json(description),
        "metrics.json": to_json(metrics),
        "model.safetensors": _to_safetensors(weights),
        "tokenizer.json": preprocessor.to_json().encode(),
    }
    if training is not None:
        contents["training.json"] = to_json(training.values)
        contents["training.safetensors"] = _to_safetensors(training.tensors)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    # The model card may be edited by its owner, so that it is in no manifest.
    contents |= {"manifest.json": to_json(hashes), "README.md": _model_card(description, metrics).encode(errors="replace")}
    with writing(path), new_directory(path, replace=replace) as temporary:
        for name, data in contents.items():
            write_file(temporary / name, data)


def resolve_options(config: Config) -> Config:
    """Return the settings with the registered names of plugins and all of their options, defaults included.

    A plugin that is not registered, or cannot be imported, keeps the options that it has.
    """
    encoder, encoder_options = _resolved("encoder", config.model.encoder, config.model.encoder_options)
    embedding, embedding_options = _resolved("embedding", config.model.embedding, config.model.embedding_options)
    dataset, dataset_options = _resolved("dataset", config.data.dataset, config.data.dataset_options)
    callbacks = [_resolved("callback", name, config.fit.callback_options.get(name, {})) for name in config.fit.callbacks]
    resolved = {
        "data": {"dataset": dataset, "dataset_options": dataset_options},
        "model": {
            "encoder": encoder,
            "encoder_options": encoder_options,
            "embedding": embedding,
            "embedding_options": embedding_options,
        },
        "fit": {"callback_options": {name: options for name, options in callbacks if options}},
    }
    return config.updated(resolved, source="options")


def _resolved(kind: str, name: str, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    plugins = registry.REGISTRIES[kind]
    known = next((info for info in plugins.plugins() if name in (info.name, *info.aliases) and not info.shadowed), None)
    try:
        return (name, values) if known is None else (known.name, with_defaults(plugins.get(known.name), values))
    except PluginError:
        return name, values


def load_model_directory(path: Path) -> SavedModel:
    """Read a model directory or a checkpoint, and check every file's hash.

    Raises:
        CheckpointError: It is none, or a file is missing or damaged.
    """
    contents = read_verified(path, MODEL_FILES)
    description, config = read_description(contents["config.json"], path / "config.json")
    return SavedModel(
        path=path,
        config=config,
        label_names=tuple(description.label_names),
        preprocessor=parse_preprocessor(
            contents["tokenizer.json"],
            path / "tokenizer.json",
            max_length=config.data.max_length,
            truncating=config.data.truncating,
        ),
        thresholds=None if description.thresholds is None else tuple(description.thresholds),
        temperature=description.temperature,
        weights=parse_tensors(contents["model.safetensors"], path / "model.safetensors"),
        metrics=_parse_metrics(contents["metrics.json"], path / "metrics.json"),
        plugins={kind: plugin.model_dump() for kind, plugin in description.plugins},
    )


def _parse_metrics(data: bytes, path: Path) -> dict[str, Any]:
    metrics = parse_json(data, path)
    for figures in metrics.values():
        if isinstance(figures, dict) and "accuracy" in figures:
            check_form(figures, Figures, path)
    return metrics


def load_training(path: Path) -> TrainingSnapshot:
    """Read the training state of the checkpoint at ``path``; CheckpointError if it is missing or damaged."""
    contents = read_verified(path, TRAINING_FILES)
    tensors = parse_tensors(contents["training.safetensors"], path / "training.safetensors")
    values = parse_json(contents["training.json"], path / "training.json")
    check_form(values, Progress, path / "training.json")
    for name, tensor in tensors.items():
        if not re.fullmatch(r"optimizer\.[0-9]{1,9}\.\w+|(weights|gradient)\..+|rng\.\w+", name):
            raise CheckpointError(f"{path}/training.safetensors has the unexpected tensor {name:.200}; {_OTHER_MODEL}")
        if _is_broken(tensor):
            raise CheckpointError(f"{path}/training.safetensors: a value of {name} is not finite; {_OTHER_MODEL}")
    try:
        RandomState(tensors, values).validate()
    except (RuntimeError, *GARBLED) as error:
        raise CheckpointError(
            f"{path} does not hold the states of the random generators: {error}; {_OTHER_MODEL}"
        ) from error
    return TrainingSnapshot(tensors, values)


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


def _to_safetensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the bytes of a safetensors file; of several metadata keys the library would shuffle the order."""
    described = json.dumps({"format_version": FORMAT_VERSION}, sort_keys=True, separators=(",", ":"))
    values = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save_tensors(values, metadata={"seqcls": described})


def _model_card(description: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    config, encoder = description["config"], description["plugins"]["encoder"]
    scores = [
        f"| {split} | {score['loss']:.4f} | {100 * score['accuracy']:.2f}% | {score['count']} |"
        for split, score in metrics.items()
        if isinstance(score, Mapping) and "accuracy" in score
    ]
    table = ["", "| split | loss | accuracy | examples |", "|---|---|---|---|", *scores] if scores else []
    labels = ", ".join(description["label_names"])
    given, example = {"text": ("text", '["some text"]'), "features": ("numbers", "[numbers]")}[description["input"]]
    task = ["pipeline_tag: text-classification"] if description["input"] == "text" else []
    lines = [
        "---",  # what Hugging Face reads of it
        "library_name: seqcls",
        *task,
        "tags: [sequence-classification]",
        "---",
        "",
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
