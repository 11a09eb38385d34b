"""Which layers the compiled code can compute, and their weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from seqcls.model.native import library

# Bytes of the weights of one direction of a layer: 512 KB at the tutorial's sizes. Larger ones do not fit the caches, and
# PyTorch, which multiplies more rows at once, is then faster.
_MOST_BYTES = 4 << 20
_NAMES = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]


def usable_weights(x: Tensor, layers: Iterable[Iterable[nn.Module]]) -> list[list[list[Tensor]]] | None:
    """Return the weights of stacked layers of one or both directions; None unless `lstm_layer` can compute them.

    It can for float32 and float64 on the CPU, outside of autocast and other transformations, and for layers whose weights
    fit the caches. Where x or the weights are unfit for each other, PyTorch is left to say so.

    Args:
        x: The input of the first layer, [..., input_size].
        layers: For each layer its directions: any modules, of which only ``torch.nn.LSTM`` of one layer can be computed.
    """
    weights = [[_plain_weights(layer) for layer in directions] for directions in layers]
    by_layer = [layer for directions in weights for layer in directions]
    flat = [weight for layer in by_layer for weight in layer]
    is_usable = (
        all(by_layer)
        and x.dtype in (torch.float32, torch.float64)
        and all(tensor.device.type == "cpu" and tensor.dtype == x.dtype for tensor in (x, *flat))
        and x.shape[-1] == flat[0].shape[1]
        and all(sum(map(torch.numel, layer)) * x.element_size() <= _MOST_BYTES for layer in by_layer)
        and not _is_transformed()
        and library.native() is not None
    )
    return weights if is_usable else None


def _plain_weights(layer: nn.Module) -> list[Tensor]:
    """Return the four weights of a plain LSTM layer, and none of any other module.

    A subclass, a pruned or parametrized layer, and one with hooks do more than their weights say.
    """
    if type(layer) is not nn.LSTM or list(layer._parameters) != _NAMES:
        return []
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks:
        return []
    return [getattr(layer, name) for name in _NAMES]


def _is_transformed() -> bool:
    """Return whether more than plain numbers is wanted: a trace, a graph, a batch of batches, another precision."""
    return (
        _is_autocast_on()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
    )


def _is_autocast_on() -> bool:
    # torch 2.4 introduced the question with a device, and deprecated the one without.
    return torch.is_autocast_enabled("cpu") if torch.__version__ >= "2.4" else torch.is_autocast_cpu_enabled()
