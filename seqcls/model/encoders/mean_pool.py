"""`mean-pool`: the mean of the vectors, without regard to their order (Joulin et al. 2017)."""

from __future__ import annotations

from torch import Tensor

from seqcls.model.encoders.base import Encoder
from seqcls.model.encoders.masking import Pool, Pooling


class MeanPool(Encoder):
    """The mean of the embeddings: (x_1 + ... + x_T) / T, for T the sequence's own length.

    With the embedding ``ngram-hash`` this is fastText (Joulin et al. 2017). ``output_size`` is ``input_size``, and twice
    that with ``pooling="mean+max"``.

    Args:
        pooling: How the vectors become one; fastText takes the mean.

    Example:
        >>> x, lengths = torch.randn(2, 5, 32), torch.tensor([5, 3])
        >>> MeanPool(32)(x, lengths).shape
        torch.Size([2, 32])
    """

    def __init__(self, input_size: int, *, pooling: Pooling = "mean") -> None:
        super().__init__()
        self.pool = Pool(input_size, pooling)
        self.output_size = self.pool.output_size

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Encode x [B, T, input_size] as [B, output_size]; see `Encoder.forward`."""
        encoded: Tensor = self.pool(x, lengths)
        return encoded
