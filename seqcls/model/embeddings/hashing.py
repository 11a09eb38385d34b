"""fastText's hash of n-grams, for arrays of NumPy and tensors of torch alike; it imports neither."""

from __future__ import annotations

from typing import Any

FASTTEXT_MULTIPLIER = 116_049_371


def extend_hashes(hashes: Any, words: Any, *, buckets: int) -> Any:
    """Return the hashes of n-grams from those of the (n-1)-grams that they begin with and the words that follow.

    Joulin et al. (2017), sec. 2.2, as in fastText's source.

    Args:
        hashes: int64 [B, T], of (n-1)-grams; a word is its own hash.
        words: int64 [B, T], the ids of the words that follow.
        buckets: The number of different hashes.

    Returns:
        int64 [B, T], each in 0..buckets - 1.
    """
    return (hashes * FASTTEXT_MULTIPLIER + words) % buckets
