from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqcls.model.encoders.bilstm import BiLSTMMeanPool
from seqcls.model.encoders.lstm import LSTM
from seqcls.model.encoders.masking import Pool, SequenceReversal
from seqcls.model.encoders.recurrent import RecurrentStack
from seqcls.model.encoders.torch_rnn import TorchRNN

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def padded_states(stack: RecurrentStack, x: Tensor, lengths: Tensor) -> Tensor:
    """Return the states [B, T, H], however they were computed."""
    states, packing = stack(x, lengths)
    return states if packing is None else packing.unpack(states)


def _copy_weights(stack: RecurrentStack, reference: nn.RNNBase) -> None:
    """Give torch's module the weights of ours: layer by layer, its reverse direction from our second one."""
    with torch.no_grad():
        for number, directions in enumerate(stack.layers):
            for direction, suffix in zip(directions, ("", "_reverse"), strict=False):
                for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    ours = getattr(direction, f"{kind}_l0")
                    getattr(reference, f"{kind}_l{number}{suffix}").copy_(ours)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.RNN])
@settings(max_examples=15, deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 99))
def test_states_and_gradients_are_those_of_torch_on_packed_sequences(
    kind: type[nn.RNNBase], layers: int, lengths: list[int], seed: int
) -> None:
    torch.manual_seed(seed)
    encoder_class = LSTM if kind is nn.LSTM else TorchRNN
    encoder = encoder_class(3, hidden_size=4, num_layers=layers, bidirectional=True).double()
    reference = kind(3, 4, num_layers=layers, bidirectional=True, batch_first=True).double()
    _copy_weights(encoder.recurrence, reference)
    x = torch.randn(len(lengths), max(lengths), 3, dtype=torch.float64, requires_grad=True)
    sizes = torch.tensor(lengths)
    states = padded_states(encoder.recurrence, x, sizes)
    packed, _ = reference(pack_padded_sequence(x, sizes, batch_first=True, enforce_sorted=False))
    expected, _ = pad_packed_sequence(packed, batch_first=True)
    real = (torch.arange(max(lengths)) < sizes.unsqueeze(1)).unsqueeze(-1)
    weights = torch.randn_like(expected) * real
    assert torch.allclose(states * real, expected * real, atol=1e-12)
    ours = torch.autograd.grad((states * weights).sum(), x)[0]
    theirs = torch.autograd.grad((expected * weights).sum(), x)[0]
    assert torch.allclose(ours, theirs, atol=1e-12)


@given(lengths=LENGTHS, seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_pooling_is_that_of_a_loop_over_sequences(lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(len(lengths), max(lengths), 3))
    for row, length in enumerate(lengths):
        x[row, length:] = 1e30  # padding holds anything
    expected = {
        "last": [x[row, length - 1] for row, length in enumerate(lengths)],
        "mean": [x[row, :length].mean(axis=0) for row, length in enumerate(lengths)],
        "max": [x[row, :length].max(axis=0) for row, length in enumerate(lengths)],
    }
    expected["mean+max"] = [np.concatenate(pair) for pair in zip(expected["mean"], expected["max"], strict=True)]
    for pooling, rows in expected.items():
        pooled = Pool(3, pooling)(torch.from_numpy(x), torch.tensor(lengths))  # type: ignore[arg-type]
        np.testing.assert_allclose(pooled.numpy(), np.stack(rows), atol=1e-12)


def test_reversal_turns_each_sequence_within_its_length() -> None:
    x = torch.tensor([[1, 2, 3, 9], [1, 9, 9, 9], [1, 2, 3, 4]]).unsqueeze(-1)
    turned = SequenceReversal(torch.tensor([3, 1, 4]), 4, x.device)(x)
    assert turned.squeeze(-1).tolist() == [[3, 2, 1, 9], [1, 9, 9, 9], [4, 3, 2, 1]]


def test_reversal_has_the_right_gradient() -> None:
    reverse = SequenceReversal(torch.tensor([3, 1]), 4, torch.device("cpu"))
    x = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(reverse, (x,))
    assert torch.equal(reverse(reverse(x)), x)


def test_the_tutorials_network_is_its_plain_torch_code_where_nothing_is_padded() -> None:
    encoder = BiLSTMMeanPool(5, hidden_size=4, projection_size=3).double().eval()
    reference = nn.LSTM(5, 4, num_layers=2, bidirectional=True, batch_first=True).double()
    _copy_weights(encoder.recurrence, reference)
    x = torch.randn(6, 7, 5, dtype=torch.float64)
    expected = encoder.projection(reference(x)[0]).relu().mean(dim=1)
    assert torch.allclose(encoder(x, torch.full((6,), 7)), expected, atol=1e-12)


def test_the_last_state_of_the_backward_direction_is_the_one_at_the_first_step() -> None:
    encoder = LSTM(2, hidden_size=3, bidirectional=True, pooling="last")
    lengths = torch.tensor([2, 4])
    states = padded_states(encoder.recurrence, torch.ones(2, 4, 2), lengths)
    pooled = encoder.pool(states, lengths)
    assert torch.equal(pooled[:, :3], torch.stack([states[0, 1, :3], states[1, 3, :3]]))
    assert torch.equal(pooled[:, 3:], states[:, 0, 3:])


def test_orthogonal_initialization_is_orthogonal_a_gate_with_open_forget_gates() -> None:
    layer = LSTM(6, hidden_size=5).recurrence.layers[0][0]
    for gate in layer.weight_hh_l0.split(5):
        assert torch.allclose(gate @ gate.T, torch.eye(5), atol=1e-5)
    assert (layer.bias_ih_l0 + layer.bias_hh_l0).split(5)[1].tolist() == [1.0] * 5  # the order of gates is i, f, g, o
    assert layer.bias_ih_l0.sum() == 5


def test_dropout_acts_between_layers_in_training_only() -> None:
    torch.manual_seed(0)
    encoder = LSTM(2, hidden_size=8, num_layers=2, dropout=0.5)
    x, lengths = torch.randn(3, 4, 2), torch.tensor([4, 4, 4])
    assert not torch.equal(encoder(x, lengths), encoder(x, lengths))
    encoder.eval()
    assert torch.equal(encoder(x, lengths), encoder(x, lengths))
