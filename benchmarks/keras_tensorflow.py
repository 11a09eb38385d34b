"""The other peer: the tutorial's network in Keras 3 on TensorFlow. Needs `pip install keras tensorflow-cpu` alone.

python benchmarks/keras_tensorflow.py REVIEWS.npz STEPS prints one JSON object; `benchmarks throughput` makes the file.
"""

from __future__ import annotations

import json
import os
import sys
import time

os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}

import keras
import numpy as np


def build(vocab_size: int) -> keras.Model:
    """Return the network, compiled as the tutorial trains it."""
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Embedding(vocab_size, 128),
            layers.Dropout(0.2),
            layers.Bidirectional(layers.LSTM(128, return_sequences=True)),
            layers.Dropout(0.2),
            layers.Bidirectional(layers.LSTM(128, return_sequences=True)),
            layers.Dense(128, activation="relu"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(2),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


def main(path: str, steps: int) -> None:
    """Train and evaluate; the first pass over some batches, which builds the graph, is not counted."""
    data = np.load(path, allow_pickle=False)
    model = build(int(data["vocab_size"]))
    order = np.random.default_rng(0).permutation(len(data["train"]))[: 64 * steps]
    inputs, labels = data["train"][order], data["train_labels"][order]
    model.fit(inputs[:320], labels[:320], batch_size=64, verbose=0)
    started = time.perf_counter()
    model.fit(inputs, labels, batch_size=64, verbose=0)
    train = len(order) / (time.perf_counter() - started)
    model.evaluate(data["test"][:400], data["test_labels"][:400], batch_size=200, verbose=0)
    started = time.perf_counter()
    model.evaluate(data["test"], data["test_labels"], batch_size=200, verbose=0)
    print(json.dumps({"train": train, "evaluate": len(data["test"]) / (time.perf_counter() - started)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
