"""The linear baseline: the figures of the encoder `linear` on the same splits, which take seconds."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch

from seqcls.config.settings import DataConfig, FitConfig
from seqcls.data.encoding import EncodedData, encode_splits
from seqcls.data.prepare import fit_preprocessor
from seqcls.data.sequences import Sequences
from seqcls.data.splits import Splits
from seqcls.evaluation.baseline import Baseline
from seqcls.evaluation.scores import choose_thresholds, score_logits
from seqcls.model.wide import WidePath
from seqcls.training.linear import fit_wide, logits_of

MAX_WORK = 400_000_000
"""With more n-grams in the training texts, times labels, the baseline is fitted on a sample, so that it takes seconds."""


def fit_baseline(splits: Splits) -> Baseline:
    """Fit the linear baseline, which is the encoder `linear`, and return its figures, which are deterministic.

    Where a text may have several labels, each has a threshold, the one that is best on validation, as for any encoder.

    Args:
        splits: Splits of texts with a validation split, such as `load_splits` returns.
    """
    config = DataConfig(wide=True)
    return fit_baseline_to(encode_splits(fit_preprocessor(splits, config), splits), FitConfig())


def fit_baseline_to(data: EncodedData, config: FitConfig, wide: WidePath | None = None) -> Baseline:
    """Fit the linear baseline to encoded splits.

    Args:
        data: The splits, with n-grams.
        config: The settings of the training.
        wide: The wide path of a network that was trained on the same data, which is the baseline already.
    """
    started = time.monotonic()
    vocabulary, sampled = data.preprocessor.ngrams, ""
    assert vocabulary is not None
    if wide is None:
        wide = WidePath(len(vocabulary), vocabulary.num_words, len(data.label_names))
        train, sampled = _sample(data.splits["train"], num_classes=len(data.label_names))
        fit_wide(wide, replace(data, splits={**data.splits, "train": train}), config)
    logits = {name: logits_of(wide, split) for name, split in data.splits.items() if name != "train"}
    labels = {name: torch.from_numpy(np.array(data.splits[name].labels)) for name in logits}
    thresholds = choose_thresholds(logits["validation"], labels["validation"]) if labels["validation"].ndim == 2 else None
    scores = {name: score_logits(logits[name], labels[name], thresholds) for name in logits}
    return Baseline(
        description="logistic regression on n-grams" + sampled,
        validation=scores["validation"],
        test=scores.get("test"),
        seconds=time.monotonic() - started,
        features=len(vocabulary),
    )


def _sample(train: Sequences, *, num_classes: int) -> tuple[Sequences, str]:
    """Return the training split, or a sample of it that takes seconds to fit, and an addition to the description."""
    assert train.ngrams is not None
    work = len(train.ngrams.values) * num_classes
    if work <= MAX_WORK:
        return train, ""
    count = max(1, int(len(train) * MAX_WORK / work))
    indices = np.sort(np.random.default_rng(0).choice(len(train), size=count, replace=False))
    return train.take(indices), f", fitted to a sample of {count:,} of {len(train):,} texts"
