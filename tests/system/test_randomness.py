"""The states of random generators: what is captured is restored, and what is no state is refused."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from seqcls.errors import CheckpointError
from seqcls.system.randomness import RandomState, rank_seed, seed_everything

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _leaves_the_generators_as_they_were() -> Iterator[None]:
    before = RandomState.capture(CPU)
    yield
    before.restore(CPU)


def _draw() -> tuple[float, float, float]:
    return float(torch.rand(())), float(np.random.normal()), random.gauss(0, 1)


def test_a_restored_state_draws_the_same_numbers() -> None:
    seed_everything(3)
    _draw()  # NumPy's and Python's Gaussians come in pairs, whose second one waits
    state = RandomState.capture(CPU)
    drawn = [_draw() for _ in range(3)]
    seed_everything(4)
    state.validate()
    state.restore(CPU)
    assert [_draw() for _ in range(3)] == drawn


def test_a_state_that_was_sent_as_bytes_is_the_same() -> None:
    state = RandomState.capture(CPU)
    drawn = _draw()
    RandomState.from_bytes(state.to_bytes()).restore(CPU)
    assert _draw() == drawn
    with pytest.raises(CheckpointError):
        RandomState.from_bytes(state.to_bytes()[:-1])


def test_validation_changes_no_generator() -> None:
    state = RandomState.capture(CPU)
    seed_everything(4)
    before = RandomState.capture(CPU)
    drawn = _draw()
    before.restore(CPU)
    state.validate()
    assert _draw() == drawn


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("rng.torch", torch.zeros(7, dtype=torch.uint8)),
        ("rng.numpy", torch.full((624,), -1)),
        ("rng.numpy", torch.full((624,), 1 << 32)),
        ("rng.numpy", torch.zeros(623, dtype=torch.int64)),
    ],
)
def test_what_is_not_a_state_is_refused(name: str, tensor: torch.Tensor) -> None:
    state = RandomState.capture(CPU)
    with pytest.raises((RuntimeError, ValueError, IndexError)):
        RandomState({**state.tensors, name: tensor}, state.values).validate()


def test_the_first_process_has_the_seed_itself_and_the_others_have_seeds_of_their_own() -> None:
    assert rank_seed(5, 0) == 5
    assert len({rank_seed(5, rank, step) for rank in range(3) for step in range(2)}) == 5
