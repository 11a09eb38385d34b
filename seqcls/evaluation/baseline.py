"""The linear baseline: the accuracy that takes seconds to reach with the words and pairs of words in a text alone.

The model is NB-weighted logistic regression on 1- and 2-grams (Wang & Manning 2012, "Baselines and Bigrams", sec. 2). It
reads full texts with all their words, even if the encoder does not. scikit-learn (extra `report`) fits it.
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

MAX_CHARACTERS = 100_000_000
"""With more training text than this, the baseline is fitted on a sample, so that it takes seconds and moderate memory."""
MAX_WORK = 400_000_000
"""The same limit for characters times binary classifiers; with more than two classes, there is one classifier per class."""

_NUM_WORDS = 200_000
_SMOOTHING = 1.0
# Chosen on the validation split of IMDB; 3-grams, TF-IDF and support vector machines were tried too.
_INVERSE_PENALTY = 16.0
_MIN_TEXTS = 2  # in which an n-gram must occur, unless none does
_TINY = 1e-12


@dataclass(frozen=True)
class Baseline:
    """The figures of the linear baseline.

    Attributes:
        description: The model, and the size of the sample if it was fitted on one.
        validation: The score on the validation split.
        test: The score on the test split; None if there is none.
        seconds: The duration of fitting and evaluation.
        features: The number of 1- and 2-grams.
    """

    description: str
    validation: Score
    test: Score | None
    seconds: float
    features: int

    def beats(self, score: Score) -> bool:
        """Return whether the baseline beats another model's validation score: in F1 where texts may have several labels."""
        if self.validation.f1 is not None and score.f1 is not None:
            return self.validation.f1 > score.f1
        return self.validation.accuracy > score.accuracy

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
    """Fit the linear baseline and return its figures, which are deterministic.

    Where a text may have several labels, there is one classifier per label. Its threshold is the one that is best on
    validation, as for an encoder.

    Args:
        splits: Splits with a validation split, such as `load_splits` returns.

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
    """Raise MissingExtraError unless scikit-learn is installed."""
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
    """Return the training split, or a sample of it that takes seconds to fit, and an addition to the description."""
    head = list(islice(train.texts, 1000))
    characters = len(train) * sum(map(len, head)) / len(head)
    limit = min(MAX_CHARACTERS, MAX_WORK // fits)
    if characters <= limit:
        return train, ""
    count = max(1, int(len(train) * limit / characters))
    indices = np.sort(np.random.default_rng(0).choice(len(train), size=count, replace=False))
    return train.take(indices), f", trained on a sample of {count:,} of {len(train):,} texts"


class _LinearModel:
    """Logistic regression on 1- and 2-grams, each weighted by how much more frequent it is in the class than elsewhere.

    A text is x [F], which is 1 at each n-gram that it contains. With the log-count ratios r [F] of the n-grams (eq. 1 of the
    paper), the logit of a class is w · (x ∘ r) / |x ∘ r| + b. With two classes, only the second is fitted, and the logit of
    the first is 0.

    Attributes:
        ngrams: int64 [F], sorted. A word is its id, and a pair is (first id) * (vocabulary size) + (second id). All are
            different, since no word has the id 0.
    """

    def __init__(self, train: Split, *, num_classes: int) -> None:
        self._tokenizer = TextTokenizer.fit(train.texts, vocab_size=_NUM_WORDS)
        self._num_words = self._tokenizer.input_size
        values, offsets = self._tokenizer.encode_batch(train.texts)
        rows, ngrams = self._ngrams(values, np.diff(offsets))
        self.ngrams, counts = np.unique(ngrams, return_counts=True)
        if counts.max() >= _MIN_TEXTS:
            self.ngrams = self.ngrams[counts >= _MIN_TEXTS]
        x = self._as_matrix(rows, ngrams, len(train))
        assert train.labels is not None
        self._is_binary = num_classes == 2 and train.labels.ndim == 1
        classes = _members(train.labels, num_classes)
        classifiers = [_fit_class(x, members) for members in classes[int(self._is_binary) :]]
        ratios, weights, bias = (np.stack(arrays, axis=-1) for arrays in zip(*classifiers, strict=True))
        self._weights, self._squares, self._bias = ratios * weights, ratios**2, bias  # [F, K], [F, K], [K]

    def logits(self, split: Split) -> Tensor:
        """Return the logits of N texts, float64 [N, C], with a few thousand texts in memory at a time."""
        parts = [np.empty((0, len(self._bias)))]
        for values, lengths in self._tokenizer.encode_chunks(split.texts):
            x = self._as_matrix(*self._ngrams(values, lengths), len(lengths))
            norms = np.sqrt(x @ self._squares)  # |x ∘ r|, as x is 0 or 1
            parts.append(x @ self._weights / np.maximum(norms, _TINY) + self._bias)
        return torch.from_numpy(np.pad(np.concatenate(parts), ((0, 0), (int(self._is_binary), 0))))

    def _ngrams(self, values: NDArray[np.int32], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the distinct n-grams of each text: the indices of the texts, int64 [M], ascending, and the n-grams [M]."""
        ids, rows = values.astype(np.int64), np.repeat(np.arange(len(lengths)), lengths)
        is_pair = rows[1:] == rows[:-1]
        ngrams = np.concatenate([ids, (ids[:-1] * self._num_words + ids[1:])[is_pair]])
        rows = np.concatenate([rows, rows[1:][is_pair]])
        order = np.lexsort((ngrams, rows))
        rows, ngrams = rows[order], ngrams[order]
        is_first = np.append(True, (rows[1:] != rows[:-1]) | (ngrams[1:] != ngrams[:-1]))[: len(rows)]
        return rows[is_first], ngrams[is_first]

    def _as_matrix(self, rows: NDArray[np.int64], ngrams: NDArray[np.int64], num_texts: int) -> csr_matrix:
        """Return a matrix [num_texts, F] that is 1 where a text contains one of ``self.ngrams``."""
        from scipy.sparse import csr_matrix

        columns = np.minimum(np.searchsorted(self.ngrams, ngrams), len(self.ngrams) - 1)
        is_known = self.ngrams[columns] == ngrams
        starts = np.append(0, np.cumsum(np.bincount(rows[is_known], minlength=num_texts)))
        ones = np.ones(int(starts[-1]))
        return csr_matrix((ones, columns[is_known], starts), shape=(num_texts, len(self.ngrams)))


def _members(labels: NDArray[Any], num_classes: int) -> NDArray[np.bool_]:
    """Return whether each label belongs to each text, bool [C, N]."""
    members: NDArray[np.bool_] = labels.T == 1 if labels.ndim == 2 else np.arange(num_classes)[:, None] == labels
    return members


def _fit_class(x: csr_matrix, members: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Fit one class against all others; return log-count ratios [F], weights [F], and the bias."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import normalize

    ratios = _log_shares(x, members) - _log_shares(x, ~members)
    if members.all() or not members.any():
        # There is nothing to distinguish; the odds are those with one more text of the other kind.
        return ratios, np.zeros_like(ratios), math.copysign(math.log(len(members) + 1), 1 if members.all() else -1)
    weighted = x.copy()
    weighted.data *= ratios[x.indices]
    model = LogisticRegression(C=_INVERSE_PENALTY, solver="liblinear", dual=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits do not matter here
        model.fit(normalize(weighted, copy=False), members)
    return ratios, model.coef_[0], float(model.intercept_[0])


def _log_shares(x: csr_matrix, members: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the logarithm of each n-gram's smoothed share of all n-grams of the member texts, float64 [F]."""
    counts = members.astype(np.float64) @ x + _SMOOTHING
    shares: NDArray[np.float64] = np.log(counts / counts.sum())
    return shares
