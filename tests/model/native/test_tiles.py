"""Prediction with AMX tiles."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lstm_paths import note_passes, take, weights_of
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqcls.model.native import lstm as compiled_lstm
from seqcls.model.native.lstm import lstm_layer
from seqcls.model.native.packing import Packing


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let AMX predict from one sequence on; the passes that run are added to the list."""
    take("amx", monkeypatch)
    monkeypatch.setattr(compiled_lstm, "_TILED_SEQUENCES", 1)
    return note_passes(monkeypatch)


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
        patch.setattr(compiled_lstm, "_FEW_SEQUENCES", 0)
        states = packing.unpack(lstm_layer(x, packing, weights_of(layer), index))
    assert "tiled forward" in tiles
    padded = packing.unpack(x if index is None else x[index]).double()
    packed = pack_padded_sequence(padded, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(layer.double()(packed)[0], batch_first=True)
    # A factor is off by 2^-17 of itself at most, and so is the part of a product that is left out. The largest difference
    # seen was 2e-5. A product that was missing altogether would be 2^-9 of the whole, a hundred times as much.
    assert torch.allclose(states.double(), expected, atol=5e-5 * max(1, scale))


def test_tiles_of_a_row_do_not_depend_on_the_rows_beside_it_to_the_last_bit(
    tiles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled_lstm, "_FEW_SEQUENCES", 0)  # of few rows inputs are projected by vectors
    torch.manual_seed(0)
    layer, lengths = nn.LSTM(64, 32, bidirectional=True), torch.randint(1, 12, (37,))
    together, x = Packing(lengths, 11), torch.randn(37, 11, 64)
    with torch.no_grad():
        states = together.unpack(lstm_layer(together.pack(x), together, weights_of(layer)))
        for row, length in enumerate(lengths.tolist()):
            alone = Packing(lengths[row : row + 1], length)
            states_alone = lstm_layer(alone.pack(x[row : row + 1, :length]), alone, weights_of(layer))
            assert torch.equal(states_alone, states[row, :length])
    assert tiles.count("tiled forward") == 38


def test_tiles_keep_strange_values_to_their_own_sequence(tiles: list[str]) -> None:
    torch.manual_seed(0)
    layer, packing = nn.LSTM(32, 32, bidirectional=True), Packing(torch.full((20,), 3), 3)
    x = torch.randn(20, 3, 32)
    with torch.no_grad():
        usual = packing.unpack(lstm_layer(packing.pack(x), packing, weights_of(layer)))
        for row, value in enumerate((float("nan"), float("inf"), -float("inf"), 3e38, 1e-40)):
            x[row, 1, 5] = value
        states = packing.unpack(lstm_layer(packing.pack(x), packing, weights_of(layer)))
    assert tiles.count("tiled forward") == 2
    assert torch.equal(states[5:], usual[5:])
    assert states[0, 1:, :32].isnan().all()
    assert states[1:].isfinite().all()
    assert states[1:].abs().max() <= 1


def test_tiles_are_for_predictions_in_single_precision_of_sizes_that_fill_them(monkeypatch: pytest.MonkeyPatch) -> None:
    take("amx", monkeypatch)
    passes = note_passes(monkeypatch)

    def is_tiled(rows: int, size: int, *, dtype: torch.dtype = torch.float32, has_gradient: bool = False) -> bool:
        passes.clear()
        packing = Packing(torch.full((rows,), 3), 3)
        with torch.set_grad_enabled(has_gradient):
            lstm_layer(torch.randn(3 * rows, size, dtype=dtype), packing, weights_of(nn.LSTM(size, size, dtype=dtype)))
        return "tiled forward" in passes

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert is_tiled(16, 32)
    assert not is_tiled(15, 32)  # less than eight a thread
    assert not is_tiled(16, 33)
    assert not is_tiled(16, 32, dtype=torch.float64)
    assert not is_tiled(16, 32, has_gradient=True)
