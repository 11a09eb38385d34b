"""Passes over sequences without gradients: the logits of each, in their order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqcls.data.batches import batches, evaluation_order
from seqcls.data.resident import without_residents_if_needed
from seqcls.data.sequences import Sequences
from seqcls.system.device import autocast

# A CPU is fastest while the states of a batch fit its caches: 64 x 200 tokens are 25% faster per token than 200 x 200.
CPU_TOKENS = 12_800


def never() -> bool:
    """Return False."""
    return False


class StoppedError(Exception):
    """A prediction was abandoned because ``must_stop`` returned True."""


def predict_logits(
    model: nn.Module,
    sequences: Sequences,
    *,
    device: torch.device,
    batch_size: int,
    precision: str = "fp32",
    must_stop: Callable[[], bool] = never,
    indices: NDArray[np.int64] | None = None,
) -> Tensor:
    """Return the model's logits; its training mode is left as it was.

    Args:
        model: Takes the inputs and lengths of a batch, such as `Network`.
        sequences: The sequences.
        device: Where the model is.
        batch_size: Largest number of sequences per batch; a CPU takes fewer of long sequences.
        precision: The dtype to compute in; see `seqcls.system.device.autocast`.
        must_stop: Asked before each batch.
        indices: int64 [N], the sequences to read, at least one; by default all of them.

    Returns:
        float32 [N, C] on the CPU.

    Raises:
        StoppedError: ``must_stop`` returned True.
    """
    lengths = sequences.lengths if indices is None else sequences.lengths[indices]
    max_tokens = CPU_TOKENS if device.type == "cpu" else None
    rows = evaluation_order(lengths, batch_size=batch_size, max_tokens=max_tokens)  # of the result, batch by batch
    order = rows if indices is None else [indices[part] for part in rows]

    places = torch.from_numpy(np.concatenate(rows)).to(device)

    def outputs() -> Tensor:
        outputs, start = torch.empty(0), 0
        # Inference mode, not only no_grad: recurrent layers then take their faster forward path.
        with torch.inference_mode(), autocast(device, precision):
            for batch in batches(sequences, order, device):
                if must_stop():
                    raise StoppedError
                logits = model(*batch.model_inputs).float()
                if not start:
                    with torch.inference_mode(False):  # so that the caller may change them
                        outputs = torch.empty(len(places), logits.shape[1], device=device)
                # Each row goes to its place at once, since with many labels a second table is large.
                outputs.index_copy_(0, places[start : start + len(logits)], logits)
                start += len(logits)
        return outputs

    was_training = model.training
    needs_change = any(module.training for module in model.modules())
    if needs_change:  # setting the mode of every module again takes a tenth of the time of a single text
        model.eval()
    try:
        return without_residents_if_needed(outputs).cpu()
    finally:
        if needs_change:
            model.train(was_training)
