"""The peers' way from the IMDB archive to a saved model. Each needs its own package and NumPy alone.

python benchmarks/accuracy_peers.py SYSTEM ARCHIVE FOLDER STARTED DEVICE prints a JSON object a model; `benchmarks accuracy`
calls it. STARTED is the time at which the process was started, in seconds since 1970. DEVICE is for plain_pytorch; the
others run on the CPU.
"""

from __future__ import annotations

import collections
import json
import random
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

MAX_WORDS, LENGTH = 10_000, 200
FILTERS = str.maketrans(dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', " "))
EPOCHS = 3
Split = tuple[list[str], np.ndarray]


class Report:
    """Prints the models of a system, with the time spent on all but testing."""

    def __init__(self, started: float) -> None:
        self.started, self.best = started, float("inf")

    def model(self, validation_loss: float, save: Callable[[], object], test: Callable[[], float]) -> None:
        """Save the model if it is the best so far, note the time, and test it, which does not count."""
        is_best = validation_loss < self.best
        if is_best:
            self.best = validation_loss
            save()
        seconds = time.time() - self.started
        accuracy = test()
        self.started = time.time() - seconds
        row = {"seconds": seconds, "validation_loss": validation_loss, "test": accuracy, "is_best": is_best}
        print(json.dumps(row), flush=True)


def read(archive: Path) -> tuple[Split, Split]:
    """Return the texts and labels of training and test, each shuffled."""
    found: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts
            if len(parts) == 4 and parts[2] in ("pos", "neg"):
                file = tar.extractfile(member)
                assert file is not None
                text = file.read().decode("utf-8").replace("<br />", " ").lower()
                found[parts[1]].append((text, int(parts[2] == "pos")))
    rng, splits = random.Random(113), []
    for pairs in found.values():
        rng.shuffle(pairs)
        splits.append(([text for text, _ in pairs], np.array([label for _, label in pairs])))
    return splits[0], splits[1]


def padded(train: list[str], test: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return token ids [N, LENGTH] as the tutorial's loader gives them: 0 padding, 1 start, 2 unknown, 4 on words."""
    words = [[text.translate(FILTERS).split() for text in texts] for texts in (train, test)]
    counts = collections.Counter(word for text in words[0] for word in text)
    index = {word: number + 4 for number, (word, _) in enumerate(counts.most_common(MAX_WORDS - 4))}
    arrays = []
    for texts in words:
        ids = np.zeros((len(texts), LENGTH), dtype=np.int64)
        for row, text in enumerate(texts):
            encoded = ([1] + [index.get(word, 2) for word in text])[:LENGTH]
            ids[row, : len(encoded)] = encoded
        arrays.append(ids)
    return arrays[0], arrays[1]


def plain_pytorch(train: Split, test: Split, folder: Path, report: Report, device: str = "cpu") -> None:
    """The tutorial's network and loop: 80/20 in order, batches of 64, Adam, the best validation loss kept."""
    import torch
    import torch.nn.functional as F
    from plain_pytorch import PlainBiLSTM
    from safetensors.torch import save_file
    from torch.utils import data

    ids, test_ids = map(torch.from_numpy, padded(train[0], test[0]))
    labels, test_labels = map(torch.from_numpy, (train[1], test[1]))
    torch.manual_seed(0)
    count = int(0.8 * len(ids))
    batches = data.DataLoader(data.TensorDataset(ids[:count], labels[:count]), batch_size=64, shuffle=True)
    model = PlainBiLSTM(MAX_WORDS).to(device)
    optimizer = torch.optim.Adam(model.parameters())

    def score(inputs: torch.Tensor, wanted: torch.Tensor) -> tuple[float, float]:
        model.eval()
        with torch.no_grad():
            parts = [model(inputs[start : start + 200].to(device)) for start in range(0, len(inputs), 200)]
        logits = torch.cat(parts).cpu()
        return F.cross_entropy(logits, wanted).item(), (logits.argmax(dim=1) == wanted).float().mean().item()

    for _ in range(EPOCHS):
        model.train()
        for inputs, wanted in batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs.to(device)), wanted.to(device))
            loss.backward()
            optimizer.step()
            loss.item()
        loss_now, _ = score(ids[count:], labels[count:])
        report.model(
            loss_now,
            lambda: save_file(model.state_dict(), folder / "model.safetensors"),
            lambda: score(test_ids, test_labels)[1],
        )


def keras_tensorflow(train: Split, test: Split, folder: Path, report: Report) -> None:
    """The same in Keras."""
    from keras_tensorflow import build

    ids, test_ids = padded(train[0], test[0])
    count = int(0.8 * len(ids))
    model = build(MAX_WORDS)
    for _ in range(EPOCHS):
        model.fit(ids[:count], train[1][:count], batch_size=64, verbose=0)
        loss, _ = model.evaluate(ids[count:], train[1][count:], batch_size=200, verbose=0)
        report.model(
            loss,
            lambda: model.save(folder / "model.keras"),
            lambda: model.evaluate(test_ids, test[1], batch_size=200, verbose=0)[1],
        )


def fasttext(train: Split, test: Split, folder: Path, report: Report) -> None:
    """The package of that name, with bigrams, on both cores."""
    import fasttext as library

    lines = [[" ".join(text.translate(FILTERS).split()) for text in texts] for texts, _ in (train, test)]
    with (folder / "train.txt").open("w") as file:
        file.writelines(f"__label__{label} {line}\n" for line, label in zip(lines[0], train[1], strict=True))
    # The rate and the epochs are those of the package's own tutorial on sentences; bigrams as in Joulin et al. 2017, tab. 1.
    model = library.train_supervised(str(folder / "train.txt"), lr=0.5, epoch=5, wordNgrams=2, dim=10, thread=2, verbose=0)

    def accuracy() -> float:
        predicted = [model.f.predict(f"{line}\n", 1, 0.0, "strict")[0][1] for line in lines[1]]
        return float(np.mean([int(label[-1]) == wanted for label, wanted in zip(predicted, test[1], strict=True)]))

    report.model(0.0, lambda: model.save_model(str(folder / "model.bin")), accuracy)


def tfidf_logistic_regression(train: Split, test: Split, folder: Path, report: Report) -> None:
    """scikit-learn: TF-IDF of 1- and 2-grams and logistic regression, its settings fixed beforehand, not tuned."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    model: Any = LogisticRegression(C=30, solver="liblinear")
    model.fit(vectorizer.fit_transform(train[0]), train[1])
    report.model(
        0.0,
        lambda: np.savez(
            folder / "model.npz", coef=model.coef_, bias=model.intercept_, words=sorted(vectorizer.vocabulary_)
        ),
        lambda: float(model.score(vectorizer.transform(test[0]), test[1])),
    )


def main() -> None:
    """Run one system."""
    system, archive, folder, started, device = sys.argv[1:]
    report = Report(float(started))
    train, test = read(Path(archive))
    systems = {run.__name__: run for run in (plain_pytorch, keras_tensorflow, fasttext, tfidf_logistic_regression)}
    settings = {"device": device} if system == "plain_pytorch" else {}
    systems[system](train, test, Path(folder), report, **settings)


if __name__ == "__main__":
    main()
