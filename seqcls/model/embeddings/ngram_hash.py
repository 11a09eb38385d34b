"""`ngram-hash`: word vectors, plus vectors of the word n-grams that end at each word (Joulin et al. 2017)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from seqcls.data.rules import PAD_ID
from seqcls.model.embeddings.base import Embedding, new_table
from seqcls.model.embeddings.hashing import extend_hashes
from seqcls.model.option_types import PositiveFloat, PositiveInt


class NgramHashEmbedding(Embedding):
    """The vector of each word plus those of the n-grams that end there, in hashed buckets (Joulin et al. 2017, sec. 2.2).

    With the encoder ``mean-pool`` this is fastText: the mean of these sums over time is the sum of all word and n-gram
    vectors, divided by the length.

    Args:
        std: Standard deviation of the initial vectors.
        max_n: Longest n-gram, in words.
        buckets: Number of vectors that n-grams share (Weinberger et al. 2009).

    Example:
        >>> NgramHashEmbedding(1000, 8, max_n=3)(torch.tensor([[5, 6, 0], [7, 0, 0]])).shape
        torch.Size([2, 3, 8])
    """

    def __init__(
        self,
        input_size: int,
        embedding_size: int,
        *,
        std: PositiveFloat = 0.1,
        max_n: Annotated[int, Field(ge=2, le=5)] = 2,
        buckets: PositiveInt = 200_000,
    ) -> None:
        super().__init__()
        self.max_n = max_n
        self.buckets = buckets
        self.table = new_table(input_size, embedding_size, std)
        self.ngram_table = new_table(1 + buckets, embedding_size, std)

    def forward(self, inputs: Tensor) -> Tensor:
        """Embed ids [B, T] as [B, T, embedding_size]; see `Embedding.forward`."""
        vectors: Tensor = self.table(inputs)
        hashes = inputs
        for n in range(2, self.max_n + 1):
            # The n-gram that ends at step t extends the (n-1)-gram that ends at t - 1; the first steps have none.
            last = inputs[:, n - 1 :]  # [B, T - n + 1]
            hashes = extend_hashes(hashes[:, :-1], last, buckets=self.buckets)
            buckets = (hashes + 1).masked_fill(last == PAD_ID, PAD_ID)
            vectors[:, n - 1 :] += self.ngram_table(buckets)
        return vectors
