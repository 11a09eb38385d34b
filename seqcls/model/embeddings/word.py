"""`word`: one vector per word, learned from scratch."""

from __future__ import annotations

from torch import Tensor

from seqcls.model.embeddings.base import Embedding, new_table
from seqcls.model.option_types import PositiveFloat


class WordEmbedding(Embedding):
    """A learned vector for each word of the vocabulary.

    Args:
        std: Standard deviation of the initial vectors.

    Example:
        >>> WordEmbedding(1000, 8)(torch.tensor([[5, 6, 0], [7, 0, 0]])).shape
        torch.Size([2, 3, 8])
    """

    is_table = True

    def __init__(self, input_size: int, embedding_size: int, *, std: PositiveFloat = 0.1) -> None:
        super().__init__()
        self.table = new_table(input_size, embedding_size, std)

    def forward(self, inputs: Tensor) -> Tensor:
        """Embed ids [B, T] as [B, T, embedding_size]; see `Embedding.forward`."""
        vectors: Tensor = self.table(inputs)
        return vectors
