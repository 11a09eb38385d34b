"""What is wrong with a data set: repeats, conflicting labels, leaks, damage, imbalance. cli/ prints it.

Texts are read in order, as they may lie on the disk; what is kept of each is a hash, a length and what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from seqcls.apps.check.findings import Example, Finding, Severity
from seqcls.apps.check.labels import find_imbalance
from seqcls.apps.check.leaks import find_leaks, find_ratings
from seqcls.apps.check.repeats import find_conflicts, find_duplicates, find_near_duplicates
from seqcls.apps.check.scan import Scan, scan_splits
from seqcls.apps.check.texts import find_faults, find_long
from seqcls.apps.check.vocabulary import find_truncation, find_unknown, measure
from seqcls.config.settings import DataConfig
from seqcls.data.prepare import load_splits, make_tokenizer
from seqcls.data.splits import Splits
from seqcls.errors import DataError
from seqcls.training.callbacks.base import Callback

__all__ = ["DataReport", "Example", "Finding", "Severity", "check", "quick_findings"]


def check(splits: Splits, config: DataConfig | None = None) -> list[Finding]:
    """Return all findings, warnings first.

    Args:
        splits: The data as it was loaded: without the validation data that training would hold out.
        config: The settings of tokenizer, vocabulary and longest sequence.
    """
    scans = scan_splits(splits)
    return _ranked(
        [
            *_quick(splits, scans),
            *find_near_duplicates(scans),
            *find_ratings(splits.train, scans[0]),
            *_encoded(splits, config or DataConfig()),
        ]
    )


def quick_findings(splits: Splits) -> list[Finding]:
    """Return what one pass over the texts finds, warnings first: no near duplicates, no leaks, nothing of a vocabulary."""
    return _ranked(_quick(splits, scan_splits(splits)))


class DataReport(Callback):
    """Says, a line each, what `quick_findings` finds in data that had to be read.

    Args:
        say: Called with each line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def on_data(self, splits: Splits) -> None:
        """Say the findings, and where more is to be had."""
        findings = quick_findings(splits) if splits.train.kind == "text" else []
        for finding in findings:
            self._say(f"{finding.severity}: {finding.message}")
        if findings:
            self._say("`seqcls check` shows the rows and what to do, and looks further.")


def _quick(splits: Splits, scans: list[Scan]) -> Iterator[Finding]:
    yield from find_duplicates(scans)
    yield from find_conflicts(splits, scans)
    yield from find_faults(scans)
    yield from find_long(scans)
    yield from find_imbalance(splits)


def _encoded(splits: Splits, config: DataConfig) -> Iterator[Finding]:
    """Encode with the vocabulary that training would have, but whole texts."""
    try:
        divided = load_splits(config, splits)
    except DataError:  # too few texts to hold any out; training says so itself
        divided = splits
    tokenizer = make_tokenizer(divided.train.texts, config.model_copy(update={"max_length": None}))
    measures = {name: measure(split, tokenizer) for name, split in splits.labelled().items()}
    yield from find_truncation(splits, measures, config)
    yield from find_unknown(splits, measures)
    if divided.validation is not None and splits.validation is None:
        # Its rows are no rows of the data, so that no examples are given.
        held_out = {"held-out validation": measure(divided.validation, tokenizer)}
        yield from find_unknown(None, held_out)
    yield from find_leaks(splits, tokenizer)


def _ranked(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: finding.severity == "note")
