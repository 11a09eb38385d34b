from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy import toy_config, toy_pairs

from seqcls import Splits, Trainer
from seqcls.errors import DataError


class Table:
    """The part of a Hugging Face data set that is used."""

    def __init__(self, rows: list[dict[str, Any]], names: list[str] | None = None) -> None:
        self.rows = rows
        self.column_names = list(rows[0])
        self.features = {"label": SimpleNamespace(names=names)} if names else {}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)


ROWS = [{"id": number, "sentence": f"text {number}", "label": number % 2} for number in range(6)]


def test_hugging_face_tables_become_splits() -> None:
    table = Table(ROWS, ["bad", "good"])
    splits = Splits.of({"train": table, "validation": table, "unsupervised": table, "test": table})
    assert splits.label_names == ("bad", "good")
    assert set(splits.labelled()) == {"train", "validation", "test"}
    assert splits.train[1] == ("text 1", 1)
    assert Splits.of(Table(ROWS)).label_names == ("0", "1")


def test_rows_without_a_label_are_named() -> None:
    with pytest.raises(DataError, match="row 5 has no label"):
        Splits.of(Table([*ROWS[:5], {"id": 9, "sentence": "x", "label": -1}], ["bad", "good"]))
    with pytest.raises(DataError, match=r"no column 'txt'; there are \['id', 'sentence', 'label'\]"):
        Splits.of(Table(ROWS), text_column="txt")
    with pytest.raises(DataError, match=r"no split named train; there are \['all'\]"):
        Splits.of({"all": Table(ROWS)})


def test_weights_are_those_of_the_training_examples() -> None:
    texts, labels, weights = ["a", "b", "c"], ["x", "y", "x"], [1, 0.5, 0]
    train = list(zip(texts, labels, strict=True))
    for splits in (
        Splits.from_pairs(train, test=train, weights=weights),
        Splits.of((texts, labels), weights=weights),
        Splits.of({"train": train, "dev": train}, weights=iter(weights)),
    ):
        assert [None if split.weights is None else split.weights.tolist() for split in splits.labelled().values()] in (
            [weights],
            [weights, None],
        )
    with pytest.raises(DataError, match="3 texts but 2 weights"):
        Splits.of((texts, labels), weights=[1, 2])
    with pytest.raises(DataError, match=r"weights\[1\] is -1; give a finite number of at least 0"):
        Splits.of((texts, labels), weights=[1, -1, 2])


def test_some_labels_as_lists_and_some_not_are_refused() -> None:
    with pytest.raises(DataError, match="some labels are lists"):
        Splits.from_pairs([("a", ["x"]), ("b", "y")])


def test_a_trainer_takes_an_iterator_of_pairs(tmp_path: Path) -> None:
    result = Trainer(None, iter(toy_pairs(40)), config=toy_config(epochs=1), callbacks=[], output=tmp_path / "run").fit()
    assert result.validation is not None
    assert result.validation.count == 4
    with pytest.raises(DataError, match="int is not data"):
        Trainer("lstm", 5)  # type: ignore[arg-type]
