"""What each step of a sequence contributes to a label's log-odds: integrated gradients and occlusion."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqcls.data.rules import UNK_ID
from seqcls.model.forward import CPU_TOKENS
from seqcls.model.network import Network

Method = Literal["integrated-gradients", "occlusion"]

_MIN_POINTS, _MAX_POINTS = 16, 512  # at which the integrand is evaluated
_TOLERANCE = 0.01  # of the log-odds, for the gap between them and the sum of the contributions
_MAX_OCCLUSIONS = 200

_LogOdds = Callable[[Tensor], Tensor]

logger = logging.getLogger("seqcls")


def contributions(
    model: Network, inputs: Tensor, label: int, *, method: Method, temperature: float, is_multi_label: bool
) -> tuple[NDArray[np.float64], float | None]:
    """Return what each step contributes to the log-odds of a label.

    Args:
        model: The network, in evaluation mode.
        inputs: One encoded sequence on the network's device: int64 [T] or float32 [T, D].
        label: The index of the label.
        method: "integrated-gradients" (Sundararajan, Taly & Yan 2017, eq. 1) averages the gradient on the straight line
            from vectors of zeros, which is what padding has, to those of the sequence, and multiplies it by the latter.
            "occlusion" (Zeiler & Fergus 2014) computes by how much the log-odds fall when the token is replaced by the
            unknown word, or the numbers by their means in training.
        temperature: The logits are divided by it.
        is_multi_label: Whether an example may have several labels.

    Returns:
        The contributions, float64 [T], and the gap that `Explanation.gap` describes; None for occlusion.
    """

    def log_odds(logits: Tensor) -> Tensor:  # [B, C] -> [B]
        scaled = logits.double() / temperature
        if is_multi_label or scaled.shape[1] == 1:
            return scaled[:, label]
        other_logits = torch.cat([scaled[:, :label], scaled[:, label + 1 :]], dim=1)
        return scaled[:, label] - other_logits.logsumexp(dim=1)

    # cuDNN computes no gradients of recurrent layers in evaluation mode.
    with torch.backends.cudnn.flags(enabled=False):
        if method == "integrated-gradients":
            return _integrated_gradients(model, inputs, log_odds)
        return _occlusion(model, inputs, log_odds), None


def _integrated_gradients(model: Network, inputs: Tensor, log_odds: _LogOdds) -> tuple[NDArray[np.float64], float]:
    with torch.no_grad():
        x = model.embedding(inputs.unsqueeze(0))  # [1, T, embedding_size]

    def log_odds_of(vectors: Tensor) -> Tensor:  # [B, T, embedding_size] -> [B]
        lengths = torch.full((len(vectors),), x.shape[1])
        return log_odds(model.read_out(model.encoder(vectors, lengths)))

    with torch.no_grad():
        at_sequence, at_zeros = log_odds_of(torch.cat([x, torch.zeros_like(x)])).tolist()
    difference = at_sequence - at_zeros
    points = _MIN_POINTS
    while True:
        values = _path_integral(log_odds_of, x, points)
        gap = abs(values.sum() - difference)
        if gap <= _TOLERANCE * max(1.0, abs(difference)):
            break
        if points >= _MAX_POINTS:
            logger.warning("the contributions add up to %.3g, but the log-odds to %.3g", values.sum(), difference)
            break
        points *= 2
    return values, float(gap)


def _path_integral(log_odds_of: _LogOdds, x: Tensor, points: int) -> NDArray[np.float64]:
    """Return the contributions [T] by Gauss-Legendre quadrature, with as many points at once as memory is meant for."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    total = torch.zeros(x.shape[1:], dtype=torch.float64, device=x.device)  # [T, embedding_size]
    at_once = max(1, CPU_TOKENS // x.shape[1])
    for start in range(0, points, at_once):
        batch = slice(start, start + at_once)
        factors, shares = (
            torch.from_numpy(numbers[batch]).to(x).view(-1, 1, 1) for numbers in ((nodes + 1) / 2, weights / 2)
        )
        on_path = (factors * x).requires_grad_()
        (gradient,) = torch.autograd.grad(log_odds_of(on_path).sum(), on_path)
        total += (shares * gradient).sum(dim=0).double()
    return np.asarray((total * x[0].double()).sum(dim=-1).cpu().numpy())


def _occlusion(model: Network, inputs: Tensor, log_odds: _LogOdds) -> NDArray[np.float64]:
    """Hide one step at a time; in long sequences, several neighbours at once, which share their contribution equally."""
    width = -(-len(inputs) // _MAX_OCCLUSIONS)
    starts = list(range(0, len(inputs), width))
    occluded = inputs.repeat(len(starts), *[1] * inputs.ndim)  # [W, T] or [W, T, D]
    replacement = UNK_ID if inputs.ndim == 1 else 0.0
    for row, start in enumerate(starts):
        occluded[row, start : start + width] = replacement
    at_once = max(1, CPU_TOKENS // len(inputs))
    with torch.inference_mode():
        batches = torch.cat([inputs.unsqueeze(0), occluded]).split(at_once)
        values = torch.cat([log_odds(model(batch, torch.full((len(batch),), len(inputs)))) for batch in batches]).cpu()
    falls = (values[0] - values[1:]).numpy()
    sizes = [min(width, len(inputs) - start) for start in starts]
    return np.repeat(falls / sizes, sizes)
