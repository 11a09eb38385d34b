from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from toy import toy_config, toy_splits

from seqcls import Trainer
from seqcls.config.settings import FitConfig
from seqcls.data.encoding import EncodedData
from seqcls.data.scaler import FeatureScaler
from seqcls.data.sequences import Sequences
from seqcls.evaluation.scores import example_losses
from seqcls.training.objective import Objective

CPU = torch.device("cpu")
SEEDS = st.integers(0, 2**32 - 1)
SMOOTHING = st.sampled_from([0.0, 0.1, 0.5, 0.9])


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


@given(seed=SEEDS, smoothing=SMOOTHING, weighted=st.booleans())
def test_losses_are_those_of_torch_and_of_the_equation(seed: int, smoothing: float, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    count, classes = rng.integers(1, 9), rng.integers(2, 6)
    logits, labels = rng.normal(size=(count, classes)), rng.integers(0, classes, count)
    weights = rng.uniform(0.1, 3, classes) if weighted else np.ones(classes)
    tensors = torch.from_numpy(logits), torch.from_numpy(labels), torch.from_numpy(weights) if weighted else None
    losses = example_losses(*tensors, label_smoothing=smoothing)
    expected = F.cross_entropy(*tensors[:2], weight=tensors[2], reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(losses.sum(), expected)
    targets = (1 - smoothing) * np.eye(classes)[labels] + smoothing / classes
    np.testing.assert_allclose(losses, -(weights * targets * _log_softmax(logits)).sum(axis=1), rtol=1e-9)


@given(seed=SEEDS, smoothing=SMOOTHING)
def test_targets_of_several_labels_move_towards_one_half(seed: int, smoothing: float) -> None:
    rng = np.random.default_rng(seed)
    logits, labels, weights = rng.normal(size=(5, 3)), rng.integers(0, 2, (5, 3), dtype=np.uint8), rng.uniform(0.1, 3, 3)
    targets = np.where(labels == 1, 1 - smoothing / 2, smoothing / 2)
    positive, negative = -np.log(1 / (1 + np.exp(-logits))), -np.log(1 / (1 + np.exp(logits)))
    expected = (weights * targets * positive + (1 - targets) * negative).mean(axis=1)
    tensors = torch.from_numpy(logits), torch.from_numpy(labels), torch.from_numpy(weights)
    np.testing.assert_allclose(example_losses(*tensors, label_smoothing=smoothing), expected, rtol=1e-9)


def _data(features: NDArray[np.float64], labels: NDArray[Any], weights: NDArray[np.float64] | None) -> EncodedData:
    train = replace(Sequences.from_list(features[:, None], labels), weights=weights)
    return EncodedData(FeatureScaler.fit(list(features[:, None])), {"train": train}, ("a", "b", "c"))


def _gradient(data: EncodedData, windows: list[list[int]], **fit: Any) -> torch.Tensor:
    """Return the gradient of a linear model, float32 [D, C], from one update over the given batches of examples."""
    train, config = data.splits["train"], FitConfig.model_validate(fit)
    assert train.labels is not None
    objective = Objective(config, data, CPU)
    weight = torch.linspace(-1, 1, 2 * 3).view(2, 3).requires_grad_()
    total = objective.total_weight(np.concatenate(windows))
    for window in windows:
        indices = np.array(window)
        logits = torch.from_numpy(train.values[indices]) @ weight
        losses = objective.losses(logits, torch.from_numpy(train.labels[indices]))
        objective.share(losses, indices, total).backward()
    assert weight.grad is not None
    return weight.grad


SETTINGS: list[dict[str, Any]] = [{}, {"class_weights": "balanced"}, {"label_smoothing": 0.2, "class_weights": "balanced"}]


@pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "class weights", "smoothing"])
@pytest.mark.parametrize("several", [False, True], ids=["one label", "several labels"])
@given(weights=st.lists(st.integers(0, 3), min_size=6, max_size=6).filter(any), scale=st.sampled_from([1.0, 0.1, 7.0]))
def test_a_weight_equals_having_the_example_so_many_times(
    settings: dict[str, Any], several: bool, weights: list[int], scale: float
) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(6, 2))
    labels = rng.integers(0, 2, (6, 3), dtype=np.uint8) if several else np.array([0, 1, 2, 0, 1, 2])
    repeated = np.repeat(np.arange(6), weights)
    weighted = _gradient(_data(features, labels, np.array(weights) * scale), [[0, 1, 2, 3, 4, 5]], **settings)
    expected = _gradient(_data(features[repeated], labels[repeated], None), [list(range(len(repeated)))], **settings)
    torch.testing.assert_close(weighted, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "class weights", "smoothing"])
def test_batches_whose_gradients_are_added_up_give_that_of_one(settings: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    data = _data(rng.normal(size=(7, 2)), rng.integers(0, 3, 7), np.array([0.0, 1.0, 0.25, 3.0, 0.0, 0.0, 2.0]))
    whole = _gradient(data, [[6, 1, 2, 3, 4, 5, 0]], **settings)
    torch.testing.assert_close(_gradient(data, [[6, 1], [2], [3], [4, 5, 0]], **settings), whole)


def test_an_update_whose_examples_all_weigh_nothing_has_no_gradient() -> None:
    data = _data(np.ones((3, 2)), np.array([0, 1, 2]), np.array([0.0, 0.0, 1.0]))
    assert not _gradient(data, [[0, 1]]).any()


def test_smoothing_and_weights_leave_validation_as_it_is(tmp_path: Path) -> None:
    splits = toy_splits()
    assert splits.validation is not None
    weights = np.arange(len(splits.validation)) / 2
    weighted = replace(splits, validation=replace(splits.validation, weights=weights))
    trainer = Trainer(
        weighted, config=toy_config(label_smoothing=0.5, calibrate=False), callbacks=[], output=tmp_path / "run"
    )
    result = trainer.fit()
    assert result.validation is not None
    assert splits.validation.labels is not None
    probabilities = result.load(device="cpu").predict_proba(splits.validation.texts)
    rows = np.arange(len(splits.validation))
    assert result.validation.loss == pytest.approx(-np.log(probabilities[rows, splits.validation.labels]).mean(), rel=1e-5)


def test_figures_of_training_do_not_depend_on_the_weights_of_the_examples(tmp_path: Path) -> None:
    losses = []
    for name, weights in (("plain", None), ("weighted", np.arange(64) % 3)):
        splits = toy_splits()
        data = replace(splits, train=replace(splits.train, weights=weights))
        config = toy_config(lr=1e-30, epochs=1).updated({"model": {"output_dropout": 0.0}}, source="test")
        losses.append(Trainer(data, config=config, callbacks=[], output=tmp_path / name).fit().history[0].train.loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
