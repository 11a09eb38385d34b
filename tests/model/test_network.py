from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqcls.config.settings import ModelConfig
from seqcls.data.rules import PAD_ID, UNK_ID
from seqcls.data.sequences import Sequences
from seqcls.model.embeddings.word import WordEmbedding
from seqcls.model.encoders.base import Encoder
from seqcls.model.forward import predict_logits
from seqcls.model.network import Network

CPU = torch.device("cpu")


class Sum(Encoder):
    """Sums the vectors of a sequence and keeps its inputs."""

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.output_size = input_size
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        self.seen.append(x.detach())
        mask = torch.arange(x.shape[1]) < lengths[:, None]
        return (x * mask[..., None]).sum(dim=1)


def _model(vocab_size: int = 50, *, std: float = 0.1, **settings: float) -> Network:
    noise = {"word_dropout": 0.0, "embedding_dropout": 0.0, "output_dropout": 0.0, **settings}
    config = ModelConfig.model_validate({"embedding_size": 4, **noise})
    torch.manual_seed(0)
    embedding = WordEmbedding(vocab_size, 4, std=std)
    return Network(embedding, Sum(4), vocab_size=vocab_size, num_classes=3, config=config)


def _rows(*sequences: list[int]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    inputs = torch.zeros(len(sequences), int(lengths.max()), dtype=torch.long)
    for row, sequence in zip(inputs, sequences, strict=True):
        row[: len(sequence)] = torch.tensor(sequence)
    return inputs, lengths


def test_the_logits_are_the_heads_reading_of_the_encoded_embeddings() -> None:
    model = _model()
    weights = model.embedding.table.weight
    logits = model(*_rows([7, 8, 7], [9]))
    expected = torch.stack([2 * weights[7] + weights[8], weights[9]]) @ model.head.weight.T + model.head.bias
    assert torch.allclose(logits, expected, atol=1e-6)


def test_the_padding_vector_is_zero_and_stays_zero() -> None:
    model = _model()
    model(*_rows([7, 8, 7], [9])).square().sum().backward()
    gradient = model.embedding.table.weight.grad
    assert gradient is not None
    assert not model.embedding.table.weight[PAD_ID].any()
    assert not gradient[PAD_ID].any()
    assert gradient[[7, 8, 9]].abs().sum() > 0


def test_initial_vectors_have_the_given_spread() -> None:
    weights = _model(vocab_size=20_000, std=0.03).embedding.table.weight[1:]
    assert weights.mean().item() == pytest.approx(0, abs=1e-3)
    assert weights.std().item() == pytest.approx(0.03, rel=0.02)


def test_word_dropout_hits_a_word_wherever_it_stands_never_padding_and_about_its_share() -> None:
    model = _model(vocab_size=5_000, word_dropout=0.3).train()
    words = torch.arange(2, 5_000)
    inputs, lengths = _rows(words.tolist(), words.tolist()[::-1], [5])
    model(inputs, lengths)
    seen = model.encoder.seen[-1]  # type: ignore[union-attr]
    unknown = model.embedding.table.weight[UNK_ID].detach()
    hit = (seen == unknown).all(dim=-1)
    assert torch.equal(hit[0], hit[1].flip(0))  # the same words in both
    assert hit[0].float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert not seen[2, 1:].any()  # padding
    kept = ~hit[0]
    assert torch.equal(seen[0, kept], model.embedding.table.weight[words[kept]].detach())


@pytest.mark.parametrize("noise", ["word_dropout", "embedding_dropout", "output_dropout"])
def test_every_noise_changes_training_and_no_prediction(noise: str) -> None:
    batch = _rows([7, 8, 9, 10, 11], [12, 13])
    noisy, plain = _model(**{noise: 0.5}), _model()
    assert not torch.equal(noisy.train()(*batch), noisy(*batch))
    assert torch.equal(noisy.eval()(*batch), plain.eval()(*batch))


def test_predictions_come_in_the_order_of_the_sequences_whatever_the_batches() -> None:
    model = _model()
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 30, (200,), generator=generator).tolist()
    rows = [torch.randint(2, 50, (length,), generator=generator).tolist() for length in lengths]
    sequences = Sequences.from_list(rows, labels=[index % 3 for index in range(200)])
    expected = torch.cat([model(*_rows(row)) for row in rows]).detach()
    for batch_size in (1, 7, 64, 500):
        logits = predict_logits(model, sequences, device=CPU, batch_size=batch_size)
        assert torch.allclose(logits, expected, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_prediction_leaves_the_mode_as_it_was_even_if_it_fails(training: bool) -> None:
    model = _model(word_dropout=0.5).train(training)
    predict_logits(model, Sequences.from_list([[5, 6]]), device=CPU, batch_size=2)
    assert model.training is training
    with pytest.raises(IndexError):
        predict_logits(model, Sequences.from_list([[5, 60]]), device=CPU, batch_size=2)
    assert model.training is training


def test_prediction_turns_dropout_off_even_if_only_a_part_is_in_training() -> None:
    model, sequences = _model().eval(), Sequences.from_list([[5, 6]] * 50)
    expected = predict_logits(model, sequences, device=CPU, batch_size=2)
    model.output_dropout = torch.nn.Dropout(0.5).train()
    assert torch.equal(predict_logits(model, sequences, device=CPU, batch_size=2), expected)
    assert not any(module.training for module in model.modules())


def test_batches_on_a_cpu_are_kept_small_enough_for_its_caches() -> None:
    model = _model()
    predict_logits(model, Sequences.from_list([[5] * 400] * 100), device=CPU, batch_size=100)
    sizes = [tuple(seen.shape[:2]) for seen in model.encoder.seen]  # type: ignore[union-attr]
    assert sum(rows for rows, _ in sizes) == 100
    assert all(rows * length <= 12_800 for rows, length in sizes)
