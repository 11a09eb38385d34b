from __future__ import annotations

import pytest
import torch
from torch import nn

from seqcls.model.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(1,), (7,), (40, 25, 100)])
def test_values_are_dropped_as_often_as_asked_and_the_others_scaled(p: float, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.ones(shape)
    output = Dropout(p).train()(x)
    assert output.shape == x.shape
    kept = output != 0
    assert torch.allclose(output[kept], torch.full_like(output[kept], 1 / (1 - p)), rtol=1e-4)
    if x.numel() == 100_000:  # three standard deviations of a mean of so many
        assert (~kept).double().mean().item() == pytest.approx(p, abs=3 * (p * (1 - p) / x.numel()) ** 0.5)
        assert output.mean().item() == pytest.approx(1, abs=0.02)
        halves = kept.flatten().double().view(2, -1)
        assert torch.corrcoef(halves)[0, 1].abs() < 0.02


def test_masks_follow_from_the_state_of_torchs_generator() -> None:
    dropout, x = Dropout(0.5).train(), torch.ones(1000)
    torch.manual_seed(3)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), first)
    assert torch.equal(dropout(x), second)
    assert not torch.equal(first, second)


def test_the_gradient_passes_where_the_value_did() -> None:
    x = torch.randn(50, 4, requires_grad=True)
    output = Dropout(0.25).train()(x)
    output.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad != 0, output != 0)


@pytest.mark.parametrize("p", [0.0, 1.0, 1e-9])
def test_at_the_ends_it_is_torchs(p: float) -> None:
    x = torch.randn(20)
    assert torch.equal(Dropout(p).train()(x), nn.Dropout(p).train()(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_type_stays_and_evaluation_changes_nothing(dtype: torch.dtype) -> None:
    x = torch.randn(3, 4, dtype=dtype)
    assert Dropout(0.5).train()(x).dtype == dtype
    assert Dropout(0.5).eval()(x) is x or torch.equal(Dropout(0.5).eval()(x), x)
