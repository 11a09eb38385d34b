from torch import Tensor, nn

from seqcls import Encoder
from seqcls.encoders.masking import Pool, length_mask


class Convolution(Encoder):
    """Convolution over neighbouring words, then the maximum over time (Kim 2014).

    Args:
        channels: Number of filters.
        width: Number of words a filter sees; odd.
    """

    def __init__(self, input_size: int, *, channels: int = 64, width: int = 3) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(input_size, channels, width, padding=width // 2)
        self.pool = Pool(channels, "max")
        self.output_size = self.pool.output_size

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        mask = length_mask(lengths, x.shape[1], x.device).unsqueeze(-1)  # [B, T, 1]
        x = x.masked_fill(~mask, 0.0).transpose(1, 2)  # [B, input_size, T]
        states = self.convolution(x).relu().transpose(1, 2)  # [B, T, channels]
        return self.pool(states, lengths)
