"""All checks of a data set, and those that need one pass over its texts only.

Texts are read in order, since they may be on disk; of each, only a hash, its length and its faults are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from seqcls.apps.check.findings import Finding
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


def check_data(splits: Splits, config: DataConfig | None = None) -> list[Finding]:
    """Check a data set and return all findings, warnings first.

    Args:
        splits: The data as they were loaded, before training holds out any validation data.
        config: The settings of the tokenizer, the vocabulary and the longest sequence.
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
    """Return what one pass over the texts finds, warnings first: no near duplicates, leaks or vocabulary."""
    return _ranked(_quick(splits, scan_splits(splits)))


def _quick(splits: Splits, scans: list[Scan]) -> Iterator[Finding]:
    yield from find_duplicates(scans)
    yield from find_conflicts(splits, scans)
    yield from find_faults(scans)
    yield from find_long(scans)
    yield from find_imbalance(splits)


def _encoded(splits: Splits, config: DataConfig) -> Iterator[Finding]:
    """Find what needs encoded texts: with the vocabulary that training would have, but without truncation."""
    try:
        divided = load_splits(config, splits)
    except DataError:  # too few texts to hold any out, which training reports itself
        divided = splits
    tokenizer = make_tokenizer(divided.train.texts, config.model_copy(update={"max_length": None}))
    measures = {name: measure(split, tokenizer) for name, split in splits.labelled().items()}
    yield from find_truncation(splits, measures, config)
    yield from find_unknown(splits, measures)
    if divided.validation is not None and splits.validation is None:
        # Its rows are not rows of the data, so that no examples can be given.
        held_out = {"held-out validation": measure(divided.validation, tokenizer)}
        yield from find_unknown(None, held_out)
    yield from find_leaks(splits, tokenizer)


def _ranked(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: finding.severity == "note")
