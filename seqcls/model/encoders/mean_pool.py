"""`mean-pool`: the mean of the vectors, without regard to their order (Joulin et al. 2017)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from seqcls.model.encoders.base import Encoder
from seqcls.model.encoders.masking import Pool, Pooling


class MeanPool(Encoder):
    """The mean of the embeddings: (x_1 + ... + x_T) / T, for T the sequence's own length.

    With the embedding ``ngram-hash`` this is fastText (Joulin et al. 2017). ``output_size`` is ``input_size``, and twice
    that with ``pooling="mean+max"``.

    With a frozen embedding, such as ``static``, and a wide path, nothing but linear functions is left to train. Then L-BFGS
    fits head and wide path together, in seconds; see `seqcls.training.linear.fit_linear`.

    Args:
        pooling: How the vectors become one; fastText takes the mean.
        normalized: Scale the result to length 1.

    Example:
        >>> x, lengths = torch.randn(2, 5, 32), torch.tensor([5, 3])
        >>> MeanPool(32)(x, lengths).shape
        torch.Size([2, 32])
    """

    def __init__(self, input_size: int, *, pooling: Pooling = "mean", normalized: bool = False) -> None:
        super().__init__()
        self.normalized = normalized
        self.pool = Pool(input_size, pooling)
        self.output_size = self.pool.output_size

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Encode x [B, T, input_size] as [B, output_size]; see `Encoder.forward`."""
        encoded: Tensor = self.pool(x, lengths)
        return F.normalize(encoded, dim=1) if self.normalized else encoded
