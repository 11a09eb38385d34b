"""The wide path: from the n-grams of a text straight to the logits, by one weight per n-gram and class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WidePath(nn.Module):
    """A linear classifier of n-grams, beside the network that reads the sequence (Cheng et al. 2016, "Wide & Deep").

    A text is the set of its known n-grams f, of words and of characters. Each kind is scaled to length 1,

        x_f = s_f / |s|_kind,    logits = sum_f x_f w_f + b,

    where the scale s_f says how much an n-gram tells about the class before anything is learned (see
    `seqcls.training.linear.scales`). The weights w, [F, C], and b, [C], are fitted before the rest of the network is
    trained, and then kept: they are buffers and get no gradient. The logits of the network are ``shares[0]`` of these and
    ``shares[1]`` of those of the sequence.

    Args:
        num_ngrams: F, the number of known n-grams.
        num_words: The ids below are n-grams of words, the others of characters.
        num_classes: C.
    """

    scales: Tensor
    weights: Tensor
    bias: Tensor
    shares: Tensor
    inverse_penalty: Tensor
    vector_scale: Tensor

    def __init__(self, num_ngrams: int, num_words: int, num_classes: int) -> None:
        super().__init__()
        self.num_words = num_words
        self.register_buffer("scales", torch.ones(num_ngrams))
        self.register_buffer("weights", torch.zeros(num_ngrams, num_classes))
        self.register_buffer("bias", torch.zeros(num_classes))
        self.register_buffer("shares", torch.full((2,), 0.5))
        # What the weights were fitted with: see the settings of these names.
        self.register_buffer("inverse_penalty", torch.zeros(()))
        self.register_buffer("vector_scale", torch.ones(()))

    def forward(self, ids: Tensor, offsets: Tensor) -> Tensor:
        """Return the logits of B texts, float [B, C].

        Args:
            ids: int64 [M], the n-grams of one text after the other, each once per text.
            offsets: int64 [B], where those of each text begin.
        """
        return _sum(self.weights, ids, offsets, self.values(ids, offsets)) + self.bias

    def values(self, ids: Tensor, offsets: Tensor) -> Tensor:
        """Return the x_f of n-grams, float [M]; see `forward`."""
        scales = self.scales[ids]  # [M]
        is_word = ids < self.num_words
        squares = torch.stack([scales.square() * is_word, scales.square() * ~is_word], dim=1)  # [M, 2]
        index = torch.arange(len(ids), device=ids.device)
        norms = _sum(squares, index, offsets, None).clamp_min(1e-12).sqrt()  # [B, 2]
        rows = torch.bucketize(index, offsets, right=True) - 1  # [M], the text of each n-gram
        return scales / torch.where(is_word, norms[rows, 0], norms[rows, 1])


def _sum(table: Tensor, ids: Tensor, offsets: Tensor, values: Tensor | None) -> Tensor:
    """Return the sum of the rows of each text, times their values, [B, C]."""
    if not len(ids):  # of no text, a bag would have no type
        return table.new_zeros(len(offsets), table.shape[1])
    summed: Tensor = F.embedding_bag(ids, table, offsets, mode="sum", per_sample_weights=values)
    return summed
