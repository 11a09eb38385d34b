from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lstm_paths import take

from seqcls import registry
from seqcls.errors import ConfigError, DataError
from seqcls.model.encoders.cnn import CNN
from seqcls.model.encoders.lstm import LSTM
from seqcls.model.encoders.masking import Pool
from seqcls.model.encoders.recurrent import _VariationalDropout
from seqcls.model.encoders.transformer import Transformer, _positions


def test_a_convolution_sees_every_window_of_its_own_sequence() -> None:
    torch.manual_seed(0)
    encoder = CNN(3, widths="2,4", num_filters=5).double()
    lengths = [1, 6, 3]
    x = torch.randn(3, 6, 3, dtype=torch.float64)
    expected = []
    for row, length in enumerate(lengths):
        features = []
        for width, convolution in zip((2, 4), encoder.convolutions, strict=True):
            edge = np.zeros((width - 1, 3))
            steps = np.concatenate([edge, x[row, :length].numpy(), edge])
            kernel = convolution.weight.detach().numpy()  # [filters, 3, width]
            windows = [steps[start : start + width] for start in range(length + width - 1)]
            bias = convolution.bias.detach().numpy()
            values = [np.maximum(np.einsum("fdw,wd->f", kernel, window) + bias, 0) for window in windows]
            features.append(np.max(values, axis=0))
        expected.append(np.concatenate(features))
    np.testing.assert_allclose(encoder(x, torch.tensor(lengths)).detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("widths", ["", "0", "3,,4", "a", "3;4", "-1"])
def test_widths_that_are_none_are_refused(widths: str) -> None:
    with pytest.raises(ConfigError, match="such as 3,4,5"):
        CNN(3, widths=widths)


@pytest.mark.parametrize(("size", "heads", "remedy"), [(128, 6, 126), (10, 4, 8), (2, 4, 4)])
def test_heads_that_do_not_divide_are_refused_with_both_numbers(size: int, heads: int, remedy: int) -> None:
    with pytest.raises(ConfigError, match=f"hidden_size {size} is not divisible by num_heads {heads}; {remedy} would be"):
        Transformer(3, hidden_size=size, num_heads=heads)


def test_positions_are_sines_and_cosines() -> None:
    positions = _positions(3, 4, torch.device("cpu"))
    for t in range(3):
        expected = [np.sin(t), np.cos(t), np.sin(t / 100), np.cos(t / 100)]  # 10,000^(2/4) = 100
        np.testing.assert_allclose(positions[t].numpy(), expected, atol=1e-6)


def test_a_transformer_is_pre_norm_attention_written_out() -> None:
    torch.manual_seed(0)
    encoder = Transformer(3, hidden_size=4, num_layers=1, num_heads=2, feedforward_size=5).double().eval()
    x = torch.randn(1, 6, 3, dtype=torch.float64)
    block = encoder.blocks.layers[0]
    steps = encoder.projection(x[0]) + _positions(6, 4, torch.device("cpu")).double()
    normed = F.layer_norm(steps, (4,), block.norm1.weight, block.norm1.bias)
    attention = block.self_attn
    q, k, v = (normed @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, dim=-1)
    heads = [torch.softmax(q[:, head] @ k[:, head].T / 2**0.5, dim=-1) @ v[:, head] for head in (slice(0, 2), slice(2, 4))]
    steps = steps + attention.out_proj(torch.cat(heads, dim=-1))
    normed = F.layer_norm(steps, (4,), block.norm2.weight, block.norm2.bias)
    steps = steps + block.linear2(F.gelu(block.linear1(normed)))
    norm = encoder.blocks.norm
    expected = F.layer_norm(steps, (4,), norm.weight, norm.bias).mean(dim=0)
    assert torch.allclose(encoder(x, torch.tensor([6]))[0], expected, atol=1e-12)


def test_attention_pooling_is_a_learned_mean() -> None:
    torch.manual_seed(0)
    pool = Pool(3, "attention").double()
    x, lengths = torch.randn(2, 4, 3, dtype=torch.float64), [4, 2]
    A, c, v = (parameter.detach().numpy() for parameter in pool.parameters())
    for row, length in enumerate(lengths):
        steps = x[row, :length].numpy()
        scores = np.tanh(steps @ A.T + c) @ v[0]
        weights = np.exp(scores) / np.exp(scores).sum()
        pooled = pool(x, torch.tensor(lengths))[row]
        np.testing.assert_allclose(pooled.detach().numpy(), weights @ steps, atol=1e-12)


@pytest.mark.parametrize("name", [info.name for info in registry.encoders.plugins() if info.provider == "seqcls"])
@pytest.mark.parametrize(("lengths", "index", "length"), [([2, 0, 3], 1, 0), ([4, 2, -1], 2, -1), ([5, 1, 1], 0, 5)])
def test_a_sequence_without_steps_or_longer_than_the_batch_is_refused_with_its_index(
    name: str, lengths: list[int], index: int, length: int
) -> None:
    encoder = registry.encoders.get(name)(3)
    with pytest.raises(DataError, match=f"sequence {index} has length {length}; it must have 1 to 4 steps"):
        encoder(torch.zeros(3, 4, 3), torch.tensor(lengths))


def test_weight_dropout_hits_recurrent_weights_in_training_only() -> None:
    torch.manual_seed(0)
    encoder, plain = LSTM(3, hidden_size=8, weight_dropout=0.5), LSTM(3, hidden_size=8)
    plain.load_state_dict(encoder.state_dict())
    x, lengths = torch.randn(4, 6, 3), torch.full((4,), 6)
    assert not torch.equal(encoder(x, lengths), encoder(x, lengths))
    assert torch.equal(encoder.eval()(x, lengths), plain.eval()(x, lengths))
    # A single step uses no recurrent weight: nothing is left to drop.
    assert torch.equal(encoder.train()(x[:, :1], lengths // 6), plain.train()(x[:, :1], lengths // 6))


def test_weights_dropped_with_probability_zero_are_the_layers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    take("torch", monkeypatch)
    encoder, x = LSTM(3, hidden_size=4, weight_dropout=1e-12), torch.randn(2, 5, 3)  # too seldom to be seen
    states, _ = encoder.recurrence(x, torch.tensor([5, 5]))
    assert torch.allclose(states, encoder.recurrence.layers[0][0](x)[0], atol=1e-6)


def test_a_dropped_recurrent_weight_gets_no_gradient_in_its_batch() -> None:
    torch.manual_seed(0)
    encoder = LSTM(3, hidden_size=16, weight_dropout=0.5)
    encoder(torch.randn(4, 6, 3), torch.full((4,), 6)).sum().backward()
    gradient = encoder.recurrence.layers[0][0].weight_hh_l0.grad
    assert (gradient == 0).float().mean().item() == pytest.approx(0.5, abs=0.06)


def test_variational_dropout_hits_the_same_values_at_every_step() -> None:
    torch.manual_seed(0)
    dropout = _VariationalDropout(0.5).train()
    hit = dropout(torch.ones(8, 5, 32)) == 0
    assert (hit == hit[:, :1]).all()
    assert not (hit == hit[:1]).all()  # another mask a sequence
    assert hit.float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert torch.equal(dropout.eval()(torch.ones(2, 3, 4)), torch.ones(2, 3, 4))
