"""Single texts with something wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from seqcls.apps.check.faults import FAULTS
from seqcls.apps.check.findings import EXAMPLES, Finding, by_split, number
from seqcls.apps.check.scan import Scan

LONG_TIMES, LONG_CHARACTERS = 20, 5_000
"""A text is too long if it has more than 20 times the median number of characters, and more than 5,000."""


def find_faults(scans: Sequence[Scan]) -> Iterator[Finding]:
    """Find texts without words, damaged texts, and markup."""
    for bit, fault in enumerate(FAULTS):
        counts, flagged = _flagged(scans, [scan.faults >> bit & 1 for scan in scans])
        if flagged:
            count = sum(counts.values())
            yield Finding(
                fault.kind,
                fault.severity,
                count,
                f"{number(count, 'text')} with {fault.what} ({by_split(counts)})",
                fault.advice,
                tuple(scan.example(row, start=fault.find(scan.split.texts[row]) or 0) for scan, row in flagged),
            )


def find_long(scans: Sequence[Scan]) -> Iterator[Finding]:
    """Find texts that are so much longer than the others that each may be several."""
    lengths = np.concatenate([scan.lengths for scan in scans])
    median = float(np.median(lengths))
    limit = max(LONG_TIMES * median, LONG_CHARACTERS)
    counts, flagged = _flagged(scans, [scan.lengths > limit for scan in scans])
    if flagged:
        count = sum(counts.values())
        yield Finding(
            "long",
            "warning",
            count,
            f"{number(count, 'text')} with more than {limit:,.0f} characters, up to {lengths.max():,}; the median is "
            f"{median:,.0f} ({by_split(counts)})",
            "Check that each is one text: an open quote in a CSV file swallows the rows after it.",
            tuple(scan.example(row) for scan, row in flagged),
        )


def _flagged(scans: Sequence[Scan], flags: Sequence[np.ndarray]) -> tuple[dict[str, int], list[tuple[Scan, int]]]:
    """Return the number of texts whose flag is set, by split, and the first of these texts."""
    rows = {scan.name: np.flatnonzero(flag) for scan, flag in zip(scans, flags, strict=True)}
    flagged = ((scan, int(row)) for scan in scans for row in rows[scan.name])
    return {name: len(numbers) for name, numbers in rows.items()}, list(islice(flagged, EXAMPLES))
