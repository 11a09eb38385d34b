from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqcls.errors import DeviceError
from seqcls.model.encoders.numpy_rnn import simple_rnn, simple_rnn_batch
from seqcls.model.encoders.numpy_simple_rnn import NumpySimpleRNN
from seqcls.model.encoders.torch_rnn import TorchRNN

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def _reference(encoder: NumpySimpleRNN) -> nn.RNN:
    """torch's network with the weights of ours; its second bias, which adds nothing, stays zero."""
    hidden_size, input_size = encoder.W.shape
    reference = nn.RNN(input_size, hidden_size, batch_first=True).to(encoder.W.dtype)
    with torch.no_grad():
        reference.weight_ih_l0.copy_(encoder.W)
        reference.weight_hh_l0.copy_(encoder.U)
        reference.bias_ih_l0.copy_(encoder.b)
        reference.bias_hh_l0.zero_()
    return reference


def _encoder(input_size: int, hidden_size: int, seed: int) -> NumpySimpleRNN:
    torch.manual_seed(seed)
    encoder = NumpySimpleRNN(input_size, hidden_size=hidden_size).double()
    nn.init.normal_(encoder.b)
    return encoder


def test_the_module_of_the_arithmetic_imports_no_torch() -> None:
    code = "import sys, seqcls.model.encoders.numpy_rnn; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_golden_states_of_the_loop() -> None:
    # One feature, one state, W = 1, U = -2, b = 0.5: tanh(0 + 0.5) = 0.46211716, then tanh(1 - 0.92423431 + 0.5) =
    # tanh(0.57576568) = 0.51958103.
    states = simple_rnn(np.array([[0.0], [1.0]]), np.array([[1.0]]), np.array([[-2.0]]), np.array([0.5]))
    np.testing.assert_allclose(states, [[0.46211716], [0.51958103]], atol=1e-7)


@given(lengths=LENGTHS, sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_a_batch_is_the_loop_over_each_sequence_whatever_is_in_the_padding(
    lengths: list[int], sizes: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    (D, H), B, T = sizes, len(lengths), max(lengths) + 2
    x = np.full((B, T, D), np.nan)
    for row, length in enumerate(lengths):
        x[row, :length] = rng.normal(size=(length, D))
    W, U, b = rng.normal(size=(H, D)), rng.normal(size=(H, H)), rng.normal(size=H)
    states = simple_rnn_batch(x, np.array(lengths), W, U, b)
    assert states.shape == (T, B, H)
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(states[:length, row], simple_rnn(x[row, :length], W, U, b), atol=1e-13)
        assert (states[length:, row] == states[length - 1, row]).all()


@given(lengths=LENGTHS, sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_states_and_all_gradients_are_those_of_torch(lengths: list[int], sizes: tuple[int, int], seed: int) -> None:
    encoder = _encoder(*sizes, seed)
    reference = _reference(encoder)
    inputs = torch.randn(len(lengths), max(lengths), sizes[0], dtype=torch.float64)
    weights = torch.randn(len(lengths), sizes[1], dtype=torch.float64)
    x, theirs_x = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    for pooling in ("last", "mean", "max"):
        encoder.pool.pooling = pooling  # type: ignore[assignment]
        ours = encoder(x, torch.tensor(lengths))
        theirs = _pooled(reference, theirs_x, lengths, pooling)
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)
        our_gradients = torch.autograd.grad((ours * weights).sum(), [x, *encoder.parameters()])
        their_inputs = [theirs_x, reference.weight_ih_l0, reference.weight_hh_l0, reference.bias_ih_l0]
        their_gradients = torch.autograd.grad((theirs * weights).sum(), their_inputs)
        for ours_, theirs_ in zip(our_gradients, their_gradients, strict=True):
            assert torch.allclose(ours_, theirs_, rtol=0, atol=1e-10)


def _pooled(reference: nn.RNN, x: Tensor, lengths: list[int], pooling: str) -> Tensor:
    packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    states, _ = pad_packed_sequence(reference(packed)[0], batch_first=True)
    rows = [states[row, :length] for row, length in enumerate(lengths)]
    reduce = {"last": lambda row: row[-1], "mean": lambda row: row.mean(0), "max": lambda row: row.amax(0)}[pooling]
    return torch.stack([reduce(row) for row in rows])


@pytest.mark.parametrize("lengths", [[1], [4, 4], [3, 1, 5]])
def test_gradients_are_those_of_finite_differences(lengths: list[int]) -> None:
    encoder = _encoder(2, 3, seed=0)
    encoder.pool.pooling = "mean"
    x = torch.randn(len(lengths), max(lengths), 2, dtype=torch.float64, requires_grad=True)
    parameters = list(encoder.parameters())

    def run(x: Tensor, W: Tensor, U: Tensor, b: Tensor) -> Tensor:
        named = {"W": W, "U": U, "b": b}
        result: Tensor = torch.func.functional_call(encoder, named, (x, torch.tensor(lengths)))
        return result

    assert torch.autograd.gradcheck(run, (x, *parameters))


def test_what_stands_in_the_padding_reaches_no_gradient() -> None:
    encoder = _encoder(2, 3, seed=0)
    x = torch.randn(2, 4, 2, dtype=torch.float64)
    x[0, 2:] = float("nan")
    x.requires_grad_()
    gradients = torch.autograd.grad(encoder(x, torch.tensor([2, 4])).sum(), [x, *encoder.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert not gradients[0][0, 2:].any()


def test_two_hundred_steps_of_training_follow_torch() -> None:
    encoder = _encoder(4, 8, seed=0).float()
    peer = TorchRNN(4, hidden_size=8)
    peer.recurrence.layers[0][0].load_state_dict(_reference(encoder).state_dict())  # type: ignore[index, union-attr]
    peer.recurrence.layers[0][0].bias_hh_l0.requires_grad_(False)  # type: ignore[index, union-attr]
    torch.manual_seed(1)
    head = nn.Linear(8, 2)
    losses = []
    for model in (encoder, peer):
        head_copy = nn.Linear(8, 2)
        head_copy.load_state_dict(head.state_dict())
        trained = [*head_copy.parameters(), *(p for p in model.parameters() if p.requires_grad)]
        optimizer = torch.optim.Adam(trained, lr=0.01)
        losses.append([_train_step(model, head_copy, optimizer, seed) for seed in range(200)])
    ours, theirs = map(np.array, losses)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
    assert ours[-20:].mean() < 0.5 * ours[:20].mean()  # it learns: the label is whether the first feature sums above zero


def _train_step(model: nn.Module, head: nn.Linear, optimizer: torch.optim.Optimizer, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 8, (32,), generator=generator)
    x = torch.randn(32, 8, 4, generator=generator)
    real = torch.arange(8) < lengths[:, None]
    loss = F.cross_entropy(head(model(x, lengths)), ((x[..., 0] * real).sum(1) > 0).long())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def test_weights_are_shared_and_not_copied() -> None:
    encoder = NumpySimpleRNN(3, hidden_size=2)
    x, lengths = torch.randn(1, 4, 3), torch.tensor([4])
    before = encoder(x, lengths)
    with torch.no_grad():
        encoder.W.zero_()
        encoder.b.fill_(0.5)
    after = encoder(x, lengths)
    assert not torch.equal(before, after)
    assert torch.equal(after, NumpySimpleRNN.forward(encoder, x * 0, lengths))  # W reads nothing any more


def test_another_device_is_refused() -> None:
    encoder = NumpySimpleRNN(3)
    with pytest.raises(DeviceError, match="runs on cpu, not on meta"):
        encoder.to("meta")(torch.zeros(1, 2, 3, device="meta"), torch.tensor([2]))
    with pytest.raises(DeviceError, match="runs on cpu, not on cuda"):
        encoder.check_device(torch.device("cuda"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_precisions_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match="float32 or float64"):
        NumpySimpleRNN(3).to(dtype)(torch.zeros(1, 2, 3, dtype=dtype), torch.tensor([2]))
