"""What the model answers on a split, and its worst mistakes with their explanations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqcls.apps.report.figures import worst, wrongness
from seqcls.data.encoding import parse_preprocessor
from seqcls.data.rules import UNK_ID
from seqcls.data.splits import Split, Splits
from seqcls.evaluation.predictions import Predictions
from seqcls.inference.classifier import Classifier
from seqcls.inference.explanation import Explanation, strongest
from seqcls.storage.rebuild import SavedModel

MAX_EXAMPLES = 50_000
"""Of a larger split, the model is asked about a sample: a report should take seconds."""
MAX_LOGITS = 200_000_000
"""The same limit for examples times labels, which takes 0.8 GB of memory."""
NUM_MISTAKES = 10
"""The number of mistakes that a report shows."""

_WORDS_PER_MISTAKE = 6


@dataclass(frozen=True)
class Mistake:
    """An example that the model got wrong.

    Attributes:
        number: The position of the example in the split, from 1.
        true: The names of its labels.
        predicted: The names of the labels that the model gave it.
        explanation: Why the model gave the label. Where an example may have several, the one that is explained is the label
            that the model got most wrong.
        words: The tokens that contribute most to the label, each with its contribution to the log-odds.
    """

    number: int
    true: tuple[str, ...]
    predicted: tuple[str, ...]
    explanation: Explanation
    words: Sequence[tuple[str, float]]


@dataclass(frozen=True, eq=False)
class Answers:
    """The model's predictions for a split.

    Attributes:
        split: The name of the split.
        total: The number of its examples; ``predictions`` may be those of a sample.
        predictions: The predictions for N examples.
        lengths: int64 [N], the number of tokens in each text before it is cut, or the number of steps.
        unknown_rates: float64 [N], the share of tokens in each text that the vocabulary lacks; None for numbers.
        mistakes: The worst mistakes.
    """

    split: str
    total: int
    predictions: Predictions
    lengths: NDArray[np.int64]
    unknown_rates: NDArray[np.float64] | None
    mistakes: Sequence[Mistake]


def ask(classifier: Classifier, saved: SavedModel, splits: Splits, name: str, *, is_own_data: bool) -> Answers:
    """Let the model predict a split, or a sample of it.

    Args:
        classifier: The model.
        saved: The directory that it was loaded from.
        splits: The splits.
        name: The name of the split.
        is_own_data: Whether the splits are those of the run, which are in the cache, encoded.

    Raises:
        DataError: The split has a label that the model does not know.
    """
    split = splits.labelled()[name]
    total = len(split)
    indices = np.arange(total)
    most = min(MAX_EXAMPLES, max(1, MAX_LOGITS // len(splits.label_names)))
    if total > most:
        indices = np.sort(np.random.default_rng(0).choice(total, size=most, replace=False))
        split = split.take(indices)
        sample: dict[str, Any] = {name: split}
        splits, is_own_data = replace(splits, **sample), False
    predictions = classifier.predictions(None if is_own_data else splits, split=name)
    lengths, unknown_rates = _measure(saved, split)
    mistakes = [
        _mistake(classifier, predictions, split, row, number=int(indices[row]) + 1)
        for row in worst(predictions, NUM_MISTAKES).tolist()
    ]
    return Answers(name, total, predictions, lengths, unknown_rates, mistakes)


def _measure(saved: SavedModel, split: Split) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """Return the lengths of the full sequences, int64 [N], and for texts the shares of unknown tokens, float64 [N]."""
    if saved.preprocessor.kind == "features":
        return np.fromiter(map(len, split.sequences), dtype=np.int64, count=len(split)), None
    content, path = saved.preprocessor.to_json().encode(), saved.path / "tokenizer.json"
    uncut = parse_preprocessor(content, path, max_length=None, truncating="middle")
    values, offsets = uncut.encode_batch(split.texts)
    unknown = np.add.reduceat((values == UNK_ID).astype(np.int64), offsets[:-1])
    return np.diff(offsets), unknown / np.diff(offsets)


def _mistake(classifier: Classifier, predictions: Predictions, split: Split, row: int, *, number: int) -> Mistake:
    true, predicted = predictions.names_of(row)
    most_wrong = int(wrongness(predictions, slice(row, row + 1)).argmax())
    label = predictions.label_names[most_wrong] if classifier.is_multi_label else predicted[0]
    explanation = classifier.explain(split.sequences[row], label=label)
    return Mistake(number, true, predicted, explanation, strongest(explanation, _WORDS_PER_MISTAKE))
