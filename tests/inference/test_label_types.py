"""A label comes back as the type that was given, and has one name over all forms of data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy import toy_pairs

from seqcls import Classifier, Splits, Trainer
from seqcls.data.sources import splits_of
from seqcls.inference.portable.numpy_classifier import NumpyClassifier

TEXTS = ["a superb room", "an awful meal"]
GIVEN: dict[str, tuple[Callable[[bool], Any], list[Any]]] = {
    "int": (int, [1, 0]),
    "bool": (bool, [True, False]),
    "float": (float, [1, 0]),
    "numpy int": (np.int64, [1, 0]),
    "numpy bool": (np.bool_, [True, False]),
    "str": (lambda good: str(int(good)), ["1", "0"]),
}


def labelled(label: Callable[[bool], Any], count: int = 80) -> list[tuple[str, Any]]:
    return [(text, label(name == "good")) for text, name in toy_pairs(count)]


def train(data: Any, folder: Path, **settings: Any) -> Classifier:
    Trainer(data, encoder="linear", device="cpu", **settings, callbacks=[], output=folder / "run").fit()
    return Classifier.from_pretrained(folder / "run", device="cpu")


@pytest.mark.parametrize("name", GIVEN)
def test_labels_of_python_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    label, expected = GIVEN[name]
    classifier = train(labelled(label), tmp_path)
    predicted = classifier.predict(TEXTS)
    assert predicted == expected
    assert [type(item) for item in predicted] == [type(item) for item in expected]
    assert classifier.label_names == (("false", "true") if "bool" in name else ("0", "1"))
    assert classifier.evaluate(labelled(label, 20)).accuracy == 1
    assert set(NumpyClassifier.from_pretrained(tmp_path / "run").predict(TEXTS)) == set(expected)
    classifier.save_pretrained(tmp_path / "copy")
    assert Classifier.from_pretrained(tmp_path / "copy").labels == tuple(reversed(expected))
    assert classifier.explain(TEXTS[0], label=expected[0]).label == classifier.label_names[1]


def write(path: Path, pairs: list[tuple[str, Any]]) -> str:
    rows = [{"text": text, "label": label} for text, label in pairs]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        path.write_text("".join(["text,label\n", *(f"{text},{str(label).lower()}\n" for text, label in pairs)]))
    else:
        pytest.importorskip("pyarrow")
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return str(path)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("name", ["int", "bool", "float"])
def test_labels_of_files_have_the_same_names(tmp_path: Path, form: str, name: str) -> None:
    label, expected = GIVEN[name]
    if form == "csv":
        label = int if name == "float" else label  # text has no types
        expected = [str(item).lower() for item in expected]
    path = write(tmp_path / f"data.{form}", labelled(label))
    first = train(path, tmp_path)
    assert first.predict(TEXTS) == expected
    again = train(path, tmp_path / "again")  # from the cache
    assert again.predict(TEXTS) == expected
    pairs = [("superb", GIVEN[name][1][0]), ("awful", np.array(GIVEN[name][1])[1])]
    assert first.evaluate(pairs).count == 2
    assert first.label_names == (("false", "true") if name == "bool" else ("0", "1"))


def test_one_name_is_one_label() -> None:
    splits = Splits.from_pairs([("a", 1), ("b", "1"), ("c", 1.0), ("d", np.int8(1)), ("e", 0), ("f", "0")])
    assert splits.label_names == ("0", "1")
    assert splits.train.labels is not None
    assert splits.train.labels.tolist() == [1, 1, 1, 1, 0, 0]
    assert dict(splits.label_values) == {"1": 1, "0": 0}
    booleans = Splits.from_pairs([("a", True), ("b", "true"), ("c", np.False_), ("d", 1)])
    assert booleans.label_names == ("1", "false", "true")  # True and 1 are equal to Python, but are different labels
    assert booleans.label_values["1"] is not True


def test_several_labels_may_be_numbers(tmp_path: Path) -> None:
    pairs = [
        (text, [int(label == "good"), 7] if len(text) > 30 else [int(label == "good")]) for text, label in toy_pairs(80)
    ]
    splits = splits_of(pairs)
    assert splits.is_multi_label
    assert splits.label_names == ("0", "1", "7")
    classifier = train(pairs, tmp_path)
    (labels,) = classifier.predict(["a superb room"])
    assert all(isinstance(label, int) for label in labels)


def test_the_report_of_trainings_keeps_its_names(tmp_path: Path) -> None:
    classifier = train(labelled(int), tmp_path)
    assert set(classifier.evaluate(labelled(int, 20)).labels) == {"0", "1"}
    rows = list(classifier.predictions(labelled(int, 4)).rows())
    assert {row["label"] for row in rows} == {"0", "1"}
