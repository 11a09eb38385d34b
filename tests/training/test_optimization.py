from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from seqcls.config.settings import FitConfig
from seqcls.errors import CheckpointError
from seqcls.training.optimizer import (
    ONE_CYCLE_START,
    LearningRate,
    build_optimizer,
    copy_for_average,
    optimizer_tensors,
    reduced,
    restore_optimizer,
    schedule_factor,
    update_average,
)

CPU = torch.device("cpu")
SHAPED = ["linear", "cosine", "one-cycle"]


def _factors(schedule: str, total_steps: int, warmup: float) -> list[float]:
    """The factors of all updates, and of the one after the last."""
    return [schedule_factor(schedule, step=step, total_steps=total_steps, warmup=warmup) for step in range(total_steps + 1)]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # Two of eight steps rise: linearly, 1/2 and 1. Then f of 0, 1/6 … 1 of the way down: 1 - f, or (1 + cos(pi f)) / 2.
        ("linear", [1 / 2, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0]),
        ("cosine", [1 / 2, 1, 1, 0.9330127, 0.75, 0.5, 0.25, 0.0669873, 0]),
        # Half a cosine up from 1/25: at its middle (1 + 1/25) / 2 = 0.52.
        ("one-cycle", [0.52, 1, 1, 0.9330127, 0.75, 0.5, 0.25, 0.0669873, 0]),
        ("constant", [1] * 9),
        ("plateau", [1] * 9),
    ],
)
def test_golden_factors(schedule: str, expected: list[float]) -> None:
    assert _factors(schedule, 8, 0.25) == pytest.approx(expected, abs=1e-7)


@given(schedule=st.sampled_from(SHAPED), total_steps=st.integers(1, 400), warmup=st.floats(0, 0.5))
def test_a_schedule_rises_to_one_and_falls_to_nothing(schedule: str, total_steps: int, warmup: float) -> None:
    factors = _factors(schedule, total_steps, warmup)
    risen = round(warmup * total_steps)
    assert all(0 <= factor <= 1 for factor in factors)
    assert max(factors) == factors[risen] == 1
    assert factors[: risen + 1] == sorted(factors[: risen + 1])
    assert factors[risen:] == sorted(factors[risen:], reverse=True)
    assert factors[-1] == pytest.approx(0, abs=1e-12)
    assert factors[-2] <= 1 / (total_steps - risen) + 1e-12  # the last update is no larger than a linear fall leaves it
    assert factors[0] > (ONE_CYCLE_START if schedule == "one-cycle" and risen else 0)


def _rate(**settings: object) -> tuple[LearningRate, torch.optim.Optimizer]:
    config = FitConfig.model_validate({"lr": 0.5, **settings})
    optimizer = build_optimizer(nn.Linear(2, 2), config, CPU)
    return LearningRate(optimizer, config, total_steps=8), optimizer


def test_the_learning_rate_is_that_of_the_schedule() -> None:
    rate, optimizer = _rate(schedule="linear", warmup=0.25)
    rate.set_for(0)
    assert rate.value == optimizer.param_groups[0]["lr"] == 0.25
    rate.set_for(5)
    assert rate.value == 0.25


def test_only_the_plateau_schedule_halves_and_only_without_improvement() -> None:
    for schedule, values in {"plateau": [0.5, 0.25, 0.25, 0.125], "constant": [0.5] * 4}.items():
        rate, _ = _rate(schedule=schedule)
        found, reduction = [], 1.0
        for improved in (True, False, True, False):
            reduction = reduced(reduction, schedule, improved=improved)
            rate.set_for(3, reduction=reduction)
            found.append(rate.value)
        assert found == values


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def _train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> list[torch.Tensor]:
    for step in steps:
        x = torch.randn(5, 3, generator=torch.Generator().manual_seed(step))
        model(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_a_restored_optimizer_takes_the_same_steps(name: str) -> None:
    config = FitConfig.model_validate({"optimizer": name, "lr": 0.01, "weight_decay": 0.1})
    model = _network()
    optimizer = build_optimizer(model, config, CPU)
    weights = _train(model, optimizer, range(3))
    saved = optimizer_tensors(optimizer)
    copies = {key: tensor.clone() for key, tensor in saved.items()}
    expected = _train(model, optimizer, range(3, 6))
    assert all(torch.equal(saved[key], copies[key]) for key in saved)  # a snapshot does not move with the optimizer

    def resume(*, restored: bool) -> list[torch.Tensor]:
        other = _network()
        with torch.no_grad():
            for parameter, weight in zip(other.parameters(), weights, strict=True):
                parameter.copy_(weight)
        fresh = build_optimizer(other, config, CPU)
        if restored:
            restore_optimizer(fresh, saved)
        return _train(other, fresh, range(3, 6))

    assert all(map(torch.equal, resume(restored=True), expected))
    assert not any(map(torch.equal, resume(restored=False), expected))


@pytest.mark.parametrize("key", ["0.exp_avg", "99.exp_avg"])
def test_state_of_another_model_is_refused(key: str) -> None:
    model = _network()
    optimizer = build_optimizer(model, FitConfig(lr=0.01), torch.device("cpu"))
    with pytest.raises(CheckpointError, match=f"{key} has shape .* different model"):
        restore_optimizer(optimizer, {key: torch.zeros(7, 7, 7)})


def test_state_is_named_by_parameter_and_quantity() -> None:
    model = _network()
    optimizer = build_optimizer(model, FitConfig(lr=0.01), CPU)
    assert optimizer_tensors(optimizer) == {}
    _train(model, optimizer, range(1))
    tensors = optimizer_tensors(optimizer)
    assert set(tensors) == {f"{number}.{name}" for number in range(4) for name in ("step", "exp_avg", "exp_avg_sq")}
    assert tensors["0.exp_avg"].shape == (4, 3)


@pytest.mark.parametrize(("name", "expected"), [("adam", 1 - 0.1), ("adamw", (1 - 0.1 * 0.5) - 0.1)])
def test_weight_decay_is_in_the_gradient_of_adam_and_beside_that_of_adamw(name: str, expected: float) -> None:
    # One weight of 1 with gradient 2, lr 0.1, decay 0.5. Adam's first step is lr whatever the gradient, g / sqrt(g^2): with
    # the decay in the gradient 1 - 0.1; decoupled, the weight first shrinks by lr * decay.
    weight = nn.Linear(1, 1, bias=False)
    nn.init.ones_(weight.weight)
    config = FitConfig.model_validate({"optimizer": name, "lr": 0.1, "weight_decay": 0.5})
    optimizer = build_optimizer(weight, config, CPU)
    (2 * weight(torch.ones(1))).sum().backward()
    optimizer.step()
    assert weight.weight.item() == pytest.approx(expected, abs=1e-6)


def test_averaged_weights_follow_those_of_the_model_and_counters_are_copied() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    averaged = copy_for_average(model)
    for parameter in model.parameters():
        nn.init.constant_(parameter, 3.0)
    model[1].num_batches_tracked.fill_(7)  # type: ignore[operator, union-attr]
    expected = [0.75 * old + 0.25 * 3.0 for old in averaged.parameters()]
    update_average(averaged, model, decay=0.75)
    assert all(torch.allclose(tensor, wanted) for tensor, wanted in zip(averaged.parameters(), expected, strict=True))
    assert int(averaged.state_dict()["1.num_batches_tracked"]) == 7
    update_average(averaged, model, decay=0.0)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in averaged.state_dict().items())
