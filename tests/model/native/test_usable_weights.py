"""Which layers are left to PyTorch."""

from __future__ import annotations

import pytest
import torch
from lstm_paths import PATHS, take
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm

from seqcls.model.encoders.lstm import LSTM
from seqcls.model.native.weights import usable_weights


def _is_compiled(encoder: LSTM, x: Tensor) -> bool:
    return usable_weights(x, encoder.recurrence.layers) is not None  # type: ignore[arg-type]


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
