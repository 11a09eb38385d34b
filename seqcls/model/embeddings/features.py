"""`features`: a linear map, for sequences of numbers."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from seqcls.data.preprocessor import Kind
from seqcls.model.embeddings.base import Embedding


class FeatureEmbedding(Embedding):
    """A linear map of the features of each step: W x_t + b.

    Example:
        >>> FeatureEmbedding(3, 8)(torch.randn(2, 5, 3)).shape
        torch.Size([2, 5, 8])
    """

    kind: ClassVar[Kind] = "features"

    def __init__(self, input_size: int, embedding_size: int) -> None:
        super().__init__()
        self.projection = nn.Linear(input_size, embedding_size)

    def forward(self, inputs: Tensor) -> Tensor:
        """Embed features [B, T, input_size] as [B, T, embedding_size]; see `Embedding.forward`."""
        vectors: Tensor = self.projection(inputs)
        return vectors
