from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, log_loss

from seqcls.evaluation.scores import RunningScore, Score, score_logits

CPU = torch.device("cpu")


@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    classes=st.integers(2, 5),
    seed=st.integers(0, 99),
    scale=st.sampled_from([0.1, 1.0, 3.0]),  # with a scale of 10, scikit-learn clips some probabilities
)
def test_scores_are_those_of_scikit_learn_however_examples_are_batched(
    sizes: list[int], classes: int, seed: int, scale: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(sum(sizes), classes, generator=generator)
    labels = torch.randint(classes, (sum(sizes),), generator=generator)
    probabilities = logits.double().softmax(dim=-1).numpy()
    loss = log_loss(labels.numpy(), probabilities, labels=np.arange(classes))
    accuracy = accuracy_score(labels.numpy(), logits.argmax(dim=-1).numpy())

    running = RunningScore(CPU)
    for some_logits, some_labels in zip(logits.split(sizes), labels.split(sizes), strict=True):
        running.update(some_logits, some_labels)

    for score in (running.compute(), score_logits(logits, labels)):
        assert score.loss == pytest.approx(loss, rel=1e-5, abs=1e-6)
        assert score.accuracy == pytest.approx(accuracy)
        assert (score.correct, score.count) == (round(accuracy * sum(sizes)), sum(sizes))


@given(count=st.integers(1, 30), classes=st.integers(2, 5), several=st.booleans(), seed=st.integers(0, 999))
def test_macro_f1_is_that_of_scikit_learn(count: int, classes: int, several: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, classes))
    labels = rng.integers(0, 2, (count, classes), dtype=np.uint8) if several else rng.integers(0, classes, count)
    thresholds = rng.uniform(0.2, 0.8, classes)
    predicted = 1 / (1 + np.exp(-logits)) >= thresholds if several else logits.argmax(axis=1)
    expected = f1_score(labels, predicted, average="macro", zero_division=0)
    score = score_logits(torch.from_numpy(logits), torch.from_numpy(labels), torch.from_numpy(thresholds))
    assert score.macro_f1 == score.figure("f1") == pytest.approx(expected)
    assert (score.figure("loss"), score.figure("accuracy")) == (score.loss, score.accuracy)


def test_batches_are_weighted_by_their_size() -> None:
    # One example at loss ln 2, three at ln 4: (ln 2 + 3 ln 4) / 4 = 7/4 ln 2. The mean of batch means would be 3/2 ln 2.
    running = RunningScore(CPU)
    running.update(torch.tensor([[1.0, 1.0]]), torch.tensor([0]))
    running.update(torch.tensor([[math.log(3), 0.0]] * 3), torch.tensor([1, 1, 1]))
    assert running.compute() == Score(pytest.approx(7 / 4 * math.log(2)), 0.25, 1, 4)  # a tie goes to the first class


def test_a_known_sum_of_losses_is_not_computed_again() -> None:
    running = RunningScore(CPU)
    running.update(torch.zeros(2, 2, requires_grad=True), torch.tensor([0, 1]), torch.tensor(5.0, requires_grad=True))
    assert running.compute() == Score(2.5, 0.5, 1, 2)


def test_losses_in_bfloat16_are_computed_in_float32() -> None:
    # 1/3 and -1/7 in bfloat16 are 0.333984375 and -0.142578125; the cross-entropy of these is ln(1 + e^-d).
    logits = torch.tensor([[1 / 3, -1 / 7]], dtype=torch.bfloat16)
    running = RunningScore(CPU)
    running.update(logits, torch.tensor([0]))
    assert running.compute().loss == pytest.approx(math.log1p(math.exp(-0.333984375 - 0.142578125)), abs=1e-7)


def test_many_small_losses_add_up() -> None:
    # In float32, 1e8 + 1 is 1e8: the hundred ones would be lost.
    running = RunningScore(CPU)
    logits, labels = torch.zeros(1, 2), torch.tensor([0])
    running.update(logits, labels, torch.tensor(1e8))
    for _ in range(100):
        running.update(logits, labels, torch.tensor(1.0))
    assert running.compute().loss == (1e8 + 100) / 101


def test_without_examples_the_score_is_zero() -> None:
    assert RunningScore(CPU).compute().as_dict() == {"loss": 0.0, "accuracy": 0.0, "correct": 0, "count": 0}
