"""Texts that occur more than once: exactly, nearly, or with another label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from seqcls.apps.check.findings import EXAMPLES, Finding, Severity, number
from seqcls.apps.check.minhash import Signatures, find_copies
from seqcls.apps.check.scan import Scan, first_rows, pair_examples, split_rows
from seqcls.data.splits import Splits

REPEATED = 0.01
"""The share of repeated texts in a split above which they are a warning."""


def find_duplicates(scans: Sequence[Scan]) -> Iterator[Finding]:
    """Find texts that occur more than once in a split, or in two splits."""
    for scan in scans:
        first = first_rows(scan.hashes)
        (rows,) = np.nonzero(first != np.arange(len(first)))
        if len(rows):
            yield _repeats(scan, rows, scan, first[rows], is_exact=True)
    for earlier, later in combinations(scans, 2):
        rows, others = _shared(later.hashes, earlier.hashes)
        if len(rows):
            yield _repeats(later, rows, earlier, others, is_exact=True)


def find_near_duplicates(scans: Sequence[Scan]) -> Iterator[Finding]:
    """Find near duplicates among the texts that are not exact copies of an earlier one, in their split or another."""
    first = first_rows(np.concatenate([scan.hashes for scan in scans]))
    is_new = split_rows(scans, first == np.arange(len(first)))
    signatures = [Signatures.of(scan.split.texts, chosen) for scan, chosen in zip(scans, is_new, strict=True)]
    for number_later, later in enumerate(scans):
        for number_earlier, earlier in enumerate(scans[: number_later + 1]):
            pairs = np.array(find_copies(signatures[number_later], signatures[number_earlier]), dtype=np.int64).reshape(
                -1, 2
            )
            if len(pairs):
                yield _repeats(later, pairs[:, 0], earlier, pairs[:, 1], is_exact=False)


def find_conflicts(splits: Splits, scans: Sequence[Scan]) -> Iterator[Finding]:
    """Find texts that occur with different labels, within a split or in several."""
    first = first_rows(np.concatenate([scan.hashes for scan in scans]))
    labels = np.concatenate([scan.labels for scan in scans])
    (rows,) = np.nonzero(labels != labels[first])
    if not len(rows):
        return
    _, places = np.unique(first[rows], return_index=True)  # one per text, however often it is repeated
    owners = [(scan, row) for scan, row in _owners(scans, np.stack([first[rows[places]], rows[places]], axis=1)[:EXAMPLES])]
    yield Finding(
        "conflicting-labels",
        "warning",
        len(places),
        f"{number(len(places), 'text')} with different labels in different places",
        "Decide on one label, or remove them: nothing can be learnt from a text that is labelled both ways.",
        tuple(scan.example(row, label=f"[{_label_of(splits, scan, row)}] ") for scan, row in owners),
    )


def _repeats(later: Scan, rows: NDArray[np.int64], earlier: Scan, others: NDArray[np.int64], *, is_exact: bool) -> Finding:
    within, near = later is earlier, "" if is_exact else "near-"
    severity: Severity = "note" if within and len(rows) < REPEATED * len(later.hashes) else "warning"
    relabelled = int(np.sum(later.labels[rows] != earlier.labels[others]))
    are = f"{'is' if len(rows) == 1 else 'are'}{'' if is_exact else ' nearly'}"
    place = f"{'an earlier' if within else 'a'} text in {earlier.name}"
    return Finding(
        f"{near}{'duplicates' if within else 'overlap'}",
        severity,
        len(rows),
        f"{number(len(rows), 'text')} in {later.name} {are} the same as {place} ({relabelled:,} with another label)",
        _advice(later, earlier, relabelled=2 * relabelled > len(rows)),
        pair_examples(later, rows.tolist(), earlier, others.tolist()),
    )


def _advice(later: Scan, earlier: Scan, *, relabelled: bool) -> str:
    if relabelled:
        return "Look at the labels first: most differ. Either they are wrong, or small differences between texts matter."
    if later is earlier:
        return (
            "Keep one of each, or give copies one group: otherwise validation data held out of them has copies in training."
        )
    return f"Remove them from {earlier.name}: a score on {later.name} should come from texts that are new to the model."


def _shared(hashes: NDArray[np.uint64], others: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the texts that are also among the ``others``, and the first row of each there."""
    known, first = np.unique(others, return_index=True)
    if not len(known):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    place = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    (rows,) = np.nonzero(known[place] == hashes)
    return rows, first[place[rows]]


def _owners(scans: Sequence[Scan], rows: NDArray[np.int64]) -> Iterator[tuple[Scan, int]]:
    """Yield the scan, and the row in it, of each row that is counted through all scans."""
    starts = np.cumsum([0, *(len(scan.hashes) for scan in scans)])
    for row in rows.ravel().tolist():
        index = int(np.searchsorted(starts, row, side="right")) - 1
        yield scans[index], row - int(starts[index])


def _label_of(splits: Splits, scan: Scan, row: int) -> str:
    label = scan.split[row][1]
    indices = (label,) if isinstance(label, int) else label or ()
    return " ".join(splits.label_names[index] for index in indices) or "none"
