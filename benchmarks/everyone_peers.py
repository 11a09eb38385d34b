"""The peers of `benchmarks everyone`. Each needs its own package and NumPy alone.

python benchmarks/everyone_peers.py SYSTEM TRAIN TEST prints the test accuracy as JSON. TRAIN and TEST are .csv or .csv.gz
files with the columns text and label, or .ts files for minirocket.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

Texts = tuple[list[str], np.ndarray]
"""Texts, and their labels, [N] of strings."""
INVERSE_PENALTIES = (1, 10, 100)
DENSE_PENALTIES = (0.01, 0.1, *INVERSE_PENALTIES)  # means of vectors are longer than rows of TF-IDF, about 3
FOLDS = 5
EPOCHS = (5, 25, 100)


def read_texts(path: Path) -> Texts:
    """Return the texts and labels of a file."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], np.array([row["label"] for row in rows])


def tfidf(train: Path, test: Path) -> float:
    """Return the accuracy of logistic regression on TF-IDF of words and pairs of words."""
    return _on_tfidf(train, test, with_characters=False)


def tfidf_characters(train: Path, test: Path) -> float:
    """Return the same with n-grams of two to five characters within words beside them."""
    return _on_tfidf(train, test, with_characters=True)


def _on_tfidf(train: Path, test: Path, *, with_characters: bool) -> float:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union

    vectorizers = [TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)]
    if with_characters:
        vectorizers.append(TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True))
    features: Any = make_union(*vectorizers)
    (texts, labels), (test_texts, test_labels) = read_texts(train), read_texts(test)
    model = _logistic_regression(features.fit_transform(texts), labels)
    return float(model.score(features.transform(test_texts), test_labels))


def wordllama(train: Path, test: Path) -> float:
    """Return the accuracy of logistic regression on the means of WordLlama's vectors."""
    import wordllama as library

    # The package holds the tokenizer where it looks for downloaded ones, if its own folder is that of downloads.
    vectors = library.WordLlama.load(cache_dir=Path(library.__file__).parent, disable_download=True)
    (texts, labels), (test_texts, test_labels) = read_texts(train), read_texts(test)
    model = _logistic_regression(vectors.embed(texts), labels, DENSE_PENALTIES)
    return float(model.score(vectors.embed(test_texts), test_labels))


def _logistic_regression(features: Any, labels: np.ndarray, inverse_penalties: tuple[float, ...] = INVERSE_PENALTIES) -> Any:
    """Fit logistic regression, its penalty chosen by cross-validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    smallest_class = int(np.unique(labels, return_counts=True)[1].min())
    folds = StratifiedKFold(max(2, min(FOLDS, smallest_class)), shuffle=True, random_state=0)
    model = GridSearchCV(LogisticRegression(max_iter=1000), {"C": inverse_penalties}, cv=folds, scoring="accuracy")
    return model.fit(features, labels)


def fasttext(train: Path, test: Path) -> float:
    """Return the accuracy of fastText with pairs of words, its epochs chosen on a tenth of the training data."""
    (texts, labels), (test_texts, test_labels) = read_texts(train), read_texts(test)
    order = np.random.default_rng(0).permutation(len(texts))  # fastText reads the lines in their order
    lines = [_line(texts[index]) for index in order]
    held_out = max(1, len(lines) // 10)

    def accuracy(epochs: int) -> float:
        model = _fasttext_model(lines[held_out:], labels[order][held_out:], epochs)
        return _fasttext_accuracy(model, lines[:held_out], labels[order][:held_out])

    best = max(EPOCHS, key=lambda epochs: (accuracy(epochs), epochs))
    model = _fasttext_model(lines, labels[order], best)
    return _fasttext_accuracy(model, [_line(text) for text in test_texts], test_labels)


def _line(text: str) -> str:
    return " ".join(re.findall(r"\w+|[^\w\s]", text.lower()))


def _fasttext_model(lines: list[str], labels: np.ndarray, epochs: int) -> Any:
    import fasttext as library

    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "train.txt")
        path.write_text("".join(f"__label__{label} {line}\n" for label, line in zip(labels, lines, strict=True)), "utf-8")
        # The rate is that of the package's own tutorial; pairs of words as in Joulin et al. 2017, tab. 1.
        settings = {"lr": 0.5, "wordNgrams": 2, "thread": threads, "verbose": 0}
        return library.train_supervised(str(path), epoch=epochs, **settings)


def _fasttext_accuracy(model: Any, lines: list[str], labels: np.ndarray) -> float:
    predicted = [model.f.predict(f"{line}\n", 1, 0.0, "strict") for line in lines]
    names = np.array([found[0][1].removeprefix("__label__") if found else "" for found in predicted])
    return float((names == labels).mean())


def minirocket(train: Path, test: Path) -> float:
    """Return the accuracy of MiniRocket with ridge regression; shorter sequences are filled up with zeros."""
    from aeon.classification.convolution_based import MiniRocketClassifier
    from aeon.datasets import load_from_ts_file

    (sequences, labels), (test_sequences, test_labels) = load_from_ts_file(str(train)), load_from_ts_file(str(test))
    length = max(sequence.shape[1] for sequence in sequences)
    model = MiniRocketClassifier(random_state=0).fit(_padded(sequences, length), labels)
    return float((model.predict(_padded(test_sequences, length)) == test_labels).mean())


def _padded(sequences: Any, length: int) -> np.ndarray:
    """Return sequences, each [D, T], as one array, [N, D, length]."""
    padded = np.zeros((len(sequences), sequences[0].shape[0], length), dtype=np.float32)
    for row, sequence in zip(padded, sequences, strict=True):
        row[:, : sequence.shape[1]] = sequence[:, :length]
    return padded


def main() -> None:
    """Run one system."""
    system, train, test = sys.argv[1:]
    systems = {run.__name__: run for run in (tfidf, tfidf_characters, fasttext, wordllama, minirocket)}
    print(json.dumps({"test": {"accuracy": systems[system](Path(train), Path(test))}}))


if __name__ == "__main__":
    main()
