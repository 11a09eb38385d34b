from __future__ import annotations

import pytest
from lstm_paths import PATHS, take

from seqcls import registry
from seqcls.testing import check_encoder

VARIANTS = {
    "numpy-simple-rnn": [{}, {"hidden_size": 3, "pooling": "mean+max"}],
    "torch-rnn": [{}, {"bidirectional": True, "num_layers": 2, "pooling": "mean"}, {"nonlinearity": "relu"}],
    "lstm": [
        {},
        {"bidirectional": True, "num_layers": 2, "pooling": "last"},
        {"pooling": "mean+max", "initialization": "uniform"},
        {"num_layers": 2, "pooling": "attention", "dropout": 0.5, "variational": True, "weight_dropout": 0.5},
    ],
    "gru": [{}, {"bidirectional": True, "num_layers": 2, "pooling": "attention"}, {"pooling": "mean"}],
    "min-gru": [{}, {"bidirectional": True, "pooling": "max", "num_layers": 1}],
    "mean-pool": [{}, {"pooling": "attention"}, {"pooling": "mean+max"}],
    "cnn": [{}, {"widths": "1", "num_filters": 3}, {"widths": "2,9"}],
    "transformer": [{}, {"num_layers": 1, "num_heads": 1, "pooling": "last"}],
    "bilstm": [{}, {"pooling": "max", "projection_size": 5}],
    "bilstm-mean-pool": [{}, {"num_layers": 1}],
}
NAMES = [info.name for info in registry.encoders.plugins() if info.name != "linear"]  # which reads no sequence
CASES = [(name, options) for name in NAMES for options in VARIANTS.get(name, [{}])]


LSTMS = [case for case in CASES if "lstm" in case[0]]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_encoder_keeps_the_laws(name: str, options: dict[str, object]) -> None:
    check_encoder(registry.encoders.get(name), options=options)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("name", "options"), LSTMS)
def test_lstms_keep_the_laws_however_they_are_computed(
    name: str, options: dict[str, object], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(path, monkeypatch)
    check_encoder(registry.encoders.get(name), options=options)
