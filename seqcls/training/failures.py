"""Why a loss or a gradient is not a number: the first thing that is not one, on the way from features to gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqcls.data.batches import Batch
from seqcls.errors import NonFiniteError

# Weights of a trained network are well below it; beyond, sums of their products overflow.
_HUGE = 1e6
SLOWER = "try a lower learning rate (--lr), or a lower fit.clip_norm"


def explain_loss(step: int, batch: Batch, logits: Tensor, model: nn.Module) -> NonFiniteError:
    """Return the error for a batch whose loss is not finite; it names the examples that are to blame, where some are."""
    bad_inputs = _rows(batch.inputs) if batch.inputs.is_floating_point() else []
    if bad_inputs:
        found = "the loss is not finite, because features of the data are not: see to them (`seqcls check` shows rows)"
        return NonFiniteError(step, batch.indices[bad_inputs].tolist(), found)
    weight = next((name for name, tensor in model.state_dict().items() if not _is_finite(tensor)), None)
    if weight is not None:
        found = f"the loss is not finite, because the weight {weight} is not: see to the initial or pretrained weights"
        return NonFiniteError(step, batch.indices.tolist(), found)
    largest = max((float(tensor.detach().abs().max()) for tensor in model.parameters() if tensor.numel()), default=0.0)
    if largest > _HUGE:
        found = f"the loss is not finite, because training diverged (a weight has grown to {largest:.1e}): {SLOWER}"
    elif logits.dtype != torch.float32:
        found = "the loss is not finite in reduced precision: try --precision fp32"
    else:
        found = f"the loss is not finite, the weights are: {SLOWER}, and see to what the encoder divides by or exponentiates"
    rows = _rows(logits) or list(range(len(batch)))
    return NonFiniteError(step, batch.indices[rows].tolist(), found)


def explain_gradient(step: int, examples: list[int], model: nn.Module) -> NonFiniteError:
    """Return the error for a gradient that is not finite though the loss is."""
    bad = [name for name, p in model.named_parameters() if p.grad is not None and not _is_finite(p.grad)]
    of = f" of {bad[0]}" + (f" and {len(bad) - 1} others" if len(bad) > 1 else "") if bad else ""
    found = f"the gradient{of} is not finite, though the loss is: {SLOWER}, and see to roots and logarithms in the encoder"
    return NonFiniteError(step, examples, found)


def _rows(values: Tensor) -> list[int]:
    """Return the rows [B, ...] that hold a value that is not finite."""
    bad: list[int] = (~values.isfinite()).flatten(1).any(dim=1).nonzero().flatten().tolist()
    return bad


def _is_finite(values: Tensor) -> bool:
    return bool(values.isfinite().all())
