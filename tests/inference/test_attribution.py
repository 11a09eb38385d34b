from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from seqcls import registry
from seqcls.config.settings import ModelConfig
from seqcls.inference.attribution import Example, contributions
from seqcls.model.embeddings.word import WordEmbedding
from seqcls.model.encoders.mean_pool import MeanPool
from seqcls.model.network import Network


def as_example(inputs: torch.Tensor) -> Example:
    return Example(inputs, np.stack([np.arange(len(inputs)), np.arange(len(inputs)) + 1], axis=1))


NO_DROPOUT = {"word_dropout": 0.0, "embedding_dropout": 0.0, "output_dropout": 0.0}
METHODS = ["integrated-gradients", "occlusion"]


@pytest.mark.parametrize("name", sorted(set(registry.encoders.builtins) - {"linear"}))
def test_contributions_of_integrated_gradients_add_up_for_every_encoder(name: str) -> None:
    torch.manual_seed(0)
    encoder = registry.encoders.get(name)(6)
    embedding = WordEmbedding(40, 6, std=1.0)
    config = ModelConfig.model_validate({"embedding_size": 6, **NO_DROPOUT})
    model = Network(embedding, encoder, vocab_size=40, num_classes=3, config=config).eval()
    inputs = torch.randint(2, 40, (17,))
    for label in range(3):
        values, gap = contributions(
            model, as_example(inputs), label, method="integrated-gradients", temperature=0.5, is_multi_label=False
        )
        with torch.no_grad():
            lengths = torch.tensor([17])
            whole = model(inputs.unsqueeze(0), lengths)
            nothing = model.read_out(encoder(torch.zeros(1, 17, 6), lengths))
        odds = [(logits / 0.5).softmax(dim=-1).logit()[0, label].item() for logits in (whole, nothing)]
        assert values.sum() == pytest.approx(odds[0] - odds[1], abs=0.02 * max(1, abs(odds[0] - odds[1])))
        assert gap is not None
        assert gap <= 0.01 * max(1, abs(odds[0] - odds[1])) + 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_contributions_of_mean_pooled_words_are_known(method: Any) -> None:
    # With mean pooling and a linear head, the logit of label 0 is b + sum_t w . x_t / T. With several labels per text, it is
    # the log-odds.
    torch.manual_seed(0)
    embedding, encoder = WordEmbedding(20, 5, std=1.0), MeanPool(5)
    config = ModelConfig.model_validate({"embedding_size": 5, **NO_DROPOUT})
    model = Network(embedding, encoder, vocab_size=20, num_classes=2, config=config).eval()
    inputs = torch.tensor([3, 9, 9, 4])
    values, gap = contributions(model, as_example(inputs), 0, method=method, temperature=2.0, is_multi_label=True)
    with torch.no_grad():
        vectors = embedding(inputs)
        if method == "occlusion":
            vectors = vectors - embedding(torch.tensor([1]))  # the unknown word stands there instead
        expected = vectors @ model.head.weight[0] / 4 / 2.0
    np.testing.assert_allclose(values, expected.numpy(), atol=1e-6)
    assert (gap is None) == (method == "occlusion")
