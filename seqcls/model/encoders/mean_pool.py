"""`mean-pool`: the mean of the vectors, without regard to their order (Joulin et al. 2017)."""

from __future__ import annotations

from torch import Tensor

from seqcls.model.encoders.base import Encoder
from seqcls.model.encoders.masking import Pool, Pooling


class MeanPool(Encoder):
    """The mean of the embeddings; with the embedding ``ngram-hash`` this is fastText (Joulin et al. 2017).

    Args:
        pooling: How the vectors become one; fastText's is the mean.
    """

    def __init__(self, input_size: int, *, pooling: Pooling = "mean") -> None:
        super().__init__()
        self.pool = Pool(input_size, pooling)
        self.output_size = self.pool.output_size

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Encode x [B, T, input_size] as [B, output_size]; see `Encoder.forward`."""
        encoded: Tensor = self.pool(x, lengths)
        return encoded
