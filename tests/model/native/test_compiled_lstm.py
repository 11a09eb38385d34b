"""Compiled LSTM layers, compared with PyTorch's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lstm_paths import COMPILED_PATHS, take, weights_of
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqcls.model.encoders.lstm import LSTM
from seqcls.model.native import lstm as compiled_lstm
from seqcls.model.native.lstm import lstm_layer
from seqcls.model.native.packing import Packing


def _real(lengths: Tensor, x: Tensor) -> Tensor:
    return (torch.arange(x.shape[1]) < lengths.unsqueeze(1)).unsqueeze(-1)


@pytest.mark.parametrize("name", COMPILED_PATHS)
@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=15),
    input_size=st.integers(1, 20),
    hidden_size=st.integers(1, 40),
    bidirectional=st.booleans(),
    threads=st.sampled_from([1, 2, 5]),
    is_double=st.booleans(),
    seed=st.integers(0, 99),
)
def test_states_and_gradients_are_those_of_torch(
    name: str,
    lengths: list[int],
    input_size: int,
    hidden_size: int,
    bidirectional: bool,
    threads: int,
    is_double: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    dtype, tolerance = (torch.float64, 1e-12) if is_double else (torch.float32, 1e-5)
    reference = nn.LSTM(input_size, hidden_size, bidirectional=bidirectional, batch_first=True, dtype=dtype)
    sizes = torch.tensor(lengths)
    x = torch.randn(len(lengths), max(lengths), input_size, dtype=dtype, requires_grad=True)
    packed, _ = reference(pack_padded_sequence(x, sizes, batch_first=True, enforce_sorted=False))
    expected, _ = pad_packed_sequence(packed, batch_first=True)
    outside = torch.randn_like(expected) * _real(sizes, expected)
    expected_gradients = torch.autograd.grad((expected * outside).sum(), [x, *reference.parameters()])
    with pytest.MonkeyPatch.context() as patch:
        take(name, patch)
        patch.setattr(torch, "get_num_threads", lambda: threads)
        packing = Packing(sizes, max(lengths))
        states = packing.unpack(lstm_layer(packing.pack(x), packing, weights_of(reference)))
        gradients = torch.autograd.grad((states * outside).sum(), [x, *reference.parameters()])
    assert torch.allclose(states, expected, atol=tolerance)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        assert torch.allclose(ours, theirs, atol=tolerance * len(lengths), rtol=tolerance)


def test_gradients_are_those_of_small_differences(path: str) -> None:
    torch.manual_seed(0)
    layer = nn.LSTM(3, 5, bidirectional=True, dtype=torch.float64)
    x = torch.randn(3, 4, 3, dtype=torch.float64, requires_grad=True)
    packing = Packing(torch.tensor([2, 4, 1]), 4)

    def run(x: Tensor, *weights: Tensor) -> Tensor:
        return lstm_layer(packing.pack(x), packing, [weights[:4], weights[4:]])

    assert torch.autograd.gradcheck(run, (x, *layer.parameters()))


def test_a_row_does_not_depend_on_the_rows_beside_it_to_the_last_bit(path: str) -> None:
    torch.manual_seed(0)
    encoder = LSTM(7, hidden_size=20, num_layers=2, bidirectional=True).eval()
    lengths = torch.randint(1, 12, (17,))
    x = torch.randn(17, 11, 7)
    together = encoder(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        assert torch.equal(encoder(x[row : row + 1, :length], lengths[row : row + 1]), together[row : row + 1])


@pytest.mark.parametrize("name", COMPILED_PATHS)
@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    rows=st.integers(1, 250),
    input_size=st.integers(1, 20),
    hidden_size=st.integers(1, 40),
    threads=st.sampled_from([1, 2, 5]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_rows_named_by_an_index_give_what_they_give_one_by_one_to_the_last_bit(
    name: str, lengths: list[int], rows: int, input_size: int, hidden_size: int, threads: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    layer = nn.LSTM(input_size, hidden_size, bidirectional=True, dtype=dtype)
    packing, x = Packing(torch.tensor(lengths), max(lengths)), torch.randn(rows, input_size, dtype=dtype)
    index = torch.randint(rows, (int(packing.starts[-1]),))
    with pytest.MonkeyPatch.context() as patch:
        take(name, patch)
        patch.setattr(torch, "get_num_threads", lambda: threads)
        patch.setattr(compiled_lstm, "_TILED_SEQUENCES", 1 << 30)  # tiles would have other bits
        with_gradient = lstm_layer(x.clone().requires_grad_(), packing, weights_of(layer), index)
        with torch.no_grad():
            assert torch.equal(lstm_layer(x, packing, weights_of(layer), index), with_gradient)
            for few in (0, 100):  # products in the time loop, or all before it
                patch.setattr(compiled_lstm, "_FEW_SEQUENCES", few)
                assert torch.equal(lstm_layer(x[index], packing, weights_of(layer)), with_gradient)


def test_functions_of_large_and_strange_values_end_where_they_should(path: str) -> None:
    layer = nn.LSTM(1, 1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(1.0)
    packing = Packing(torch.tensor([1]), 1)
    for value in (0.0, 1e-30, -1e-30, 0.3, 5.0, 8.9, 9.1, 88.0, -3.0, -100.0, 1e30, -1e30, float("inf"), -float("inf")):
        x = torch.full((1, 1, 1), value)
        expected, _ = layer(x)
        assert torch.allclose(lstm_layer(packing.pack(x), packing, weights_of(layer)), expected[0], atol=1e-6), value
    assert lstm_layer(torch.full((1, 1), float("nan")), packing, weights_of(layer)).isnan().all()


def test_the_tangent_is_that_of_torch_within_a_few_roundings(path: str) -> None:
    # With all gates but g open wide and no state before, the cell is tanh of the input: i = sigmoid(100) = 1.
    layer = nn.LSTM(1, 1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.weight_ih_l0[2] = 1.0
        layer.bias_ih_l0[[0, 3]] = 100.0
    x = torch.linspace(-10, 10, 4001).view(-1, 1, 1)
    packing = Packing(torch.ones(4001, dtype=torch.int64), 1)
    states = packing.unpack(lstm_layer(packing.pack(x), packing, weights_of(layer))).flatten()
    assert (states.double() - x.flatten().double().tanh().tanh()).abs().max() < 5e-7


def test_a_gradient_that_is_not_contiguous_is_read_rightly(path: str) -> None:
    torch.manual_seed(0)
    layer, packing = nn.LSTM(3, 4, bidirectional=True), Packing(torch.tensor([5, 2]), 5)
    x = torch.randn(7, 3, requires_grad=True)
    states = lstm_layer(x, packing, weights_of(layer))
    outside = torch.randn(8, 7)
    ours = torch.autograd.grad(states, x, outside.T, retain_graph=True)[0]
    assert torch.equal(ours, torch.autograd.grad(states, x, outside.T.contiguous())[0])


def test_second_derivatives_are_refused_not_wrong(path: str) -> None:
    encoder, lengths = LSTM(3, hidden_size=4), torch.tensor([5, 2])
    x = torch.randn(2, 5, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="SEQCLS_NATIVE=0"):
        torch.autograd.grad(encoder(x, lengths).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="SEQCLS_NATIVE=0"):
        torch.autograd.functional.hvp(lambda x: encoder(x, lengths).sum(), x, torch.ones_like(x))


def test_weights_of_wrong_shapes_are_refused_not_read_beyond_their_end(path: str) -> None:
    packing, x = Packing(torch.tensor([2]), 2), torch.randn(2, 3)
    for wrong in ([nn.LSTM(3, 4), nn.LSTM(3, 5)], [nn.LSTM(2, 4)], [nn.LSTM(3, 4, bias=False)] * 2):
        with pytest.raises(ValueError, match="shapes"):
            lstm_layer(x, packing, [list(layer.parameters()) for layer in wrong])


def test_frozen_weights_and_inputs_get_no_gradient(path: str) -> None:
    encoder = LSTM(3, hidden_size=4)
    layer = encoder.recurrence.layers[0][0]
    layer.weight_hh_l0.requires_grad_(False)
    encoder(torch.randn(2, 3, 3), torch.tensor([3, 1])).sum().backward()
    assert layer.weight_hh_l0.grad is None
    assert layer.weight_ih_l0.grad.abs().sum() > 0
