"""What `Network` and the compiled LSTM layers agree on: in prediction, equal words share their first product."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lstm_paths import COMPILED_PATHS, PATHS, note_passes, take
from model.encoders.test_conformance import LSTMS
from torch import Tensor, nn

from seqcls import registry
from seqcls.config.settings import ModelConfig
from seqcls.errors import DataError
from seqcls.model.embeddings.word import WordEmbedding
from seqcls.model.encoders.gru import GRU
from seqcls.model.encoders.lstm import LSTM
from seqcls.model.encoders.recurrent import RecurrentEncoder
from seqcls.model.native import library
from seqcls.model.network import Network
from seqcls.testing.encoder_laws import TOLERANCE

IDS = torch.tensor([[7, 8, 7, 7, 49, 2], [9, 0, 0, 0, 0, 0], [2, 2, 2, 0, 0, 0], [1, 8, 0, 0, 0, 0]])
LENGTHS = torch.tensor([6, 1, 3, 2])


def _network(encoder: RecurrentEncoder) -> Network:
    config = ModelConfig.model_validate(
        {"embedding_size": encoder.input_size, "word_dropout": 0, "embedding_dropout": 0, "output_dropout": 0}
    )
    embedding = WordEmbedding(50, encoder.input_size)
    return Network(embedding, encoder, vocab_size=50, num_classes=3, config=config).eval()


@pytest.fixture
def gathered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Collect the shapes of the rows that encoders are asked to gather from."""
    shapes: list[tuple[int, ...]] = []
    forward = RecurrentEncoder.forward_gathered

    def note(encoder: RecurrentEncoder, rows: Tensor, index: Tensor, lengths: Tensor) -> Tensor:
        shapes.append(tuple(rows.shape))
        return forward(encoder, rows, index, lengths)

    monkeypatch.setattr(RecurrentEncoder, "forward_gathered", note)
    return shapes


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("name", "options"), [*LSTMS, ("gru", {}), ("min-gru", {"bidirectional": True})])
@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad])
def test_rows_named_by_an_index_give_what_they_give_one_by_one(
    name: str, options: dict[str, Any], path: str, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(path, monkeypatch)
    torch.manual_seed(0)
    encoder: RecurrentEncoder = registry.encoders.get(name)(3, **options).eval()
    rows, index = torch.randn(5, 3), torch.randint(5, (4, 6))
    with context():
        expected = encoder(rows[index], LENGTHS)
        torch.testing.assert_close(encoder.forward_gathered(rows, index, LENGTHS), expected, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("lengths", [[6, 1, 0, 2], [6, 1, 7, 2]])
def test_lengths_are_checked(lengths: list[int]) -> None:
    with pytest.raises(DataError, match=rf"sequence 2 has length {lengths[2]}"):
        LSTM(3).forward_gathered(torch.randn(5, 3), torch.zeros(4, 6, dtype=torch.int64), torch.tensor(lengths))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["lstm", "bilstm-mean-pool"])
def test_predictions_embed_each_different_word_once_and_are_the_same(
    name: str, path: str, monkeypatch: pytest.MonkeyPatch, gathered: list[tuple[int, ...]]
) -> None:
    take(path, monkeypatch)
    torch.manual_seed(0)
    network = _network(registry.encoders.get(name)(4, hidden_size=5))
    expected = network(IDS, LENGTHS)
    assert gathered == []
    with torch.inference_mode():
        logits = network(IDS, LENGTHS)
    assert gathered == [(len(IDS.unique()), 4)]
    assert torch.allclose(logits, expected, atol=1e-6)


@pytest.mark.parametrize("path", COMPILED_PATHS)
def test_the_compiled_layer_multiplies_each_different_word_once(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take(path, monkeypatch)
    passes, rows = note_passes(monkeypatch), []
    run = library.Native.run

    def note(native: library.Native, layer: library.Layer, name: library.Pass, *, dtype: torch.dtype) -> None:
        rows.append(layer.rows)
        run(native, layer, name, dtype=dtype)

    monkeypatch.setattr(library.Native, "run", note)
    with torch.inference_mode():
        _network(LSTM(4, hidden_size=5))(IDS, LENGTHS)
    assert passes == ["layout", "projection", "forward"]
    assert rows == [len(IDS.unique())] * 3


def test_training_gradients_hooks_and_other_encoders_are_left_alone(gathered: list[tuple[int, ...]]) -> None:
    calls: list[nn.Module] = []
    hooked = LSTM(4, hidden_size=5)
    hooked.register_forward_hook(lambda module, *_: calls.append(module))
    _network(LSTM(4, hidden_size=5))(IDS, LENGTHS)
    with torch.inference_mode():
        _network(LSTM(4, hidden_size=5)).train()(IDS, LENGTHS)
        _network(GRU(4, hidden_size=5))(IDS, LENGTHS)
        _network(hooked)(IDS, LENGTHS)
    assert gathered == []
    assert calls == [hooked]


@pytest.mark.parametrize("path", COMPILED_PATHS)
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_compiled_states_are_projected_and_pooled_without_padding(
    pooling: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(path, monkeypatch)
    encoder = registry.encoders.get("bilstm-mean-pool")(4, hidden_size=5, pooling=pooling)
    projected: list[tuple[int, ...]] = []
    encoder.projection.register_forward_hook(lambda _, arguments, states: projected.append(tuple(states.shape)))
    encoder.pool.register_forward_hook(lambda *_: pytest.fail("padded for the sake of pooling"))
    encoder(torch.randn(4, 6, 4), LENGTHS)
    assert projected == [(int(LENGTHS.sum()), 128)]
