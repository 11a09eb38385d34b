"""One pass over the texts of each split: what is kept of them, and how examples are shown."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from seqcls.apps.check.faults import FAULTS
from seqcls.apps.check.findings import EXAMPLES, Example, excerpt
from seqcls.data.splits import Split, Splits


@dataclass(frozen=True, eq=False)
class Scan:
    """What is kept of a split's N texts.

    Attributes:
        labels: int64 [N], equal for two texts, of any splits, that have the same label or labels.
        hashes: uint64 [N], equal for equal texts.
        lengths: int64 [N], in characters.
        faults: uint8 [N], bit i is set for the i-th of `FAULTS`.
    """

    name: str
    split: Split
    labels: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    lengths: NDArray[np.int64]
    faults: NDArray[np.uint8]

    @classmethod
    def of(cls, name: str, split: Split, labels: NDArray[np.int64]) -> Scan:
        """Read the texts once, in order."""
        digests, lengths, faults = bytearray(), np.zeros(len(split), np.int64), np.zeros(len(split), np.uint8)
        for row, text in enumerate(split.texts):
            digests += hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            lengths[row] = len(text)
            faults[row] = sum(1 << bit for bit, fault in enumerate(FAULTS) if fault.find(text) is not None)
        return cls(name, split, labels, np.frombuffer(bytes(digests), dtype=np.uint64), lengths, faults)

    def example(self, row: int, *, start: int = 0, label: str = "") -> Example:
        """Return the text at ``row``, from about the character ``start`` on."""
        return Example(self.name, row + 1, label + excerpt(self.split.texts[row], start=start))


def scan_splits(splits: Splits) -> list[Scan]:
    """Scan the labelled splits, train first."""
    labelled = splits.labelled()
    labels = np.concatenate([split.labels for split in labelled.values() if split.labels is not None])
    numbers = np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    parts = np.split(numbers, np.cumsum([len(split) for split in labelled.values()])[:-1])
    return [Scan.of(name, split, part) for (name, split), part in zip(labelled.items(), parts, strict=True)]


def pair_examples(later: Scan, rows: Iterable[int], earlier: Scan, others: Iterable[int]) -> tuple[Example, ...]:
    """Return the first of ``rows`` as examples, each after its counterpart in ``others``, from where the two differ."""
    examples = []
    for row, other in islice(zip(rows, others, strict=True), EXAMPLES):
        start = _first_difference(later.split.texts[row], earlier.split.texts[other])
        examples += [earlier.example(other, start=start), later.example(row, start=start)]
    return tuple(examples)


def _first_difference(text: str, other: str) -> int:
    """Return the position from which two texts differ; 0 if they are equal."""
    if text == other:
        return 0
    differences = (position for position, (a, b) in enumerate(zip(text, other, strict=False)) if a != b)
    return next(differences, min(len(text), len(other)))


def first_rows(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return, for each text, the row of the first text that is equal to it: int64 [N]."""
    _, first, groups = np.unique(hashes, return_index=True, return_inverse=True)
    rows: NDArray[np.int64] = first[groups.reshape(-1)]
    return rows


def split_rows(scans: Sequence[Scan], flags: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Divide flags of all texts, in the order of the scans, into those of each scan."""
    return np.split(flags, np.cumsum([len(scan.hashes) for scan in scans])[:-1])
