"""Make the corpus of finished runs that later versions must go on reading: `python tests/compat/make.py tests/compat/0.1`.

Each run becomes an archive NAME.tar.xz of its directory, as `Trainer.fit` leaves it. expected.json has what the version that
made the corpus predicts, and what it gets when it resumes each run for one more epoch. The data are in data/, which the runs
name by relative paths: they are resumed from the folder that has it.

A corpus is made once, by the version that it is named after, and never made again: add one of another version instead.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import random
import re
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from seqcls.encoders.lstm import LSTM

from seqcls import Classifier, Config, Trainer
from seqcls.registry import encoders

TEXTS, MANY, SEVERAL = "data/texts.csv", "data/many.csv.gz", "data/several.csv"
NUMBERS, VECTORS = "data/numbers.npz", "data/vectors.txt"
WORDS = ["the", "a", "film", "plot", "room", "meal", "was", "is", "and", "not", "very", "quite", "too", "long", "short"]
TELLING = {"bad": ["awful", "dull"], "good": ["superb", "warm"]}
TOPICS = {"film": ["actor", "scene"], "food": ["soup", "cook"], "hotel": ["bed", "lift"]}
BOTH_WAYS = {"hidden_size": 2, "num_layers": 2, "bidirectional": True}
WIDE = {**BOTH_WAYS, "pooling": "attention", "dropout": 0.2, "variational": True, "weight_dropout": 0.3}


def _run(dataset: str, encoder: str, encoder_options: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    """Return the settings of a run; what is not given here stays at its default."""
    model = {"encoder": encoder, "encoder_options": encoder_options or {}, "embedding_size": 4, **settings.pop("model", {})}
    fit = {"epochs": 2, "batch_size": 4, "lr": 0.06, "device": "cpu", **settings.pop("fit", {})}
    text = {"dataset": dataset, "num_words": 30, "validation_fraction": 0.3, **settings.pop("data", {})}
    return {"data": text, "model": model, "fit": fit, **settings}


SMALL = {"hidden_size": 4}
LITTLE_DROPOUT = {"word_dropout": 0.0, "embedding_dropout": 0.1, "output_dropout": 0.0}
RUNS: dict[str, dict[str, Any]] = {
    "text-numpy-simple-rnn": _run(TEXTS, "numpy-simple-rnn", SMALL),
    "text-torch-rnn": _run(TEXTS, "torch-rnn", {**BOTH_WAYS, "nonlinearity": "relu", "dropout": 0.2, "pooling": "max"}),
    "text-lstm": _run(TEXTS, "lstm", SMALL),
    "text-lstm-options": _run(TEXTS, "lstm", {**WIDE, "initialization": "uniform"}, data={"tokenizer": "basic-english"}),
    "text-gru": _run(TEXTS, "gru", {**BOTH_WAYS, "dropout": 0.2, "pooling": "attention", "initialization": "uniform"}),
    "text-min-gru": _run(TEXTS, "min-gru", SMALL, data={"max_length": 5}),
    "text-mean-pool": _run(
        TEXTS,
        "mean-pool",
        model={"embedding_options": {"std": 0.3}},
        data={"tokenizer": "character"},
        fit={"calibrate": False},
    ),
    "text-cnn": _run(TEXTS, "cnn", {"num_filters": 3}, data={"max_length": 6, "truncating": "pre"}),
    "text-transformer": _run(TEXTS, "transformer", {"hidden_size": 4, "feedforward_size": 4}),
    "text-bilstm-mean-pool": _run(
        TEXTS,
        "bilstm-mean-pool",
        {"hidden_size": 4, "projection_size": 4, "variational": True},
        model=LITTLE_DROPOUT,
        fit={"lr": 0.03, "seed": 4},
    ),
    "numbers-numpy-simple-rnn": _run(NUMBERS, "numpy-simple-rnn", {"hidden_size": 4, "pooling": "mean+max"}),
    "numbers-torch-rnn": _run(NUMBERS, "torch-rnn", SMALL),
    "numbers-lstm": _run(NUMBERS, "lstm", {**BOTH_WAYS, "pooling": "mean+max"}),
    "numbers-gru": _run(NUMBERS, "gru", SMALL),
    "numbers-min-gru": _run(NUMBERS, "min-gru", {**BOTH_WAYS, "dropout": 0.2}),
    "numbers-mean-pool": _run(NUMBERS, "mean-pool", {"pooling": "attention"}),
    "numbers-cnn": _run(NUMBERS, "cnn", {"widths": "1,2", "num_filters": 2}),
    "numbers-transformer": _run(
        NUMBERS,
        "transformer",
        {"hidden_size": 4, "num_layers": 1, "num_heads": 2, "feedforward_size": 4, "dropout": 0.0, "pooling": "last"},
        model=LITTLE_DROPOUT,
    ),
    "numbers-bilstm-mean-pool": _run(
        NUMBERS,
        "bilstm-mean-pool",
        {"hidden_size": 3, "num_layers": 1, "projection_size": 3, "weight_dropout": 0.3, "pooling": "mean+max"},
    ),
    "ngram-hash": _run(
        TEXTS,
        "mean-pool",
        model={"embedding": "ngram-hash", "embedding_options": {"buckets": 20}},
        fit={"schedule": "linear"},
    ),
    "ngram-hash-trigrams": _run(
        TEXTS,
        "lstm",
        SMALL,
        model={"embedding": "ngram-hash", "embedding_options": {"buckets": 11, "max_n": 3, "std": 0.2}},
    ),
    "pretrained": _run(TEXTS, "gru", SMALL, model={"embedding": "pretrained", "embedding_options": {"path": VECTORS}}),
    "pretrained-frozen": _run(
        TEXTS,
        "mean-pool",
        model={"embedding": "pretrained", "embedding_options": {"path": VECTORS, "freeze": True}},
        fit={"calibrate": False, "schedule": "plateau"},
    ),
    "several-labels": _run(SEVERAL, "lstm", SMALL, data={"dataset_options": {"label_delimiter": "|"}}),
    "averaged-weights": _run(
        TEXTS,
        "lstm",
        SMALL,
        model=LITTLE_DROPOUT,
        fit={"ema_decay": 0.8, "optimizer": "adamw", "weight_decay": 0.1, "schedule": "cosine", "accumulate": 2, "seed": 5},
    ),
}
# Without any settings: those of the recipe "default"; the sizes of its own encoder would make hundreds of kilobytes.
RECIPE_RUN = "recipe-lstm"


def write_data() -> None:
    """Write texts with a label each and with several, sequences of numbers, and word vectors, into data/."""
    Path("data").mkdir()
    for file, count in {TEXTS: 80, MANY: 1536, SEVERAL: 80}.items():
        rng = random.Random(0)
        lines = ["text,label"]
        for number in range(count):
            label, topic = ("bad", "good")[number % 2], rng.choice([*TOPICS])
            words = [*rng.choices(WORDS, k=rng.randint(1, 5)), *rng.choices(TELLING[label], k=2), rng.choice(TOPICS[topic])]
            rng.shuffle(words)
            lines.append(f"{' '.join(words)},{f'{label}|{topic}' if file == SEVERAL and number % 3 else label}")
        content = "\n".join([*lines, ""]).encode()
        Path(file).write_bytes(gzip.compress(content, mtime=0) if file.endswith(".gz") else content)
    draws = np.random.default_rng(0)
    lengths = draws.integers(1, 7, size=40)
    labels = np.arange(40) % 2
    names = np.array(["down", "up"])[labels]
    values = draws.normal(size=(lengths.sum(), 3)) + np.repeat(labels - 0.5, lengths)[:, None]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    np.savez_compressed(NUMBERS, values=values.round(2).astype(np.float32), offsets=offsets, labels=names)
    known = [*WORDS, "awful", "superb"]
    vectors = [f"{word} {' '.join(f'{value:.2f}' for value in draws.normal(size=4))}" for word in known]
    Path(VECTORS).write_text("\n".join(vectors) + "\n", encoding="utf-8")


def make_inputs() -> dict[str, list[Any]]:
    """Return what is predicted: texts, also empty or of unknown words; and sequences of numbers [T, 3]."""
    draws = np.random.default_rng(1)
    numbers = [draws.normal(size=(length, 3)).round(2).tolist() for length in (1, 2, 3, 5, 9, 40)]
    telling = [f"the {word} was {other}" for word in ("film", "meal") for other in ("awful", "superb", "not very dull")]
    return {"text": ["", "?!", "Never seen", "warm", *telling, "a long scene and a short plot " * 12], "numbers": numbers}


def figures(run: Path, inputs: list[Any]) -> dict[str, Any]:
    """Return what the model of a run says of inputs."""
    classifier = Classifier.from_pretrained(run, device="cpu")
    thresholds = None if classifier.thresholds is None else list(classifier.thresholds)
    probabilities = [
        [float(f"{value}") for value in row] for row in classifier.predict_proba(inputs)
    ]  # as short as is exact
    return {
        "labels": list(classifier.label_names),
        "thresholds": thresholds,
        "temperature": classifier.temperature,
        "probabilities": probabilities,
    }


def resume(run: Path, epochs: int, inputs: list[Any]) -> dict[str, Any]:
    """Train a run to so many epochs, and return its figures of validation and what its model says then."""
    result = Trainer.resume(run, changes={"fit": {"epochs": epochs, "device": "cpu"}}, callbacks=[]).fit()
    assert result.validation is not None
    return {"loss": result.validation.loss, "accuracy": result.validation.accuracy, **figures(run, inputs)}


def pack(run: Path, archive: Path) -> None:
    """Write a run directory as an archive that tells nothing of whose it was.

    It lacks the lock, which holds a process id, and, to be small, the checkpoints that stand in for damaged ones.
    """
    pointers = json.loads((run / "checkpoints.json").read_text(encoding="utf-8"))
    kept = {pointers["best"], pointers["last"]}
    with tarfile.open(archive, "w:xz", preset=9 | lzma.PRESET_EXTREME, format=tarfile.PAX_FORMAT) as tar:
        for file in sorted(path for path in run.rglob("*") if path.is_file() and path.name != "lock"):
            parts = file.relative_to(run).parts
            if parts[0] != "checkpoints" or parts[1] in kept:
                info = tarfile.TarInfo(f"{run.name}/{'/'.join(parts)}")
                info.size = file.stat().st_size
                tar.addfile(info, io.BytesIO(file.read_bytes()))


def default_parameters() -> dict[str, int]:
    """Return how many weights a model has with each encoder's default options, of which old models say nothing."""
    return {
        name: Trainer(None, config=Config().updated(_run(TEXTS, name), source="make"), callbacks=[]).plan().parameters
        for name in encoders.builtins
    }


def main(out: Path) -> None:
    """Make the corpus in ``out``, a new folder."""
    out.mkdir(parents=True)
    out = out.resolve()
    expected: dict[str, Any] = {}
    inputs = make_inputs()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEQCLS_HOME"] = f"{folder}/home"
        os.chdir(folder)
        write_data()
        (out / "data").mkdir()
        for file in Path("data").iterdir():
            (out / file).write_bytes(file.read_bytes())
        for name in [*RUNS, RECIPE_RUN]:
            if name in RUNS:
                config = Config().updated(RUNS[name], source=name)
                trainer = Trainer(config=config, callbacks=[], output=name)
            else:
                trainer = Trainer(LSTM(16, hidden_size=4), MANY, callbacks=[], output=name)
            run, model = trainer.fit().run_dir, trainer.config.model
            pack(run, out / f"{name}.tar.xz")
            kind = "numbers" if model.embedding == "features" else "text"
            expected[name] = {"encoder": model.encoder, "embedding": model.embedding, "inputs": kind}
            expected[name] |= {"epochs": trainer.config.fit.epochs, "trained": figures(run, inputs[kind])}
            expected[name]["resumed"] = resume(run, trainer.config.fit.epochs + 1, inputs[kind])
        contents = {"inputs": inputs, "default_parameters": default_parameters(), "runs": expected}
        os.chdir(out)
    text = json.dumps(contents, indent=1, sort_keys=True)
    text = re.sub(r"\[[^][{}]*\]", lambda row: " ".join(row[0].split()), text)  # a list of numbers or names a line
    Path("expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
