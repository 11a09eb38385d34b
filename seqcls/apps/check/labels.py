"""How the labels of the training split are distributed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from seqcls.apps.check.findings import Finding, number
from seqcls.data.labels import listed
from seqcls.data.splits import Splits

FEW_EXAMPLES = 10
"""A label with fewer examples has few."""
IMBALANCE = 10
"""The imbalance is strong if the commonest label has this many times the examples of the rarest."""


def find_imbalance(splits: Splits) -> Iterator[Finding]:
    """Find labels with hardly any examples, and labels that are much more frequent than others."""
    labels = splits.train.labels
    assert labels is not None
    size = len(splits.label_names)
    counts = labels.sum(axis=0, dtype=np.int64) if splits.is_multi_label else np.bincount(labels, minlength=size)
    for kind, least, most, what, advice in (
        ("single-example", 0, 1, "at most one example", "Collect more examples, or leave the label out."),
        ("few-examples", 2, FEW_EXAMPLES - 1, f"fewer than {FEW_EXAMPLES} examples", "Collect more, or merge labels."),
    ):
        rare = np.flatnonzero((counts >= least) & (counts <= most))
        if len(rare):
            names = listed([f"{splits.label_names[index]} ({counts[index]})" for index in rare])
            yield Finding(kind, "warning", len(rare), f"{number(len(rare), 'label')} with {what} in train: {names}", advice)
    most, least = int(counts.argmax()), int(np.where(counts, counts, counts.max()).argmin())
    if counts[most] >= IMBALANCE * counts[least]:
        yield Finding(
            "imbalance",
            "warning",
            int(counts[least]),
            f"label {splits.label_names[most]} has {counts[most] / counts[least]:,.0f} times the examples of "
            f"{splits.label_names[least]} in train: {counts[most]:,} against {counts[least]:,}",
            f"Try --class-weights balanced, and do not judge by accuracy alone: {splits.label_names[most]} for every text "
            f"is right for {counts[most] / len(labels):.0%} of train.",
        )
