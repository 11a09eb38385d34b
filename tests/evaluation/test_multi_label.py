"""Texts with any number of labels: loss, scores, thresholds, training, prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from seqcls import Classifier, Splits, Trainer, load_recipe
from seqcls.errors import DataError
from seqcls.evaluation.scores import choose_thresholds, example_losses, score_logits

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
    assert json.loads((run.model_dir / "metrics.json").read_text())["test"]["f1"] == 1


def test_a_prediction_is_any_number_of_labels(run: Any) -> None:
    classifier = Classifier.from_pretrained(run.model_dir, device="cpu")
    assert classifier.is_multi_label
    texts = ["about the food the staff number 5", "about nothing number 8", "about the room number 2"]
    assert classifier.predict(texts) == [("food", "staff"), (), ("room",)]
    logits = classifier._raw_logits(classifier.encode(texts)) / classifier.temperature
    np.testing.assert_allclose(classifier.predict_proba(texts), logits.sigmoid().numpy())
    assert classifier.evaluate([example(n) for n in range(8)]).accuracy == 1
    with pytest.raises(DataError, match=r"data\[0\] has the label \['pool'\], which the model does not know"):
        classifier.evaluate([("a", ["pool"])])


def test_a_model_keeps_its_thresholds(run: Any, tmp_path: Path) -> None:
    classifier = Classifier.from_pretrained(run.model_dir, device="cpu")
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
    predicted = (logits > 0).int().numpy()
    assert score.accuracy == pytest.approx(accuracy_score(labels.numpy(), predicted))
    # F1 is 1 where nothing is predicted and nothing is true.
    assert score.f1 == pytest.approx(f1_score(labels.numpy(), predicted, average="micro", zero_division=1))
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


def test_a_threshold_stays_at_one_half_unless_another_is_better() -> None:
    logits, labels = torch.tensor([[2.0], [-2.0]]), torch.tensor([[1], [0]], dtype=torch.uint8)
    assert choose_thresholds(logits, labels).tolist() == [0.5]
    assert choose_thresholds(logits, torch.zeros_like(labels)).tolist() == [0.5]


def test_class_weights_apply_to_labels_that_are_present() -> None:
    logits, labels = torch.zeros(1, 2), torch.tensor([[1, 0]], dtype=torch.uint8)
    # The loss is log 2 per label, and that of the first label counts three times: (3 + 1) / 2 * log 2.
    assert float(example_losses(logits, labels, torch.tensor([3.0, 5.0]))) == pytest.approx(2 * np.log(2))
