"""Texts with any number of labels: loss, figures, thresholds, training, prediction."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from seqcls import Classifier, Splits, Trainer, load_recipe
from seqcls.data.holdout import choose_held_out
from seqcls.errors import ConfigError, DataError
from seqcls.evaluation.scores import choose_thresholds, score_logits, sum_losses
from seqcls.training.optimizer import class_weights

LABELS = ("food", "room", "staff")


def example(number: int) -> tuple[str, list[str]]:
    names = [name for place, name in enumerate(LABELS) if number >> place & 1]
    return f"about {' '.join(f'the {name}' for name in names) or 'nothing'} number {number}", names


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    config = load_recipe("default", encoder="mean-pool").updated(
        {"fit": {"epochs": 20, "lr": 0.05, "batch_size": 16, "device": "cpu"}}, source="test"
    )
    splits = Splits.from_pairs([example(n) for n in range(200)], test=[example(n) for n in range(200, 240)])
    return Trainer(None, splits, config=config, callbacks=[], output=tmp_path_factory.mktemp("multi") / "run").fit()


def test_a_run_learns_every_label(run: Any) -> None:
    assert run.test.accuracy == 1
    assert run.test.f1 == 1
    assert run.validation.f1 == 1
    assert json.loads((run.model / "metrics.json").read_text())["test"]["f1"] == 1


def test_a_prediction_is_any_number_of_labels(run: Any) -> None:
    classifier = Classifier.from_pretrained(run.model, device="cpu")
    assert classifier.is_multi_label
    texts = ["about the food the staff number 5", "about nothing number 8", "about the room number 2"]
    assert classifier.predict(texts) == [("food", "staff"), (), ("room",)]
    logits = classifier._raw_logits(classifier.encode(texts)) / classifier.temperature
    np.testing.assert_allclose(classifier.predict_proba(texts), logits.sigmoid().numpy())
    assert classifier.evaluate([example(n) for n in range(8)]).accuracy == 1
    with pytest.raises(DataError, match=r"data\[0\] has the label \['pool'\], which the model does not know"):
        classifier.evaluate([("a", ["pool"])])


def test_a_model_keeps_its_thresholds(run: Any, tmp_path: Path) -> None:
    classifier = Classifier.from_pretrained(run.model, device="cpu")
    classifier.save_pretrained(tmp_path / "copy")
    assert Classifier.from_pretrained(tmp_path / "copy", device="cpu").thresholds == classifier.thresholds
    assert classifier.thresholds is not None
    assert len(classifier.thresholds) == 3


multi_hot = st.integers(2, 4).flatmap(
    lambda width: st.lists(st.tuples(*[st.tuples(st.integers(-4, 4), st.booleans())] * width), min_size=1, max_size=30)
)


@settings(deadline=None)
@given(multi_hot)
def test_figures_are_those_of_scikit_learn(rows: list[tuple[tuple[int, bool], ...]]) -> None:
    logits = torch.tensor([[value for value, _ in row] for row in rows], dtype=torch.float64) + 0.5
    labels = torch.tensor([[has for _, has in row] for row in rows], dtype=torch.uint8)
    score = score_logits(logits, labels)
    said = (logits > 0).int().numpy()
    assert score.accuracy == pytest.approx(accuracy_score(labels.numpy(), said))
    # Where nothing is said and nothing is true, nothing is wrong: 1.
    assert score.f1 == pytest.approx(f1_score(labels.numpy(), said, average="micro", zero_division=1))
    assert score.loss == pytest.approx(float(F.binary_cross_entropy_with_logits(logits, labels.double())))


@settings(max_examples=20)
@given(multi_hot)
def test_no_other_threshold_has_a_better_f1(rows: list[tuple[tuple[int, bool], ...]]) -> None:
    logits = torch.tensor([[value for value, _ in row] for row in rows], dtype=torch.float64)
    labels = torch.tensor([[has for _, has in row] for row in rows], dtype=torch.uint8)
    thresholds = choose_thresholds(logits, labels)
    probabilities = logits.sigmoid()
    for column, threshold in enumerate(thresholds.tolist()):
        true, values = labels[:, column].numpy(), probabilities[:, column].numpy()
        best = max(f1_score(true, values >= other, zero_division=0) for other in (0.0, 0.5, *values))
        assert f1_score(true, values >= threshold, zero_division=0) == pytest.approx(best)


def test_a_threshold_stays_at_a_half_where_that_is_as_good() -> None:
    logits, labels = torch.tensor([[2.0], [-2.0]]), torch.tensor([[1], [0]], dtype=torch.uint8)
    assert choose_thresholds(logits, labels).tolist() == [0.5]
    assert choose_thresholds(logits, torch.zeros_like(labels)).tolist() == [0.5]


def test_weights_count_a_label_that_is_there() -> None:
    logits, labels = torch.zeros(1, 2), torch.tensor([[1, 0]], dtype=torch.uint8)
    # log 2 for each label, the one that is there three times: (3 + 1) / 2 * log 2.
    assert float(sum_losses(logits, labels, torch.tensor([3.0, 5.0]))) == pytest.approx(2 * np.log(2))


def test_balanced_weights() -> None:
    single = class_weights("balanced", np.array([0, 0, 0, 1]), ("a", "b"))
    assert single.tolist() == [4 / 6, 4 / 2]
    several = class_weights("balanced", np.array([[1, 0], [1, 1], [1, 0], [0, 0]], dtype=np.uint8), ("a", "b"))
    assert several.tolist() == [1 / 3, 3.0]


def test_weights_from_a_table() -> None:
    assert class_weights({"b": 2.0, "a": 0.5}, np.array([0, 1]), ("a", "b")).tolist() == [0.5, 2]
    with pytest.raises(ConfigError, match=r"class_weights .* one weight per label, \['a', 'b'\]; .*\['b', 'c'\]"):
        class_weights({"a": 1.0, "c": 1.0}, np.array([0, 1]), ("a", "b"))


def test_weights_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    path.write_text('{"b": 2, "a": 0.5}')
    assert class_weights(str(path), np.array([0, 1]), ("a", "b")).tolist() == [0.5, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        ("{", "cannot read"),
        ("[1, 2]", r"one weight per label, \['a', 'b'\]"),
        ('{"a": 1}', r"unknown: \['b'\]"),
        ('{"a": 1, "b": 1, "c": 1}', r"unknown: \['c'\]"),
        ('{"a": 1, "b": 0}', "the weight of 'b' is 0; give a number above 0"),
        ('{"a": 1, "b": true}', "the weight of 'b' is True"),
        ('{"a": 1, "b": "2"}', "the weight of 'b' is '2'"),
    ],
)
def test_bad_weights_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "weights.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        class_weights(str(path), np.array([0, 1]), ("a", "b"))


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=40, max_size=80), st.integers(0, 3))
def test_held_out_texts_have_each_label_at_most_in_its_share(rows: list[tuple[bool, ...]], seed: int) -> None:
    labels = np.array(rows, dtype=np.uint8)
    try:
        held_out = choose_held_out(labels, groups=None, fraction=0.2, seed=seed)
    except DataError:
        return  # every label is so rare that none may be held out
    for column in (*labels.T, ~labels.any(axis=1)):
        assert column[held_out].astype(bool).sum() <= np.round(0.2 * column.astype(bool).sum())


# What Python holds already.


class Table:
    """What is used of a Hugging Face data set."""

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


def test_real_hugging_face_data_sets() -> None:
    datasets = pytest.importorskip("datasets")
    if not hasattr(datasets, "Features"):  # the folder beside this file has the same name
        pytest.skip("needs Hugging Face datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    table = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    splits = Splits.of(datasets.DatasetDict({"train": table, "test": table}))
    assert list(splits.train) == [("a", 1), ("b", 0)]
    assert splits.label_names == ("neg", "pos")


def test_a_trainer_takes_pairs(tmp_path: Path) -> None:
    pairs = ((f"{('bad', 'good')[n % 2]} {n}", ("neg", "pos")[n % 2]) for n in range(40))
    config = load_recipe("default", encoder="mean-pool").updated({"fit": {"epochs": 1, "device": "cpu"}}, source="test")
    result = Trainer(None, pairs, config=config, callbacks=[], output=tmp_path / "run").fit()
    assert result.validation is not None
    assert result.validation.count == 4
    with pytest.raises(DataError, match="a int is not data; give"):
        Trainer("lstm", 5)  # type: ignore[arg-type]


def test_some_labels_as_lists_and_some_not_are_refused() -> None:
    with pytest.raises(DataError, match="some labels are lists"):
        Splits.from_pairs([("a", ["x"]), ("b", "y")])
