"""Every recurrent encoder gives what the NumPy reference gives from the same weights, for sequences of any length."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from seqcls import registry
from seqcls.model.encoders import numpy_reference as reference
from seqcls.model.encoders.base import Encoder
from seqcls.model.encoders.min_gru import MinGRULayer, linear_scan
from seqcls.model.encoders.min_gru import _scan_by_doubling as scan_by_doubling
from seqcls.model.encoders.min_gru import _scan_by_steps as scan_by_steps
from seqcls.model.encoders.recurrent import RecurrentStack

Array = NDArray[np.float64]
LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def _step(layer: nn.Module) -> Any:
    """The reference recurrence with the weights of a torch layer."""
    weights = [parameter.detach().numpy() for parameter in layer.parameters()]
    if isinstance(layer, MinGRULayer):
        return partial(_apply, reference.min_gru_step, weights)
    W, U, b, c = weights
    if isinstance(layer, nn.GRU):
        return partial(_apply, reference.gru_step, [W, U, b, c])
    return partial(_apply, reference.lstm_step if isinstance(layer, nn.LSTM) else reference.simple_rnn_step, [W, U, b + c])


def _apply(step: Any, weights: list[Array], x: Array, state: tuple[Array, ...]) -> Any:
    return step(x, state, *weights)


def _states(stack: RecurrentStack, x: Array, lengths: NDArray[np.int64], hidden_size: int) -> Array:
    for directions in stack.layers:
        state = reference.zeros(len(x), hidden_size, x.dtype, parts=1 + isinstance(directions[0], nn.LSTM))
        steps = [_step(layer) for layer in directions]
        x = (
            reference.run_both_ways(*steps, x, lengths, state)
            if len(steps) == 2
            else reference.run(*steps, x, lengths, state)
        )
    return x


def _pooled(states: Array, lengths: NDArray[np.int64], pooling: str, *, bidirectional: bool) -> Array:
    if pooling == "last" and bidirectional:
        half = states.shape[-1] // 2
        return np.concatenate([reference.last_state(states[..., :half], lengths), states[:, 0, half:]], axis=-1)
    parts = {"last": reference.last_state, "mean": reference.mean_pool, "max": reference.max_pool}
    return np.concatenate([parts[part](states, lengths) for part in pooling.split("+")], axis=-1)


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "mean+max"])
@pytest.mark.parametrize(("bidirectional", "num_layers"), [(False, 1), (True, 1), (True, 2)])
@pytest.mark.parametrize("name", ["torch-rnn", "lstm", "gru", "min-gru"])
@given(lengths=LENGTHS, seed=st.integers(0, 99))
@settings(max_examples=8, deadline=None)
def test_recurrent_encoders_compute_the_reference(
    name: str, bidirectional: bool, num_layers: int, pooling: str, lengths: list[int], seed: int
) -> None:
    torch.manual_seed(seed)
    options = {"hidden_size": 4, "bidirectional": bidirectional, "num_layers": num_layers, "pooling": pooling}
    encoder: Encoder = registry.encoders.get(name)(3, **options).double().eval()
    x, sizes = torch.randn(len(lengths), max(lengths) + 1, 3, dtype=torch.float64), torch.tensor(lengths)
    states = _states(encoder.recurrence, x.numpy(), sizes.numpy(), 4)  # type: ignore[arg-type]
    expected = _pooled(states, sizes.numpy(), pooling, bidirectional=bidirectional)
    np.testing.assert_allclose(encoder(x, sizes).detach().numpy(), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(encoder(x, sizes).detach().numpy(), expected, rtol=0, atol=1e-12)
    single = encoder.float()(x.float(), sizes).detach().numpy()
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-6)


@given(lengths=LENGTHS, pooling=st.sampled_from(["mean", "max", "mean+max"]), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_the_tutorials_encoder_computes_the_reference(lengths: list[int], pooling: str, seed: int) -> None:
    torch.manual_seed(seed)
    encoder = registry.encoders.get("bilstm")(3, hidden_size=4, projection_size=5, pooling=pooling).double().eval()
    x, sizes = torch.randn(len(lengths), max(lengths), 3, dtype=torch.float64), torch.tensor(lengths)
    states = _states(encoder.recurrence, x.numpy(), sizes.numpy(), 4)
    weight, bias = (parameter.detach().numpy() for parameter in encoder.projection.parameters())
    projected = np.maximum(states @ weight.T + bias, 0)
    expected = _pooled(projected, sizes.numpy(), pooling, bidirectional=False)
    np.testing.assert_allclose(encoder(x, sizes).detach().numpy(), expected, rtol=0, atol=1e-12)


def test_golden_step_of_the_lstm() -> None:
    # All weights 0 but for the biases i = f = o = 0 (gates half open) and g = 1; the carry before is 2:
    # c = 0.5 * 2 + 0.5 * tanh(1) = 1.38079708; h = 0.5 * tanh(c) = 0.44058498.
    b = np.array([0.0, 0.0, 1.0, 0.0])
    zero = np.zeros((1, 1))
    h, c = reference.lstm_step(zero, (zero, np.array([[2.0]])), np.zeros((4, 1)), np.zeros((4, 1)), b)
    assert c.item() == pytest.approx(1 + 0.5 * np.tanh(1))
    assert h.item() == pytest.approx(0.5 * np.tanh(1 + 0.5 * np.tanh(1)))


def test_golden_step_of_the_gru() -> None:
    # Gates half open, candidate tanh(1 + 0.5 * 4) = tanh(3), state before 3: h = 0.5 * tanh(3) + 0.5 * 3.
    (h,) = reference.gru_step(
        np.zeros((1, 1)),
        (np.array([[3.0]]),),
        np.zeros((3, 1)),
        np.zeros((3, 1)),
        np.array([0.0, 0, 1]),
        np.array([0.0, 0, 4]),
    )
    assert h.item() == pytest.approx(0.5 * np.tanh(3) + 1.5)


def test_the_sigmoid_does_not_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        values = reference.sigmoid(np.array([-1e4, -1.0, 0.0, 1.0, 1e4]))
    np.testing.assert_allclose(values, [0, 1 / (1 + np.e), 0.5, np.e / (1 + np.e), 1])


@given(steps=st.integers(1, 40), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_both_ways_to_scan_are_the_loop(steps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    decay = torch.rand(2, steps, 3, generator=generator, dtype=torch.float64)
    inputs = torch.randn(2, steps, 3, generator=generator, dtype=torch.float64)
    state, expected = torch.zeros(2, 3, dtype=torch.float64), []
    for t in range(steps):
        state = decay[:, t] * state + inputs[:, t]
        expected.append(state)
    for scan in (scan_by_steps, scan_by_doubling):
        assert torch.allclose(scan(decay, inputs), torch.stack(expected, dim=1), rtol=0, atol=1e-12)


def test_a_scan_has_the_gradient_of_finite_differences() -> None:
    decay = torch.rand(2, 5, 2, dtype=torch.float64, requires_grad=True)
    inputs = torch.randn(2, 5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(linear_scan, (decay, inputs))


def test_a_long_scan_neither_overflows_nor_drifts() -> None:
    # Closed gates for 10,000 steps: the state is the first input. A scan by logarithms of sums would lose digits here.
    decay, inputs = torch.ones(1, 10_000, 1), torch.zeros(1, 10_000, 1)
    inputs[0, 0] = 0.1
    for scan in (scan_by_steps, scan_by_doubling):
        assert scan(decay, inputs)[0, -1, 0].item() == pytest.approx(0.1, rel=1e-7)
