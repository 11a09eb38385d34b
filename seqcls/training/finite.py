"""Losses and gradients that are not finite: noticing them, and naming the examples, the weight and the likely cause."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqcls.data.batches import Batch
from seqcls.errors import NonFiniteError
from seqcls.system.processes import World
from seqcls.system.sparse import values_of

# On an accelerator the loop runs ahead of the device. Looking at a figure waits for it, so that it is done this seldom.
STEPS_BETWEEN_LOOKS = 20
LOWER_RATE = "try a lower learning rate (--lr), or a lower fit.clip_norm"
# Weights of a trained network are well below this. Beyond it, sums of their products overflow.
_HUGE = 1e6


class FiniteWatch:
    """Raises NonFiniteError for losses and gradients that are not finite.

    On a CPU each figure is looked at when it is made. On an accelerator figures are collected, and looked at together.
    """

    def __init__(self, device: torch.device, world: World) -> None:
        self._is_immediate = device.type == "cpu"
        self._world = world
        self._unseen: list[tuple[int, NDArray[np.int64], Tensor]] = []  # step, examples, figure []

    def see_loss(self, step: int, loss: Tensor, batch: Batch, logits: Tensor, model: nn.Module) -> None:
        """Take note of the loss [] of a batch, made from ``logits`` [K * B, C], during the given step."""
        if not self._is_immediate:
            self._unseen.append((step, batch.indices, loss))
        elif not loss.isfinite():
            raise explain_loss(step, batch, logits, model)

    def see_gradient(self, step: int, norm: Tensor, indices: NDArray[np.int64], model: nn.Module) -> None:
        """Take note of the norm [] of the gradient of the given step, made from the examples at ``indices``."""
        if not self._is_immediate:
            self._unseen.append((step, indices, norm))
            if (step - 1) % STEPS_BETWEEN_LOOKS == 0:
                self.check()
        elif not norm.isfinite():
            raise explain_gradient(step, indices.tolist(), model)

    def check(self) -> None:
        """Look at the collected figures; called by all processes.

        Raises:
            NonFiniteError: One is not finite, here or in another process; names its step and examples.
        """
        if self._is_immediate:
            return
        values = [value.detach().float() for _, _, value in self._unseen]
        finite = torch.stack(values).isfinite().tolist() if values else []
        bad = [(step, indices.tolist()) for (step, indices, _), good in zip(self._unseen, finite, strict=True) if not good]
        self.forget()
        self._world.meet(NonFiniteError(*bad[0]) if bad else None)

    def forget(self) -> None:
        """Drop the collected figures: the run goes back to before they were made."""
        self._unseen.clear()


def explain_loss(step: int, batch: Batch, logits: Tensor, model: nn.Module) -> NonFiniteError:
    """Return the error for a batch whose loss is not finite; it names the examples to blame, where there are some."""
    bad_inputs = _bad_rows(batch.inputs) if batch.inputs.is_floating_point() else []
    if bad_inputs:
        cause = "the loss is not finite, because features of the data are not: `seqcls check` shows their rows"
        return NonFiniteError(step, batch.indices[bad_inputs].tolist(), cause)
    weight = next((name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()), None)
    if weight is not None:
        cause = f"the loss is not finite, because the weight {weight} is not: check the initial or pretrained weights"
        return NonFiniteError(step, batch.indices.tolist(), cause)
    largest = max((float(tensor.detach().abs().max()) for tensor in model.parameters() if tensor.numel()), default=0.0)
    if largest > _HUGE:
        cause = f"the loss is not finite, because training diverged (a weight has grown to {largest:.1e}): {LOWER_RATE}"
    elif logits.dtype != torch.float32:
        cause = "the loss is not finite in reduced precision: try --precision fp32"
    else:
        cause = (
            f"the loss is not finite, although the weights are: {LOWER_RATE}, "
            "and check what the encoder divides by or exponentiates"
        )
    rows = sorted({row % len(batch) for row in _bad_rows(logits)}) or list(range(len(batch)))
    return NonFiniteError(step, batch.indices[rows].tolist(), cause)


def explain_gradient(step: int, examples: list[int], model: nn.Module) -> NonFiniteError:
    """Return the error for a gradient that is not finite although the loss is."""
    parameters = model.named_parameters()
    bad = [
        name
        for name, parameter in parameters
        if parameter.grad is not None and not values_of(parameter.grad).isfinite().all()
    ]
    names = f" of {bad[0]}" + (f" and {len(bad) - 1} others" if len(bad) > 1 else "") if bad else ""
    cause = (
        f"the gradient{names} is not finite, although the loss is: {LOWER_RATE}, "
        "and check roots and logarithms in the encoder"
    )
    return NonFiniteError(step, examples, cause)


def _bad_rows(values: Tensor) -> list[int]:
    """Return the rows of ``values`` [B, ...] that hold a value that is not finite."""
    bad: list[int] = (~values.isfinite()).flatten(1).any(dim=1).nonzero().flatten().tolist()
    return bad
