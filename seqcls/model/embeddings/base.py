"""The contract of embeddings."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from seqcls.data.preprocessor import Kind
from seqcls.data.rules import PAD_ID
from seqcls.model.tables import LookupTable


class Embedding(nn.Module, ABC):
    """Map each step of a sequence to a vector.

    ``__init__(self, input_size: int, embedding_size: int, *, ...)`` takes the number of different ids, or the size of a
    feature vector; then the size of the vectors that it returns; then the options, as keyword-only arguments.

    Tables that ``new_table`` builds, and others with ``sparse=True``, are updated only where a batch reads them: see
    `seqcls.training.lazy_tables`.

    It keeps these laws: the vector of a step depends only on that step and earlier steps of its own sequence, never on
    padding; the state dict round-trips.

    Attributes:
        kind: The kind of data that it embeds: token ids of "text", or "features".
        is_table: Whether the vector of a step depends only on its id. Prediction then embeds each different id of a batch
            once.
    """

    kind: ClassVar[Kind] = "text"
    is_table: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "takes" in vars(cls):  # what `kind` was called in 0.1
            warnings.warn(f"{cls.__name__}.takes is now called kind; rename it", DeprecationWarning, stacklevel=2)
            cls.kind = "text" if vars(cls)["takes"] == "ids" else "features"

    @classmethod
    def own_tokenizer(cls, options: Mapping[str, Any]) -> str | None:
        """Return the value of the setting ``tokenizer`` that it needs; None, by default, if it takes the ids of any.

        Args:
            options: Its options; those that are left out have their defaults.
        """
        del options
        return None

    @classmethod
    def own_size(cls, options: Mapping[str, Any]) -> int | None:
        """Return what ``embedding_size = "auto"`` means for it; None, by default, if it has no size of its own.

        Args:
            options: Its options; those that are left out have their defaults.
        """
        del options
        return None

    @abstractmethod
    def forward(self, inputs: Tensor) -> Tensor:
        """Embed a padded batch.

        Args:
            inputs: int64 [B, T] token ids, `PAD_ID` in the padding; or float [B, T, input_size].

        Returns:
            float [B, T, embedding_size], arbitrary in the padding.
        """

    def start(self, words: Sequence[str]) -> None:
        """Prepare the initial weights before a new training run; by default, do nothing.

        This is not called when a saved model is loaded: whatever it sets must be in the state dict.

        Args:
            words: The vocabulary, in the order of the ids.

        Raises:
            DataError: A file that it needs is missing or damaged.
            ConfigError: The file does not fit the settings.
        """


class NoEmbedding(Embedding):
    """The embedding of a network that reads no sequence: vectors without values."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return float [B, T, 0]."""
        return torch.zeros(*inputs.shape, 0, device=inputs.device)


def new_table(rows: int, embedding_size: int, std: float) -> LookupTable:
    """Build a table of vectors drawn from N(0, std^2); the vector of `PAD_ID` is zero."""
    table = LookupTable(rows, embedding_size, padding_idx=PAD_ID)
    nn.init.normal_(table.weight, std=std)
    table.weight.data[PAD_ID] = 0.0
    return table
