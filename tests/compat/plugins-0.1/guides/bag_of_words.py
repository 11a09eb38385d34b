"""The mean of the word vectors, projected: what a model can do that knows no word order."""

from torch import Tensor, nn

from seqcls import Encoder
from seqcls.encoders.masking import Pool


class BagOfWords(Encoder):
    """Mean of the word vectors, projected.

    Args:
        size: Size of the projection.
    """

    def __init__(self, input_size: int, *, size: int = 64) -> None:
        super().__init__()
        self.pool = Pool(input_size, "mean")
        self.projection = nn.Linear(input_size, size)
        self.output_size = size

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.projection(self.pool(x, lengths)).relu()
