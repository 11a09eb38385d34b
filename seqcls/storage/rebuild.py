"""From a model directory that was read to the network: built under a guard, compared with the weights, and loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqcls import registry
from seqcls.config.settings import Config
from seqcls.data.preprocessor import Preprocessor
from seqcls.errors import CheckpointError, ConfigError, SeqclsError, UnknownNameError
from seqcls.model.build import build_model
from seqcls.model.encoders.base import Encoder
from seqcls.model.network import Network
from seqcls.storage.description import MIXED_FILES
from seqcls.storage.oversized import OversizedModelGuard
from seqcls.storage.weights import has_broken_value


@dataclass(frozen=True, eq=False)
class SavedModel:
    """The content of a model directory whose files have been verified.

    Attributes:
        path: The directory.
        config: The settings of the run that made the model, with every option.
        label_names: The labels, in the order of the logits.
        label_values: Those that were given as int or bool, by their names.
        preprocessor: Turns sequences into arrays.
        thresholds: For several labels per text, the probability from which a text has each label; otherwise None.
        temperature: Divides the logits before softmax or sigmoid.
        split_digests: `Splits.digests` of what the model was trained and held out on; None if it was saved by 0.1.
        weights: The tensors of model.safetensors, by their names in the state dict.
        metrics: The content of metrics.json.
        plugins: The origin of the "encoder" and the "embedding": name, target, distribution, version.
    """

    path: Path
    config: Config
    label_names: tuple[str, ...]
    label_values: Mapping[str, bool | int]
    preprocessor: Preprocessor
    thresholds: tuple[float, ...] | None
    temperature: float
    split_digests: Mapping[str, str] | None
    weights: dict[str, Tensor]
    metrics: dict[str, Any]
    plugins: dict[str, dict[str, str | None]]

    def build(self, encoder: Encoder | None = None) -> Network:
        """Build the network, around ``encoder`` if given, and load its weights.

        The network is first built without memory for its values and compared with the weights, since the files may describe
        one that is larger than any machine.

        Raises:
            CheckpointError: The plugin of the encoder or embedding is missing, or the weights do not fit.
        """
        self._check_installed("embedding", self.config.model.embedding)
        if encoder is None:
            self._check_installed("encoder", self.config.model.encoder)
        try:
            with torch.random.fork_rng(
                devices=[]
            ):  # the initial weights, which are replaced, take no numbers from the user's
                self._check_size(encoder)
                network = self._build(encoder)
        except SeqclsError:
            raise
        except Exception as error:  # an encoder may raise anything
            reason = str(error).partition("\n")[0]  # torch appends its own stack
            raise CheckpointError(
                f"{self.path}/config.json describes a model that cannot be built: {reason:.200}; {MIXED_FILES}"
            ) from error
        self.load_into(network)
        return network

    def _check_size(self, encoder: Encoder | None) -> None:
        try:
            with OversizedModelGuard(len(self.weights), self.path), torch.device("meta"):
                network = self._build(encoder)
        except SeqclsError:
            raise
        except Exception:
            if self._is_built_in():
                raise
            return  # a plugin need not support the meta device, and whoever installed it trusts it
        self._compare(network)

    def _build(self, encoder: Encoder | None) -> Network:
        try:
            return build_model(
                self.config.model,
                vocab_size=self.preprocessor.input_size,
                ngrams=self.preprocessor.ngrams,
                num_classes=len(self.label_names),
                encoder=encoder,
            )
        except ConfigError as error:
            raise CheckpointError(f"{self.path}/config.json: {error}") from error

    def _is_built_in(self) -> bool:
        names = {"encoder": self.config.model.encoder, "embedding": self.config.model.embedding}
        return all(name in registry.REGISTRIES[kind].builtins for kind, name in names.items())

    def _check_installed(self, kind: str, name: str) -> None:
        try:
            registry.REGISTRIES[kind].resolve(name)
        except UnknownNameError as error:
            raise CheckpointError(f"{self.path} needs the {kind} {name!r}: {self._remedy(kind)}") from error

    def load_into(self, network: Network) -> None:
        """Load the weights into a built network.

        Raises:
            CheckpointError: A tensor is missing, unexpected, of another shape or type, or not finite; names the first one.
        """
        self._compare(network)
        parameters = dict(network.named_parameters())
        for name, tensor in self.weights.items():
            # A buffer, such as an attention mask, may hold infinity.
            if has_broken_value(tensor, may_be_infinite=name not in parameters):
                raise CheckpointError(f"{self.path}/model.safetensors: a value of {name} is not finite; {MIXED_FILES}")
        network.load_state_dict(self.weights)

    def _compare(self, network: Network) -> None:
        """Raise a CheckpointError unless the weights have the names, shapes and types of the network's tensors."""
        kind, expected_kind = self.preprocessor.kind, network.embedding.kind
        if kind != expected_kind:
            raise CheckpointError(
                f"{self.path}/tokenizer.json is for {kind}, but the embedding of config.json takes {expected_kind}; "
                f"{MIXED_FILES}"
            )
        expected, remedy = network.state_dict(), MIXED_FILES if self._is_built_in() else self._remedy("encoder")
        for name in sorted(expected.keys() ^ self.weights.keys()):
            problem = "lacks" if name in expected else "has the unexpected tensor"
            raise CheckpointError(f"{self.path}/model.safetensors {problem} {name:.200}; {remedy}")
        for name, tensor in expected.items():
            saved = self.weights[name]
            if saved.shape != tensor.shape:
                raise CheckpointError(
                    f"{self.path}/model.safetensors: {name} has shape {list(saved.shape)}, but config.json and "
                    f"tokenizer.json make it {list(tensor.shape)}; {MIXED_FILES}"
                )
            if saved.dtype != tensor.dtype:
                raise CheckpointError(
                    f"{self.path}/model.safetensors: {name} is {saved.dtype}, and should be {tensor.dtype}; {MIXED_FILES}"
                )

    def _remedy(self, kind: str) -> str:
        plugin = self.plugins[kind]
        distribution, version = plugin.get("distribution"), plugin.get("version")
        if distribution in (None, "seqcls"):
            or_pass = ", or pass a built one as encoder" if kind == "encoder" else ""
            return f"it was made with {plugin.get('target')}: register that {kind} first{or_pass}"
        return f"install the package that provides it: pip install {distribution}=={version}"
