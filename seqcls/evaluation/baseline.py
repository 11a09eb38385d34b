"""The linear baseline: what a classifier that only counts words and pairs of words reaches on the same splits, in seconds.

It is NB-weighted logistic regression on 1- and 2-grams (Wang & Manning 2012, "Baselines and Bigrams", sec. 2), on whole
texts with all their words, whatever the encoder is given of them. scikit-learn (extra `report`) does the fitting.
"""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqcls.data.splits import Split, Splits
from seqcls.data.tokenizer import TextTokenizer
from seqcls.errors import MissingExtraError
from seqcls.evaluation.scores import Score, choose_thresholds, score_logits

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MOST_CHARACTERS = 100_000_000
"""Of more training text than this the baseline is trained on a sample: it is to take seconds, and moderate memory."""
MOST_WORK = 400_000_000
"""Likewise for characters times binary classifiers: there is one a class where there are more than two."""

_NUM_WORDS = 200_000
_SMOOTHING = 1.0
# Chosen on the validation split of IMDB, among 1-, 2- and 3-grams, TF-IDF, and support vector machines.
_INVERSE_PENALTY = 16.0
_LEAST_TEXTS = 2  # that an n-gram occurs in; all n-grams count where none does
_TINY = 1e-12


@dataclass(frozen=True)
class Baseline:
    """What the linear baseline came to.

    Attributes:
        description: The model, and the sample where it was trained on one.
        validation: Figures on the validation split.
        test: Figures on the test split, if there is one.
        seconds: Duration of training and evaluation.
        features: The number of 1- and 2-grams.
    """

    description: str
    validation: Score
    test: Score | None
    seconds: float
    features: int

    def beats(self, other: Score) -> bool:
        """Return whether it is better than another model on validation: in F1 where a text may have several labels."""
        if self.validation.f1 is not None and other.f1 is not None:
            return self.validation.f1 > other.f1
        return self.validation.accuracy > other.accuracy

    def as_dict(self) -> dict[str, Any]:
        """Return the result as `seqcls fit --json` prints it."""
        return {
            "description": self.description,
            "validation": self.validation.as_dict(),
            "test": None if self.test is None else self.test.as_dict(),
            "seconds": round(self.seconds, 3),
            "features": self.features,
        }


def fit_baseline(splits: Splits) -> Baseline:
    """Train the linear baseline, and return its figures; the same for the same splits.

    Where a text may have several labels there is one classifier a label, with the threshold that is best on validation, as
    for an encoder.

    Args:
        splits: With a validation split, as `load_splits` returns them.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    require_scikit_learn()
    assert splits.validation is not None
    started = time.monotonic()
    train, sampled = _sample(splits.train, fits=_count_fits(splits))
    model = _LinearModel(train, num_classes=len(splits.label_names))
    logits, labels = model.logits(splits.validation), _labels(splits.validation)
    thresholds = choose_thresholds(logits, labels) if splits.is_multi_label else None
    return Baseline(
        description="NB-weighted 1-2-grams, logistic regression" + sampled,
        validation=score_logits(logits, labels, thresholds),
        test=None if splits.test is None else score_logits(model.logits(splits.test), _labels(splits.test), thresholds),
        seconds=time.monotonic() - started,
        features=len(model.ngrams),
    )


def require_scikit_learn() -> None:
    """Raise MissingExtraError where scikit-learn is not installed."""
    try:
        import sklearn.linear_model  # noqa: F401
    except ImportError:
        raise MissingExtraError("scikit-learn", "report") from None


def _count_fits(splits: Splits) -> int:
    is_binary = len(splits.label_names) == 2 and not splits.is_multi_label
    return 1 if is_binary else len(splits.label_names)


def _labels(split: Split) -> Tensor:
    return torch.from_numpy(np.array(split.labels))


def _sample(train: Split, *, fits: int) -> tuple[Split, str]:
    """Return as much of the training split as is worth the time, and words for it; seeded, in the split's order."""
    head = list(islice(train.texts, 1000))
    characters = len(train) * sum(map(len, head)) / len(head)
    most = min(MOST_CHARACTERS, MOST_WORK // fits)
    if characters <= most:
        return train, ""
    count = max(1, int(len(train) * most / characters))
    chosen = np.sort(np.random.default_rng(0).choice(len(train), size=count, replace=False))
    return train.take(chosen), f", trained on a sample of {count:,} of {len(train):,} texts"


class _LinearModel:
    """Logistic regression on 1- and 2-grams, each weighted by how much more frequent it is in the class than elsewhere.

    A text is x [F], 1 at each n-gram in it. With r [F] the n-grams' log-count ratios (eq. 1 of the paper) the logit of a
    class is w · (x ∘ r) / |x ∘ r| + b. Of two classes only the second is fitted; the first one's logit is 0.

    Attributes:
        ngrams: int64 [F], sorted: of a word its id, of a pair (first id) * (size of the vocabulary) + (second id). No word
            has the id 0, so that no two are the same number.
    """

    def __init__(self, train: Split, *, num_classes: int) -> None:
        self._tokenizer = TextTokenizer.fit(train.texts, vocab_size=_NUM_WORDS)
        self._num_words = self._tokenizer.input_size
        values, offsets = self._tokenizer.encode_batch(train.texts)
        rows, ngrams = self._find(values, np.diff(offsets))
        self.ngrams, counts = np.unique(ngrams, return_counts=True)
        if counts.max() >= _LEAST_TEXTS:
            self.ngrams = self.ngrams[counts >= _LEAST_TEXTS]
        x = self._as_matrix(rows, ngrams, len(train))
        assert train.labels is not None
        self._is_binary = num_classes == 2 and train.labels.ndim == 1
        classes = _members(train.labels, num_classes)
        fitted = [_fit_class(x, members) for members in classes[int(self._is_binary) :]]
        ratios, weights, bias = (np.stack(arrays, axis=-1) for arrays in zip(*fitted, strict=True))
        self._weights, self._squares, self._bias = ratios * weights, ratios**2, bias  # [F, K], [F, K], [K]

    def logits(self, split: Split) -> Tensor:
        """Return the logits of N texts, float64 [N, C], with some thousand texts at a time in memory."""
        parts = [np.empty((0, len(self._bias)))]
        for values, lengths in self._tokenizer.encode_chunks(split.texts):
            x = self._as_matrix(*self._find(values, lengths), len(lengths))
            norms = np.sqrt(x @ self._squares)  # |x ∘ r|, as x is 0 or 1
            parts.append(x @ self._weights / np.maximum(norms, _TINY) + self._bias)
        return torch.from_numpy(np.pad(np.concatenate(parts), ((0, 0), (int(self._is_binary), 0))))

    def _find(self, values: NDArray[np.int32], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the n-grams of texts, each once a text: the texts' numbers, int64 [M], ascending, and the n-grams [M]."""
        ids, rows = values.astype(np.int64), np.repeat(np.arange(len(lengths)), lengths)
        is_pair = rows[1:] == rows[:-1]
        ngrams = np.concatenate([ids, (ids[:-1] * self._num_words + ids[1:])[is_pair]])
        rows = np.concatenate([rows, rows[1:][is_pair]])
        order = np.lexsort((ngrams, rows))
        rows, ngrams = rows[order], ngrams[order]
        is_first = np.append(True, (rows[1:] != rows[:-1]) | (ngrams[1:] != ngrams[:-1]))[: len(rows)]
        return rows[is_first], ngrams[is_first]

    def _as_matrix(self, rows: NDArray[np.int64], ngrams: NDArray[np.int64], num_texts: int) -> csr_matrix:
        """Return [num_texts, F], 1 where a text has an n-gram; others than ``self.ngrams`` are left out."""
        from scipy.sparse import csr_matrix

        columns = np.minimum(np.searchsorted(self.ngrams, ngrams), len(self.ngrams) - 1)
        is_known = self.ngrams[columns] == ngrams
        starts = np.append(0, np.cumsum(np.bincount(rows[is_known], minlength=num_texts)))
        ones = np.ones(int(starts[-1]))
        return csr_matrix((ones, columns[is_known], starts), shape=(num_texts, len(self.ngrams)))


def _members(labels: NDArray[Any], num_classes: int) -> NDArray[np.bool_]:
    """Return which texts have which label: bool [C, N]."""
    members: NDArray[np.bool_] = labels.T == 1 if labels.ndim == 2 else np.arange(num_classes)[:, None] == labels
    return members


def _fit_class(x: csr_matrix, members: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Fit one class against all others: log-count ratios [F], weights [F], bias."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import normalize

    ratios = _log_shares(x, members) - _log_shares(x, ~members)
    if members.all() or not members.any():
        # There is nothing to tell apart; the odds are those of one more text of the other kind.
        return ratios, np.zeros_like(ratios), math.copysign(math.log(len(members) + 1), 1 if members.all() else -1)
    weighted = x.copy()
    weighted.data *= ratios[x.indices]
    model = LogisticRegression(C=_INVERSE_PENALTY, solver="liblinear", dual=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits are of no interest here
        model.fit(normalize(weighted, copy=False), members)
    return ratios, model.coef_[0], float(model.intercept_[0])


def _log_shares(x: csr_matrix, members: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the logarithm of each n-gram's share in the n-grams of some texts, smoothed: float64 [F]."""
    counts = members.astype(np.float64) @ x + _SMOOTHING
    shares: NDArray[np.float64] = np.log(counts / counts.sum())
    return shares
