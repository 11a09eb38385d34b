"""`word`: a vector a word, learned from the start."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from seqcls.model.embeddings.base import Embedding, new_table


class WordEmbedding(Embedding):
    """A learned vector for each word of the vocabulary.

    Args:
        std: Standard deviation of the initial vectors.
    """

    is_table = True

    def __init__(self, input_size: int, embedding_size: int, *, std: Annotated[float, Field(gt=0)] = 0.1) -> None:
        super().__init__()
        self.table = new_table(input_size, embedding_size, std)

    def forward(self, inputs: Tensor) -> Tensor:
        """Embed ids [B, T] as [B, T, embedding_size]; see `Embedding.forward`."""
        vectors: Tensor = self.table(inputs)
        return vectors
