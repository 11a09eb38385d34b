"""What gives the label away without being what a classifier should learn: telling tokens, and ratings in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from seqcls.apps.check.findings import EXAMPLES, Example, Finding, excerpt, number
from seqcls.apps.check.scan import Scan
from seqcls.apps.check.tally import Tally
from seqcls.data.labels import listed
from seqcls.data.rules import SPECIALS
from seqcls.data.splits import Split, Splits
from seqcls.data.tokenizer import TextTokenizer

PURITY = 0.9
"""The share of the texts with a token that must have one label; the lower bound of the share has to reach it."""
ODDS = 9.0
"""How many times higher the odds of the label have to be among the texts with the token than among all texts."""
Z = 3.0
"""How many standard errors below the share its lower bound lies; at least 82 texts without an exception are needed."""
COVERAGE = 0.1
"""The share of the label's texts with the token that makes it a warning."""
RATED_TEXTS, RATED_RIGHT = 30, 0.8
"""Ratings are a leak if at least this many texts have one, and it gives away the label of at least this share."""

_RATING = re.compile(r"(?<![\d./])(10|\d)(?:[.,]\d)?\s*(?:/|out of)\s*10(?![\d/])")


def find_leaks(splits: Splits, tokenizer: TextTokenizer) -> Iterator[Finding]:
    """Find tokens of train whose texts nearly all have the same label.

    A token counts if the lower bound of the share of its texts with the label (the score interval of E. Wilson, "Probable
    inference, the law of succession, and statistical inference", 1927) is at least `PURITY`, and the odds at that bound
    `ODDS` times those of the label in train.
    """
    train = splits.train
    assert train.labels is not None
    texts, labels, tokens, labelled = _count_texts(train, tokenizer)
    sizes = train.labels.sum(axis=0, dtype=np.int64) if splits.is_multi_label else np.bincount(train.labels)
    is_telling = _are_telling(labelled, texts[tokens], sizes[labels] / len(train)) & (tokens >= len(SPECIALS))
    if not is_telling.any():
        return
    order = np.flatnonzero(is_telling)[np.argsort(-labelled[is_telling], kind="stable")]
    labels, tokens, labelled = labels[order], tokens[order], labelled[order]
    covered = labelled / sizes[labels]
    words = tokenizer.words()
    shown = [
        f"{words[token]!r} ({texts[token]:,} texts, {count / texts[token]:.0%} {splits.label_names[label]})"
        for label, token, count in zip(labels, tokens, labelled, strict=True)
    ]
    yield Finding(
        "leak",
        "warning" if covered.max() >= COVERAGE else "note",
        len(tokens),
        f"{number(len(tokens), 'token')} nearly deciding the label: {listed(shown)}",
        "Ask whether each will occur, and mean the same, when the model is used; if not, remove it from the texts.",
        _first_with(train.texts, list(dict.fromkeys(tokens[:EXAMPLES].tolist())), tokenizer),
    )


def find_ratings(train: Split, scan: Scan) -> Iterator[Finding]:
    """Find out whether ratings in the texts, such as 8/10, give the label away."""
    ratings = np.full(len(train), -1)
    for row, text in enumerate(train.texts):
        if "10" in text and (match := _RATING.search(text)):
            ratings[row] = int(match[1])
    (rows,) = np.nonzero(ratings >= 0)
    if len(rows) < RATED_TEXTS:
        return
    counts = np.zeros((11, int(scan.labels.max()) + 1), dtype=np.int64)
    np.add.at(counts, (ratings[rows], scan.labels[rows]), 1)
    right, base = counts.max(axis=1).sum() / len(rows), counts.sum(axis=0).max() / len(rows)
    if right >= RATED_RIGHT and 1 - right <= (1 - base) / 2:
        yield Finding(
            "rating",
            "warning" if len(rows) >= COVERAGE * len(train) else "note",
            len(rows),
            f"{number(len(rows), 'text')} of train with a rating such as 8/10, which gives away the label of "
            f"{right:.0%} of them (the commonest label: {base:.0%})",
            "Remove ratings from the texts if the model is meant for texts without them.",
            tuple(_rated_example(train.texts[row], row) for row in rows[:EXAMPLES].tolist()),
        )


def _rated_example(text: str, row: int) -> Example:
    match = _RATING.search(text)
    return Example("train", row + 1, excerpt(text, start=match.start() if match else 0))


def _are_telling(labelled: NDArray[np.int64], texts: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether a token nearly decides for a label, for each of M pairs of a token and a label, bool [M].

    Args:
        labelled: [M], the number of texts with the token and the label.
        texts: [M], the number of texts with the token.
        shares: [M], the share of all texts that have the label.
    """
    bound = _lower_bound(labelled, texts)
    # The odds are compared as products, since those of a label that every text has are infinite.
    is_telling: NDArray[np.bool_] = (bound >= PURITY) & (bound * (1 - shares) >= ODDS * shares * (1 - bound))
    return is_telling


def _count_texts(split: Split, tokenizer: TextTokenizer) -> tuple[NDArray[np.int64], ...]:
    """Count the texts with each token, and those with each pair of a token and a label that occurs.

    Returns:
        The number of texts with each token, int64 [V], and for each of M pairs, sorted by label and token, the label, the
        token, and the number of texts, each int64 [M].
    """
    assert split.labels is not None
    size, row = tokenizer.input_size, 0
    total, tally = np.zeros(size, np.int64), Tally()
    for ids, lengths in tokenizer.encode_chunks(split.texts):
        pairs = np.unique(np.repeat(np.arange(len(lengths)), lengths) * size + ids)  # each token once per text
        tokens = pairs % size
        total += np.bincount(tokens, minlength=size)
        part = split.labels[row : row + len(lengths)]
        owners, labels = np.nonzero(part) if part.ndim == 2 else (np.arange(len(part)), part)
        # The tokens of each text that has a label, once per label.
        counts = np.bincount(pairs // size, minlength=len(lengths))
        starts = np.cumsum(counts) - counts
        repeats = counts[owners]
        places = np.arange(repeats.sum()) + np.repeat(starts[owners] - (np.cumsum(repeats) - repeats), repeats)
        tally.add(np.repeat(labels.astype(np.int64), repeats) * size + tokens[places])
        row += len(lengths)
    keys, labelled = tally.counts()
    return total, *np.divmod(keys, size), labelled


def _lower_bound(successes: NDArray[np.int64], trials: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the lower end of Wilson's interval of successes / trials; 0 where there were no trials."""
    count = np.maximum(trials, 1)
    share = successes / count
    spread = Z * np.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    bound: NDArray[np.float64] = (share + Z**2 / (2 * count) - spread) / (1 + Z**2 / count)
    return np.where(trials > 0, bound, 0.0)


def _first_with(texts: Sequence[str], tokens: list[int], tokenizer: TextTokenizer) -> tuple[Example, ...]:
    """Return the first text with each token, from that token on; a text with several of them is returned once."""
    first: dict[int, int] = {}
    row = 0
    for ids, lengths in tokenizer.encode_chunks(texts):
        owners = np.repeat(np.arange(len(lengths)), lengths)
        for token in set(tokens) - set(first):
            places = np.flatnonzero(ids == token)
            if len(places):
                first[token] = row + int(owners[places[0]])
        row += len(lengths)
        if len(first) == len(tokens):
            break
    words = tokenizer.words()
    token_of = {first[token]: token for token in reversed(tokens)}  # of several tokens in one text, the first
    return tuple(_example(texts[row], row, words[token]) for row, token in sorted(token_of.items()))


def _example(text: str, row: int, word: str) -> Example:
    return Example("train", row + 1, excerpt(text, start=max(0, text.lower().find(word))))
