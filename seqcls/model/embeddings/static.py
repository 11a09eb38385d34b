"""`static`: pretrained vectors of subwords, in the forms of Model2Vec and WordLlama."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqcls.data.static_vectors import WORDLLAMA, read_static_vectors, static_vector_size
from seqcls.errors import ConfigError
from seqcls.model.embeddings.base import Embedding, new_table

logger = logging.getLogger("seqcls")


class StaticEmbedding(Embedding):
    """Pretrained vectors of subwords, one per token of the tokenizer that comes with them.

    The settings ``tokenizer`` and ``embedding_size`` follow them. A smaller size keeps the first values of each vector,
    which say the most: Model2Vec's are principal components, and WordLlama's were trained for it (Kusupati et al. 2022).

    The saved model holds all vectors, also those of tokens that the training texts lack: in 16 bits, or in 32 if tuned.

    Args:
        source: A folder with a safetensors file and a tokenizer.json; or "user/model", a repository on Hugging Face; or
            wordllama, the vectors that come with the extra static.
        tune: Train the vectors further instead of keeping them as they are.
    """

    is_table = True

    def __init__(self, input_size: int, embedding_size: int, *, source: str = WORDLLAMA, tune: bool = False) -> None:
        super().__init__()
        self.source = source
        self.table = new_table(input_size, embedding_size, std=1.0) if tune else FrozenTable(input_size, embedding_size)

    @classmethod
    def own_tokenizer(cls, options: Mapping[str, Any]) -> str:
        """Return the source: the vectors are those of its tokens."""
        return str(options.get("source", WORDLLAMA))

    @classmethod
    def own_size(cls, options: Mapping[str, Any]) -> int:
        """Return the size of the vectors of the source.

        Raises:
            DataError, CheckpointError, HubError, MissingExtraError: They cannot be read.
        """
        return static_vector_size(cls.own_tokenizer(options))

    def forward(self, inputs: Tensor) -> Tensor:
        """Embed ids [B, T] as [B, T, embedding_size]; see `Embedding.forward`."""
        vectors: Tensor = self.table(inputs)
        return vectors

    @torch.no_grad()
    def start(self, words: Sequence[str]) -> None:
        """Read the vectors.

        Raises:
            DataError, CheckpointError, HubError, MissingExtraError: They cannot be read.
            ConfigError: They belong to other tokens than ``words``, or are smaller than the settings say.
        """
        vectors = read_static_vectors(self.source)
        if vectors.tokenizer.words() != list(words):
            raise ConfigError(
                f"the tokens of the data are not those of the vectors {self.source}; use --tokenizer {self.source}"
            )
        size = self.table.weight.shape[1]
        if size > vectors.table.shape[1]:
            raise ConfigError(
                f"the vectors {self.source} have {vectors.table.shape[1]} values, but model.embedding_size is {size}; "
                "leave it out, or give a smaller one"
            )
        self.table.weight.copy_(torch.from_numpy(vectors.table[:, :size]))
        logger.debug(f"read {len(words):,} vectors of size {size} from {self.source}")


class FrozenTable(nn.Module):
    """Vectors in half precision, which no training changes: they take half of the memory, and the optimizer skips them."""

    weight: Tensor

    def __init__(self, rows: int, size: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(rows, size, dtype=torch.float16))

    def forward(self, ids: Tensor) -> Tensor:
        """Return the vectors of ids [...], float [..., size]; float64 if that is what the weights were converted to."""
        vectors = F.embedding(ids, self.weight)
        return vectors if vectors.dtype == torch.float64 else vectors.float()
