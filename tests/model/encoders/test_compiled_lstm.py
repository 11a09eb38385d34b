"""LSTM layers in compiled code, beside PyTorch's."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lstm_paths import PATHS, take
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqcls.model.encoders.lstm import LSTM
from seqcls.model.native import library as native
from seqcls.model.native import lstm as compiled_lstm
from seqcls.model.native.lstm import Packing, lstm_layer

COMPILED = PATHS[1:]


@pytest.fixture(params=COMPILED)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    take(request.param, monkeypatch)
    return str(request.param)


def _weights(layer: nn.LSTM) -> list[list[Tensor]]:
    all_of_them = list(layer.parameters())
    return [all_of_them[start : start + 4] for start in range(0, len(all_of_them), 4)]


def _real(lengths: Tensor, x: Tensor) -> Tensor:
    return (torch.arange(x.shape[1]) < lengths.unsqueeze(1)).unsqueeze(-1)


@pytest.mark.parametrize("name", COMPILED)
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
    wanted = torch.autograd.grad((expected * outside).sum(), [x, *reference.parameters()])
    with pytest.MonkeyPatch.context() as patch:
        take(name, patch)
        patch.setattr(torch, "get_num_threads", lambda: threads)
        packing = Packing(sizes, max(lengths))
        states = packing.unpack(lstm_layer(packing.pack(x), packing, _weights(reference)))
        found = torch.autograd.grad((states * outside).sum(), [x, *reference.parameters()])
    assert torch.allclose(states, expected, atol=tolerance)
    for ours, theirs in zip(found, wanted, strict=True):
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


@pytest.mark.parametrize("name", COMPILED)
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
        patch.setattr(compiled_lstm, "_TILED", 1 << 30)  # tiles would have other bits
        with_gradient = lstm_layer(x.clone().requires_grad_(), packing, _weights(layer), index)
        with torch.no_grad():
            assert torch.equal(lstm_layer(x, packing, _weights(layer), index), with_gradient)
            for few in (0, 100):  # products in the time loop, or all before it
                patch.setattr(compiled_lstm, "_FEW", few)
                assert torch.equal(lstm_layer(x[index], packing, _weights(layer)), with_gradient)


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let AMX predict from one sequence on; the passes that run are added to the list."""
    take("amx", monkeypatch)
    monkeypatch.setattr(compiled_lstm, "_TILED", 1)
    return _passes(monkeypatch)


def _passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    run = native.Native.run

    def noting(library: native.Native, layer: native.Layer, do: native.Pass, *, dtype: torch.dtype) -> None:
        found.append(do)
        run(library, layer, do, dtype=dtype)

    monkeypatch.setattr(native.Native, "run", noting)
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=40),
    input_size=st.sampled_from([32, 64, 96]),
    hidden_size=st.sampled_from([32, 64, 128]),
    bidirectional=st.booleans(),
    has_index=st.booleans(),
    threads=st.sampled_from([1, 2, 5]),
    scale=st.sampled_from([0.1, 1.0, 10.0]),
    seed=st.integers(0, 99),
)
def test_tiles_predict_what_torch_does_in_double_precision(
    tiles: list[str],
    lengths: list[int],
    input_size: int,
    hidden_size: int,
    bidirectional: bool,
    has_index: bool,
    threads: int,
    scale: float,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    layer = nn.LSTM(input_size, hidden_size, bidirectional=bidirectional, batch_first=True)
    packing = Packing(torch.tensor(lengths), max(lengths))
    x, index = scale * torch.randn(int(packing.starts[-1]), input_size), None
    if has_index:
        index = torch.randint(len(x), (len(x),))
    tiles.clear()
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(torch, "get_num_threads", lambda: threads)
        patch.setattr(compiled_lstm, "_FEW", 0)
        states = packing.unpack(lstm_layer(x, packing, _weights(layer), index))
    assert "tiled forward" in tiles
    padded = packing.unpack(x if index is None else x[index]).double()
    packed = pack_padded_sequence(padded, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(layer.double()(packed)[0], batch_first=True)
    # A factor is off by 2^-17 of itself at most, and so is what is left out of a product: 2e-5 is the most that was found. A
    # product that were missing would be 2^-9 of the whole, a hundred times as much.
    assert torch.allclose(states.double(), expected, atol=5e-5 * max(1, scale))


def test_tiles_of_a_row_do_not_depend_on_the_rows_beside_it_to_the_last_bit(
    tiles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled_lstm, "_FEW", 0)  # of few rows inputs are projected by vectors
    torch.manual_seed(0)
    layer, lengths = nn.LSTM(64, 32, bidirectional=True), torch.randint(1, 12, (37,))
    together, x = Packing(lengths, 11), torch.randn(37, 11, 64)
    with torch.no_grad():
        states = together.unpack(lstm_layer(together.pack(x), together, _weights(layer)))
        for row, length in enumerate(lengths.tolist()):
            alone = Packing(lengths[row : row + 1], length)
            own = lstm_layer(alone.pack(x[row : row + 1, :length]), alone, _weights(layer))
            assert torch.equal(own, states[row, :length])
    assert tiles.count("tiled forward") == 38


def test_tiles_keep_strange_values_to_their_own_sequence(tiles: list[str]) -> None:
    torch.manual_seed(0)
    layer, packing = nn.LSTM(32, 32, bidirectional=True), Packing(torch.full((20,), 3), 3)
    x = torch.randn(20, 3, 32)
    with torch.no_grad():
        usual = packing.unpack(lstm_layer(packing.pack(x), packing, _weights(layer)))
        for row, value in enumerate((float("nan"), float("inf"), -float("inf"), 3e38, 1e-40)):
            x[row, 1, 5] = value
        found = packing.unpack(lstm_layer(packing.pack(x), packing, _weights(layer)))
    assert tiles.count("tiled forward") == 2
    assert torch.equal(found[5:], usual[5:])
    assert found[0, 1:, :32].isnan().all()
    assert found[1:].isfinite().all()
    assert found[1:].abs().max() <= 1


def test_tiles_are_for_predictions_in_single_precision_of_sizes_that_fill_them(monkeypatch: pytest.MonkeyPatch) -> None:
    take("amx", monkeypatch)
    passes = _passes(monkeypatch)

    def is_tiled(rows: int, size: int, *, dtype: torch.dtype = torch.float32, has_gradient: bool = False) -> bool:
        passes.clear()
        packing = Packing(torch.full((rows,), 3), 3)
        with torch.set_grad_enabled(has_gradient):
            lstm_layer(torch.randn(3 * rows, size, dtype=dtype), packing, _weights(nn.LSTM(size, size, dtype=dtype)))
        return "tiled forward" in passes

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert is_tiled(16, 32)
    assert not is_tiled(15, 32)  # less than eight a thread
    assert not is_tiled(16, 33)
    assert not is_tiled(16, 32, dtype=torch.float64)
    assert not is_tiled(16, 32, has_gradient=True)


def test_functions_of_large_and_strange_values_end_where_they_should(path: str) -> None:
    layer = nn.LSTM(1, 1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(1.0)
    packing = Packing(torch.tensor([1]), 1)
    for value in (0.0, 1e-30, -1e-30, 0.3, 5.0, 8.9, 9.1, 88.0, -3.0, -100.0, 1e30, -1e30, float("inf"), -float("inf")):
        x = torch.full((1, 1, 1), value)
        found, _ = layer(x)
        assert torch.allclose(lstm_layer(packing.pack(x), packing, _weights(layer)), found[0], atol=1e-6), value
    assert lstm_layer(torch.full((1, 1), float("nan")), packing, _weights(layer)).isnan().all()


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
    found = packing.unpack(lstm_layer(packing.pack(x), packing, _weights(layer))).flatten()
    assert (found.double() - x.flatten().double().tanh().tanh()).abs().max() < 5e-7


def test_a_second_backward_pass_over_a_retained_graph_gives_the_same(path: str) -> None:
    torch.manual_seed(0)
    layer, packing = nn.LSTM(3, 4), Packing(torch.tensor([5, 2]), 5)
    x = torch.randn(7, 3, requires_grad=True)
    total = lstm_layer(x, packing, _weights(layer)).square().sum()
    first = torch.autograd.grad(total, [x, *layer.parameters()], retain_graph=True)
    second = torch.autograd.grad(total, [x, *layer.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_gradients_of_several_passes_add_up(path: str) -> None:
    torch.manual_seed(0)
    layer, packing = nn.LSTM(3, 4, bidirectional=True), Packing(torch.tensor([5, 2]), 5)
    inputs, sums = [torch.randn(7, 3) for _ in range(3)], [torch.zeros_like(p) for p in layer.parameters()]
    for x in inputs:
        gradients = torch.autograd.grad(lstm_layer(x, packing, _weights(layer)).square().sum(), layer.parameters())
        sums = [total + gradient for total, gradient in zip(sums, gradients, strict=True)]
        lstm_layer(x, packing, _weights(layer)).square().sum().backward()
    torch.nn.utils.clip_grad_norm_(layer.parameters(), 1e9)  # in place, and changes nothing
    for parameter, total in zip(layer.parameters(), sums, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, total, atol=1e-6)


def test_passes_that_overlap_do_not_share_memory(path: str) -> None:
    torch.manual_seed(0)
    layer, packing = nn.LSTM(3, 4), Packing(torch.tensor([5, 2]), 5)
    inputs = [torch.randn(7, 3, requires_grad=True) for _ in range(4)]

    def gradient(x: Tensor) -> Tensor:
        return torch.autograd.grad(lstm_layer(x, packing, _weights(layer)).square().sum(), x)[0]

    alone = [gradient(x) for x in inputs]
    totals = [lstm_layer(x, packing, _weights(layer)).square().sum() for x in inputs]
    together = [torch.autograd.grad(total, x)[0] for total, x in reversed(list(zip(totals, inputs, strict=True)))]
    assert all(torch.equal(one, other) for one, other in zip(alone, reversed(together), strict=True))


def test_passes_in_several_threads_do_not_share_memory(path: str) -> None:
    torch.manual_seed(0)
    layer = nn.LSTM(3, 8)
    packings = [Packing(torch.tensor([length, 2]), length) for length in (5, 40, 90, 20)]
    inputs = [torch.randn(int(packing.starts[-1]), 3, requires_grad=True) for packing in packings]

    def gradient(number: int) -> Tensor:
        states = lstm_layer(inputs[number], packings[number], _weights(layer))
        return torch.autograd.grad(states.square().sum(), inputs[number])[0]

    alone = [gradient(number) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(gradient, list(range(4)) * 25))
    assert all(torch.equal(found, alone[number % 4]) for number, found in enumerate(together))


def test_memory_kept_for_the_next_step_does_not_grow(path: str) -> None:
    layer, packing = nn.LSTM(3, 4), Packing(torch.tensor([5, 2]), 5)
    for _ in range(20):
        lstm_layer(torch.randn(7, 3), packing, _weights(layer)).sum().backward()
    gc.collect()
    assert len(compiled_lstm._spare) <= compiled_lstm._MOST_SPARE


def test_a_gradient_that_is_not_contiguous_is_read_rightly(path: str) -> None:
    torch.manual_seed(0)
    layer, packing = nn.LSTM(3, 4, bidirectional=True), Packing(torch.tensor([5, 2]), 5)
    x = torch.randn(7, 3, requires_grad=True)
    states = lstm_layer(x, packing, _weights(layer))
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


def test_packing_keeps_real_steps_alone_and_gives_them_back(path: str) -> None:
    lengths = torch.tensor([2, 4, 1, 4])
    x = torch.randn(4, 5, 3)
    packing = Packing(lengths, 5)
    packed = packing.pack(x)
    assert packing.starts.tolist() == [0, 4, 7, 9, 11]
    assert torch.equal(packed[:4], x[[1, 3, 0, 2], 0])
    assert torch.equal(packing.unpack(packed), x * _real(lengths, x))


def _is_compiled(encoder: LSTM, x: Tensor) -> bool:
    return compiled_lstm.usable_weights(x, encoder.recurrence.layers) is not None  # type: ignore[arg-type]


@pytest.mark.parametrize("path", PATHS)
def test_autocast_and_other_types_are_left_to_torch(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take(path, monkeypatch)
    encoder, x, lengths = LSTM(3, hidden_size=4), torch.randn(2, 3, 3), torch.tensor([3, 1])
    assert _is_compiled(encoder, x) == (path != "torch")
    assert not _is_compiled(encoder, x.to("meta"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not _is_compiled(encoder, x)
        assert encoder(x, lengths).isfinite().all()
    # Torch says what is wrong; compiled code would read beyond the weights.
    for wrong, changed in ((encoder, x.double()), (encoder, x[:, :, :2]), (LSTM(3, hidden_size=4).double(), x)):
        with pytest.raises((RuntimeError, ValueError)):
            wrong(changed, lengths)


def test_weights_of_wrong_shapes_are_refused_not_read_beyond_their_end(path: str) -> None:
    packing, x = Packing(torch.tensor([2]), 2), torch.randn(2, 3)
    for wrong in ([nn.LSTM(3, 4), nn.LSTM(3, 5)], [nn.LSTM(2, 4)], [nn.LSTM(3, 4, bias=False)] * 2):
        with pytest.raises(ValueError, match="shapes"):
            lstm_layer(x, packing, [list(layer.parameters()) for layer in wrong])


def test_layers_that_do_more_than_their_weights_say_are_left_to_torch(path: str) -> None:
    x, lengths = torch.randn(2, 3, 3), torch.tensor([3, 1])
    pruned, normed, hooked = (LSTM(3, hidden_size=4) for _ in range(3))
    prune.l1_unstructured(pruned.recurrence.layers[0][0], "weight_hh_l0", 0.5)
    weight_norm(normed.recurrence.layers[0][0], "weight_hh_l0")
    calls: list[nn.Module] = []
    hooked.recurrence.layers[0][0].register_forward_hook(lambda module, *_: calls.append(module))
    for encoder in (pruned, normed, hooked):
        assert not _is_compiled(encoder, x)
        assert encoder(x, lengths).isfinite().all()
    assert len(calls) == 1
    huge = LSTM(3, hidden_size=600)  # its weights do not fit the caches
    assert not _is_compiled(huge, x)


def test_predicting_keeps_no_gates(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_lstm, "_take", lambda *_, **__: pytest.fail("gates are for a backward pass"))
    encoder = LSTM(3, hidden_size=4, num_layers=2)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert encoder(torch.randn(2, 3, 3), torch.tensor([3, 1])).isfinite().all()
    frozen = encoder.requires_grad_(False)
    assert not frozen(torch.randn(2, 3, 3), torch.tensor([3, 1])).requires_grad


def test_frozen_weights_and_inputs_get_no_gradient(path: str) -> None:
    encoder = LSTM(3, hidden_size=4)
    layer = encoder.recurrence.layers[0][0]
    layer.weight_hh_l0.requires_grad_(False)
    encoder(torch.randn(2, 3, 3), torch.tensor([3, 1])).sum().backward()
    assert layer.weight_hh_l0.grad is None
    assert layer.weight_ih_l0.grad.abs().sum() > 0


def test_gradients_that_would_take_too_much_memory_come_from_fewer_blocks(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layer, packing = nn.LSTM(3, 4), Packing(torch.tensor([5, 4, 4, 2]), 5)
    x = torch.randn(15, 3, requires_grad=True)
    found = []
    for most in (0, 1 << 30):
        monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
        monkeypatch.setattr(compiled_lstm, "_MOST_FOR_GRADIENTS", most)
        found.append(torch.autograd.grad(lstm_layer(x, packing, _weights(layer)).square().sum(), [x, *layer.parameters()]))
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*found, strict=True))


def test_a_library_of_another_version_is_not_used(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    longer = type("Layer", (ctypes.Structure,), {"_fields_": [("one", ctypes.c_int64)]})
    monkeypatch.setattr(native, "Layer", longer)
    with pytest.raises(OSError, match="install seqcls again"):
        native.load(path)


def _described(switch: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from seqcls.model.native.library import describe; print(describe())"]
    return subprocess.run(command, env={"SEQCLS_NATIVE": switch}, capture_output=True, text=True, check=True)


def test_the_switch_turns_it_off_and_is_told() -> None:
    assert _described("0").stdout.strip() == "PyTorch's own layers: SEQCLS_NATIVE is 0"


def test_the_switch_names_a_library(path: str) -> None:
    assert _described(path).stdout.startswith(f"compiled for {path}")
    wrong = _described("avx1024")
    assert wrong.stdout.strip() == native.describe()
    assert "SEQCLS_NATIVE=avx1024 is no library that runs here; use 0, or one of" in wrong.stderr
    assert path in wrong.stderr


def test_a_library_that_cannot_be_loaded_is_said_once_and_done_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(name: str) -> native.Native:
        raise OSError("invalid ELF header")

    monkeypatch.delenv("SEQCLS_NATIVE", raising=False)
    monkeypatch.setattr(native, "usable", lambda: ("plain",))
    monkeypatch.setattr(native, "load", fail)
    native._best.cache_clear()
    try:
        assert native._best() == (None, "lstm-plain.so cannot be loaded: invalid ELF header")
        assert native._best()[0] is None
        assert [record.message.partition(", ")[2] for record in caplog.records] == [
            "so that LSTMs are slower: invalid ELF header"
        ]
    finally:
        native._best.cache_clear()


def test_denormal_numbers_count_as_zero_in_all_threads_while_it_is_asked_for(path: str) -> None:
    small = torch.full((4_000_000,), 1e-38)

    def kept() -> int:
        return int((small * 0.01).count_nonzero())

    assert kept() == len(small)
    with native.load(path).flushing_denormals():
        assert kept() == 0
    assert kept() == len(small)
