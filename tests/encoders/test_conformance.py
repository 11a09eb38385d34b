from __future__ import annotations

import pytest

from seqcls import registry
from seqcls.testing import check_encoder

VARIANTS = {
    "numpy-simple-rnn": [{}, {"hidden_size": 3, "pooling": "mean+max"}],
    "torch-rnn": [{}, {"bidirectional": True, "num_layers": 2, "pooling": "mean"}, {"nonlinearity": "relu"}],
    "lstm": [
        {},
        {"bidirectional": True, "num_layers": 2, "pooling": "last"},
        {"pooling": "mean+max", "initialization": "uniform"},
    ],
    "bilstm-mean-pool": [{}, {"num_layers": 1, "pooling": "mean+max"}, {"pooling": "max", "projection_size": 5}],
}
CASES = [(info.name, options) for info in registry.encoders.list() for options in VARIANTS.get(info.name, [{}])]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_encoder_keeps_the_laws(name: str, options: dict[str, object]) -> None:
    check_encoder(registry.encoders.get(name), options=options)
