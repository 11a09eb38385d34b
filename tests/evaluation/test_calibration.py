from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqcls.evaluation.calibration import calibrate, calibration_error, fit_temperature
from seqcls.evaluation.scores import sum_losses


def _draw(temperature: float, *, count: int = 20_000, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Return logits that are calibrated once they are divided by ``temperature``, and labels."""
    generator = torch.Generator().manual_seed(0)
    calibrated = torch.randn(count, classes, generator=generator) * 2
    labels = calibrated.softmax(dim=-1).multinomial(1, generator=generator).squeeze(1)
    return calibrated * temperature, labels


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_by_which_logits_are_too_large_is_recovered(temperature: float) -> None:
    logits, labels = _draw(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.03)
    calibration = calibrate(logits, labels)
    assert calibration.error_after < 0.01
    assert temperature == 1.0 or calibration.error_before > 0.05


def test_a_temperature_that_raises_the_error_is_not_kept() -> None:
    # 970 right at 0.97 and 30 wrong at 0.94: the mean confidence of 0.969 is nearly the accuracy of 0.97, but the loss is
    # lowest with more confidence.
    confidences = torch.tensor([0.97] * 970 + [0.94] * 30, dtype=torch.float64)
    logits, labels = torch.stack([confidences, 1 - confidences], dim=1).log(), torch.tensor([0] * 970 + [1] * 30)
    temperature = fit_temperature(logits, labels)
    assert temperature < 0.95
    calibration = calibrate(logits, labels)
    assert calibration_error(logits / temperature, labels) > calibration.error_before == calibration.error_after
    assert calibration.error_before == pytest.approx(0.97 - (970 * 0.97 + 30 * 0.94) / 1000)
    assert calibration.temperature == 1


def test_several_labels_per_text_share_one_temperature() -> None:
    generator = torch.Generator().manual_seed(0)
    calibrated = torch.randn(20_000, 4, generator=generator) * 2
    labels = (torch.rand(calibrated.shape, generator=generator) < calibrated.sigmoid()).to(torch.uint8)
    calibration = calibrate(calibrated * 3, labels)
    assert calibration.temperature == pytest.approx(3, rel=0.03)
    assert calibration.error_after < 0.01 < calibration.error_before


def test_without_a_mistake_the_fit_allows_for_one_more_example_of_each_class() -> None:
    # All N logits are (a, -a) with the first label, so p = (N + 1) / (N + 2) and 2a / T = log(N + 1).
    logits = torch.tensor([[2.0, -2.0]]).expand(98, 2)
    labels = torch.zeros(98, dtype=torch.int64)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(4 / math.log(99), rel=1e-6)
    assert float((logits[0] / temperature).softmax(dim=-1)[0]) == pytest.approx(0.99)


@settings(max_examples=30)
@given(seed=st.integers(0, 50), classes=st.integers(2, 5), scale=st.floats(0.1, 20))
def test_no_other_temperature_has_a_lower_loss(seed: int, classes: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(300, classes, generator=generator, dtype=torch.float64)
    labels = torch.where(torch.rand(300, generator=generator) < 0.6, logits.argmax(dim=-1), 0)
    targets = (torch.nn.functional.one_hot(labels, classes) * 300 + 1) / (300 + classes)

    def loss(temperature: float) -> float:
        return float(-(targets * (logits / temperature).log_softmax(dim=-1)).sum())

    best = fit_temperature(logits, labels)
    assert loss(best) <= min(loss(best * 1.01), loss(best * 0.99), loss(1.0)) + 1e-9


def test_the_temperature_keeps_the_labels_and_lowers_the_loss() -> None:
    logits, labels = _draw(5.0)
    scaled = logits / fit_temperature(logits, labels)
    assert torch.equal(scaled.argmax(dim=-1), logits.argmax(dim=-1))
    assert sum_losses(scaled, labels) < sum_losses(logits, labels)


def test_the_calibration_error_of_a_split_computed_by_hand() -> None:
    # Of four texts at 0.9, three are right; of two at 0.6, one is right: (4 |0.9 - 0.75| + 2 |0.6 - 0.5|) / 6.
    confidences = torch.tensor([0.9, 0.9, 0.9, 0.9, 0.6, 0.6], dtype=torch.float64)
    logits = torch.stack([confidences, 1 - confidences], dim=1).log()
    labels = torch.tensor([0, 0, 0, 1, 0, 1])
    assert calibration_error(logits, labels) == pytest.approx((4 * 0.15 + 2 * 0.1) / 6)


@given(seed=st.integers(0, 50), count=st.integers(1, 60), is_multi=st.booleans())
def test_the_calibration_error_follows_its_definition(seed: int, count: int, is_multi: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, 3, generator=generator, dtype=torch.float64)
    if is_multi:
        labels = torch.randint(2, (count, 3), generator=generator, dtype=torch.uint8)
        confidence, right = logits.sigmoid().flatten().numpy(), labels.flatten().numpy()
    else:
        labels = torch.randint(3, (count,), generator=generator)
        confidence, right = logits.softmax(-1).amax(-1).numpy(), (logits.argmax(-1) == labels).numpy()
    error = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - np.mean(right[inside]))
    assert calibration_error(logits, labels) == pytest.approx(error, abs=1e-12)


def test_an_empty_split_leaves_logits_as_they_are() -> None:
    assert fit_temperature(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)) == 1.0
    assert calibration_error(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)) == 0.0
