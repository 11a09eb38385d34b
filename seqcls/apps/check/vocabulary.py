"""What the tokenizer that the settings choose loses of the texts: cut ends, unknown words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqcls.apps.check.findings import EXAMPLES, Example, Finding, excerpt
from seqcls.config.settings import DataConfig
from seqcls.data.rules import UNK_ID
from seqcls.data.splits import Split, Splits
from seqcls.data.tokenizer import TextTokenizer

TRUNCATED = (0.01, 0.2)
"""The shares of truncated texts above which they are a note, and a warning."""
UNKNOWN = (0.05, 0.15)
"""The same, for the share of tokens that are unknown."""


@dataclass(frozen=True, eq=False)
class Measure:
    """The number of tokens in each text of a split, and how many of them are unknown: int64 [N] each."""

    lengths: NDArray[np.int64]
    unknown: NDArray[np.int64]


def measure(split: Split, tokenizer: TextTokenizer) -> Measure:
    """Count the tokens of each text."""
    lengths, unknown = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for ids, sizes in tokenizer.encode_chunks(split.texts):
        owners = np.repeat(np.arange(len(sizes)), sizes)
        lengths.append(sizes)
        unknown.append(np.bincount(owners[ids == UNK_ID], minlength=len(sizes)))
    return Measure(np.concatenate(lengths), np.concatenate(unknown))


def find_truncation(splits: Splits, measures: Mapping[str, Measure], config: DataConfig) -> Iterator[Finding]:
    """Find the splits with texts that are longer than the settings allow."""
    if config.max_length is None:
        return
    limit = config.max_length
    for name, measured in measures.items():
        (rows,) = np.nonzero(measured.lengths > limit)
        share = len(rows) / max(1, len(measured.lengths))
        if share >= TRUNCATED[0]:
            longest = rows[np.argsort(-measured.lengths[rows], kind="stable")][:EXAMPLES].tolist()
            yield Finding(
                "truncation",
                "warning" if share >= TRUNCATED[1] else "note",
                len(rows),
                f"{share:.1%} of the texts of {name} have more than {limit:,} tokens and are cut (up to "
                f"{measured.lengths.max():,} tokens, {config.truncating})",
                "Give a higher --max-length, or choose the part that is cut with --truncating pre, post or middle.",
                _examples(splits, name, longest),
            )


def find_unknown(splits: Splits | None, measures: Mapping[str, Measure]) -> Iterator[Finding]:
    """Find the splits, other than train, whose words are often missing from the vocabulary of train."""
    for name, measured in measures.items():
        share = float(measured.unknown.sum() / max(1, measured.lengths.sum()))
        if name != "train" and share >= UNKNOWN[0]:
            worst = np.argsort(-measured.unknown / measured.lengths, kind="stable")[:EXAMPLES].tolist()
            yield Finding(
                "unknown-words",
                "warning" if share >= UNKNOWN[1] else "note",
                int(measured.unknown.sum()),
                f"{share:.1%} of the words of {name} are not in the vocabulary of train",
                "Give a larger --vocab-size, more training texts, or --tokenizer bpe, which knows every word.",
                () if splits is None else _examples(splits, name, worst),
            )


def _examples(splits: Splits, name: str, rows: list[int]) -> tuple[Example, ...]:
    texts = splits.labelled()[name].texts
    return tuple(Example(name, row + 1, excerpt(texts[row])) for row in rows)
