"""Memory of compiled LSTM layers: no pass reads another's, and it stays bounded."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from lstm_paths import weights_of
from torch import Tensor, nn

from seqcls.model.encoders.lstm import LSTM
from seqcls.model.native import buffers
from seqcls.model.native import lstm as compiled_lstm
from seqcls.model.native.lstm import lstm_layer
from seqcls.model.native.packing import Packing


def test_a_second_backward_pass_over_a_retained_graph_gives_the_same(path: str) -> None:
    torch.manual_seed(0)
    layer, packing = nn.LSTM(3, 4), Packing(torch.tensor([5, 2]), 5)
    x = torch.randn(7, 3, requires_grad=True)
    total = lstm_layer(x, packing, weights_of(layer)).square().sum()
    first = torch.autograd.grad(total, [x, *layer.parameters()], retain_graph=True)
    second = torch.autograd.grad(total, [x, *layer.parameters()])
    assert all(map(torch.equal, first, second))


def test_gradients_of_several_passes_add_up(path: str) -> None:
    torch.manual_seed(0)
    layer, packing = nn.LSTM(3, 4, bidirectional=True), Packing(torch.tensor([5, 2]), 5)
    inputs, sums = [torch.randn(7, 3) for _ in range(3)], [torch.zeros_like(p) for p in layer.parameters()]
    for x in inputs:
        gradients = torch.autograd.grad(lstm_layer(x, packing, weights_of(layer)).square().sum(), layer.parameters())
        sums = [total + gradient for total, gradient in zip(sums, gradients, strict=True)]
        lstm_layer(x, packing, weights_of(layer)).square().sum().backward()
    torch.nn.utils.clip_grad_norm_(layer.parameters(), 1e9)  # in place, and changes nothing
    for parameter, total in zip(layer.parameters(), sums, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, total, atol=1e-6)


def test_passes_that_overlap_do_not_share_memory(path: str) -> None:
    torch.manual_seed(0)
    layer, packing = nn.LSTM(3, 4), Packing(torch.tensor([5, 2]), 5)
    inputs = [torch.randn(7, 3, requires_grad=True) for _ in range(4)]

    def gradient(x: Tensor) -> Tensor:
        return torch.autograd.grad(lstm_layer(x, packing, weights_of(layer)).square().sum(), x)[0]

    alone = [gradient(x) for x in inputs]
    totals = [lstm_layer(x, packing, weights_of(layer)).square().sum() for x in inputs]
    together = [torch.autograd.grad(total, x)[0] for total, x in reversed(list(zip(totals, inputs, strict=True)))]
    assert all(map(torch.equal, alone, reversed(together)))


def test_passes_in_several_threads_do_not_share_memory(path: str) -> None:
    torch.manual_seed(0)
    layer = nn.LSTM(3, 8)
    packings = [Packing(torch.tensor([length, 2]), length) for length in (5, 40, 90, 20)]
    inputs = [torch.randn(int(packing.starts[-1]), 3, requires_grad=True) for packing in packings]

    def gradient(number: int) -> Tensor:
        states = lstm_layer(inputs[number], packings[number], weights_of(layer))
        return torch.autograd.grad(states.square().sum(), inputs[number])[0]

    alone = [gradient(number) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(gradient, list(range(4)) * 25))
    assert all(torch.equal(gradient, alone[number % 4]) for number, gradient in enumerate(together))


def test_memory_kept_for_the_next_step_does_not_grow(path: str) -> None:
    layer, packing = nn.LSTM(3, 4), Packing(torch.tensor([5, 2]), 5)
    for _ in range(20):
        lstm_layer(torch.randn(7, 3), packing, weights_of(layer)).sum().backward()
    gc.collect()
    assert len(buffers._spare) <= buffers._MOST_SPARE


def test_predicting_keeps_no_gates(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "take", lambda *_, **__: pytest.fail("gates are for a backward pass"))
    encoder = LSTM(3, hidden_size=4, num_layers=2)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert encoder(torch.randn(2, 3, 3), torch.tensor([3, 1])).isfinite().all()
    frozen = encoder.requires_grad_(False)
    assert not frozen(torch.randn(2, 3, 3), torch.tensor([3, 1])).requires_grad


def test_gradients_that_would_take_too_much_memory_come_from_fewer_blocks(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layer, packing = nn.LSTM(3, 4), Packing(torch.tensor([5, 4, 4, 2]), 5)
    x = torch.randn(15, 3, requires_grad=True)
    gradients = []
    for most in (0, 1 << 30):
        monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
        monkeypatch.setattr(compiled_lstm, "_MOST_GRADIENT_BYTES", most)
        gradients.append(
            torch.autograd.grad(lstm_layer(x, packing, weights_of(layer)).square().sum(), [x, *layer.parameters()])
        )
    assert all(torch.allclose(first, second, atol=1e-6) for first, second in zip(*gradients, strict=True))
