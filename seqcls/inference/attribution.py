"""What each step of a sequence contributes to a label's log-odds: integrated gradients and occlusion."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqcls.data.batches import Bags
from seqcls.data.rules import UNK_ID
from seqcls.model.encoders.mean_pool import MeanPool
from seqcls.model.forward import CPU_TOKENS
from seqcls.model.network import Network, mean

Method = Literal["integrated-gradients", "occlusion"]

_MIN_POINTS, _MAX_POINTS = 16, 512  # at which the integrand is evaluated
_TOLERANCE = 0.01  # of the log-odds, for the gap between them and the sum of the contributions
_MAX_OCCLUSIONS = 200

logger = logging.getLogger("seqcls")


@dataclass(frozen=True, eq=False)
class Example:
    """One encoded sequence, and where its parts lie in the text.

    Attributes:
        inputs: int64 [T] or float32 [T, D], on the network's device.
        spans: int64 [T, 2], where each step lies.
        units: int64 [U, 2], what contributions are told of: the steps, and any words that lie outside of all of them.
        ngrams: int64 [M], every occurrence of an n-gram that the wide path knows; None without that path.
        places: int64 [M, 2], where each occurrence lies.
    """

    inputs: Tensor
    spans: NDArray[np.int64]
    units: NDArray[np.int64] = field(init=False)
    ngrams: Tensor | None = None
    places: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", self.spans)

    def with_ngrams(self, ngrams: Tensor, places: NDArray[np.int64], words: NDArray[np.int64]) -> Example:
        """Return the example with what the wide path reads; ``words`` is int64 [W, 2], where each of its words lies."""
        example = replace(self, ngrams=ngrams, places=places)
        outside = words[~(_overlaps(words, self.spans) > 0).any(axis=1)]
        units = np.concatenate([self.spans[self.spans[:, 1] > self.spans[:, 0]], outside])
        order = np.lexsort((units[:, 1], units[:, 0]))
        object.__setattr__(example, "units", units[order] if len(units) else self.spans)
        return example

    def spread(self, values: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distribute the values of some places, float64 [M], over the units that they overlap, by length: float64 [U]."""
        shares = _overlaps(places, self.units)  # [M, U]
        # What lies nowhere, as the edge of an empty text does, belongs to all.
        shares[shares.sum(axis=1) == 0] = 1.0
        return np.asarray((values[:, None] * shares / shares.sum(axis=1, keepdims=True)).sum(axis=0))


def _overlaps(spans: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how many characters each span shares with each other one, float64 [len(spans), len(others)]."""
    begin, end = np.maximum(spans[:, None, 0], others[None, :, 0]), np.minimum(spans[:, None, 1], others[None, :, 1])
    return np.asarray(np.maximum(end - begin, 0), dtype=np.float64)


_LogOdds = Callable[[Tensor], Tensor]


def contributions(
    model: Network, example: Example, label: int, *, method: Method, temperature: float, is_multi_label: bool
) -> tuple[NDArray[np.float64], float | None]:
    """Return what each unit of an example contributes to the log-odds of a label.

    Args:
        model: The network, in evaluation mode.
        example: The encoded sequence.
        label: The index of the label.
        method: "integrated-gradients" (Sundararajan, Taly & Yan 2017, eq. 1) averages the gradient on the straight line
            from vectors of zeros, which is what padding has, to those of the sequence, and multiplies it by the latter. The
            n-grams of the wide path enter with their values x_f; what an n-gram contributes is shared by the words in it.
            "occlusion" (Zeiler & Fergus 2014) computes by how much the log-odds fall when the token is replaced by the
            unknown word, or the numbers by their means in training, and the n-grams around it are removed.
        temperature: The logits are divided by it.
        is_multi_label: Whether an example may have several labels.

    Returns:
        The contributions, float64 [U], and the gap that `Explanation.gap` describes; None for occlusion.
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
            return _integrated_gradients(model, example, log_odds)
        return _occlusion(model, example, log_odds), None


def _integrated_gradients(model: Network, example: Example, log_odds: _LogOdds) -> tuple[NDArray[np.float64], float]:
    with torch.no_grad():
        inputs = example.inputs.unsqueeze(0)
        x = torch.cat([member.embedding(inputs) for member in model.members], dim=-1)  # [1, T, K * embedding_size]
        parts = _ngram_logits(model, example)  # [M, C]
        tokens = _token_logits(model, x)  # [T, C], or None
        wide = parts.sum(dim=0, keepdim=True)  # [1, C], or [1, 1] of zeros without the path
        if tokens is not None:
            wide = wide + tokens.sum(dim=0)

    log_odds_of = _along_path(model, log_odds, x.shape[1], is_scaled=tokens is not None)
    with torch.no_grad():
        both = (torch.cat([part, torch.zeros_like(part)]) for part in (x, wide))
        at_sequence, at_zeros = log_odds_of(*both).tolist()
    difference = at_sequence - at_zeros
    points = _MIN_POINTS
    while True:
        of_steps, slopes = _path_integral(log_odds_of, x, wide, points)
        of_ngrams = (parts.double() @ slopes[: parts.shape[1]]).cpu().numpy()  # [M]
        if tokens is not None:
            of_steps = (tokens.double() @ slopes).cpu().numpy()
        gap = abs(of_steps.sum() + of_ngrams.sum() - difference)
        if gap <= _TOLERANCE * max(1.0, abs(difference)):
            break
        if points >= _MAX_POINTS:
            total = of_steps.sum() + of_ngrams.sum()
            logger.warning("the contributions add up to %.3g, but the log-odds to %.3g", total, difference)
            break
        points *= 2
    if example.places is None:
        return of_steps, float(gap)
    return example.spread(of_steps, example.spans) + example.spread(of_ngrams, example.places), float(gap)


def _along_path(model: Network, log_odds: _LogOdds, steps: int, *, is_scaled: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the log-odds as a function of the vectors and of the logits of the wide path, [B, C].

    The vectors are [B, T, K * embedding_size], of the K networks of an ensemble. With ``is_scaled``, the logits are those of
    the network, without those of nothing; see `_token_logits`.
    """

    def log_odds_of(vectors: Tensor, wide: Tensor) -> Tensor:
        if is_scaled:
            return log_odds(wide + _logits_of_nothing(model))
        if model.wide is not None and model.head is None:
            return log_odds(wide + model.wide.bias)
        lengths = torch.full((len(vectors),), steps)
        deep = mean(
            [member.read_out(member.encoder(of_member, lengths)) for member, of_member in _by_member(model, vectors)]
        )
        return log_odds(deep if model.wide is None else model.mix(wide + model.wide.bias, deep))

    return log_odds_of


def _token_logits(model: Network, x: Tensor) -> Tensor | None:
    """Return what each token adds to the logits, [T, C], where the pooled vector is scaled to length 1; otherwise None.

    On the line from vectors of zeros, its direction stays the same: the gradient along the line is zero, and says nothing.
    But pooling is homogeneous, so that each step times the gradient by it adds up to the pooled vector (Euler's theorem).
    """
    if not _is_scaled(model):
        return None
    parts = mean([_token_logits_of_member(member, part) for member, part in _by_member(model, x)])
    return parts if model.wide is None else model.wide.shares[1] * parts


def _token_logits_of_member(member: Network, x: Tensor) -> Tensor:
    """Return what each token adds to the logits of one network, [T, C]; see `_token_logits`."""
    assert isinstance(member.encoder, MeanPool)
    assert member.head is not None
    with torch.enable_grad():
        steps = x.clone().requires_grad_()
        pooled = member.encoder.pool(steps, torch.tensor([x.shape[1]]))  # [1, output_size]
        logits = pooled / pooled.detach().norm().clamp_min(1e-12) @ member.head.weight.T  # [1, C]
        classes = torch.eye(logits.shape[1], device=x.device).unsqueeze(1)  # [C, 1, C]
        (gradients,) = torch.autograd.grad(logits, steps, classes, is_grads_batched=True)  # [C, 1, T, embedding_size]
    parts: Tensor = (gradients[:, 0] * x[0]).sum(dim=-1).T
    return parts


def _by_member(model: Network, vectors: Tensor) -> Iterator[tuple[Network, Tensor]]:
    """Yield the networks of an ensemble, each with its part of the vectors [B, T, K * embedding_size]."""
    return zip(model.members, vectors.chunk(len(model.members), dim=-1), strict=True)


def _is_scaled(model: Network) -> bool:
    return isinstance(model.encoder, MeanPool) and model.encoder.normalized and model.encoder.pool.pooling != "attention"


def _logits_of_nothing(model: Network) -> Tensor:
    bias = mean([member.head.bias for member in model.members if member.head is not None])
    return bias if model.wide is None else model.mix(model.wide.bias, bias)


def _ngram_logits(model: Network, example: Example) -> Tensor:
    """Return what each occurrence of an n-gram adds to the logits of the wide path, [M, C]; M is 0 without that path.

    With `_token_logits`, it is what they add to those of the network.
    """
    classes = (0, 1) if model.wide is None else (0, model.wide.weights.shape[1])
    if model.wide is None or example.ngrams is None or not len(example.ngrams):
        return torch.zeros(*classes, device=example.inputs.device)
    ids, index, counts = example.ngrams.unique(return_inverse=True, return_counts=True)
    values = model.wide.values(ids, torch.zeros(1, dtype=torch.int64, device=ids.device)) / counts
    parts: Tensor = values[index, None] * model.wide.weights[example.ngrams]
    return model.wide.shares[0] * parts if _is_scaled(model) else parts


def _path_integral(
    log_odds_of: Callable[[Tensor, Tensor], Tensor], x: Tensor, wide: Tensor, points: int
) -> tuple[NDArray[np.float64], Tensor]:
    """Integrate by Gauss-Legendre quadrature, with as many points at once as memory is meant for.

    Returns:
        The contributions of the steps, float64 [T], and the mean slope of the log-odds by the logits of the wide path,
        float64 [C].
    """
    nodes, weights = np.polynomial.legendre.leggauss(points)
    total = torch.zeros(x.shape[1:], dtype=torch.float64, device=x.device)  # [T, embedding_size]
    slopes = torch.zeros(wide.shape[1:], dtype=torch.float64, device=x.device)  # [C]
    at_once = max(1, CPU_TOKENS // x.shape[1])
    for start in range(0, points, at_once):
        batch = slice(start, start + at_once)
        factors, shares = (
            torch.from_numpy(numbers[batch]).to(x).view(-1, 1, 1) for numbers in ((nodes + 1) / 2, weights / 2)
        )
        on_path, wide_on_path = (factors * x).requires_grad_(), (factors[:, 0] * wide).requires_grad_()
        value = log_odds_of(on_path, wide_on_path).sum()
        by_path, by_wide = torch.autograd.grad(value, (on_path, wide_on_path), allow_unused=True)
        if by_path is not None:  # None where only the wide path decides
            total += (shares * by_path).sum(dim=0).double()
        if by_wide is not None:  # None where there is no such path
            slopes += (shares[:, 0] * by_wide).sum(dim=0).double()
    return np.asarray((total * x[0].double()).sum(dim=-1).cpu().numpy()), slopes


def _occlusion(model: Network, example: Example, log_odds: _LogOdds) -> NDArray[np.float64]:
    """Hide one unit at a time; in long sequences, several neighbours at once, which share their contribution equally."""
    inputs, units = example.inputs, example.units
    width = -(-len(units) // _MAX_OCCLUSIONS)
    windows = [slice(start, start + width) for start in range(0, len(units), width)]
    occluded = inputs.repeat(len(windows) + 1, *[1] * inputs.ndim)  # [1 + W, T] or [1 + W, T, D]; the first is not occluded
    replacement = UNK_ID if inputs.ndim == 1 else 0.0
    bags: list[Tensor] = [] if example.ngrams is None else [example.ngrams.unique()]
    for row, window in enumerate(windows, 1):
        if example.ngrams is None or example.places is None:
            occluded[row, window] = replacement
        else:
            occluded[row, torch.from_numpy(_touched(example.spans, units[window]))] = replacement
            is_left = ~_touched(example.places, units[window])
            bags.append(example.ngrams[torch.from_numpy(is_left).to(inputs.device)].unique())
    at_once = max(1, CPU_TOKENS // len(inputs))
    values = []
    with torch.inference_mode():
        for start in range(0, len(occluded), at_once):
            batch, ngrams = occluded[start : start + at_once], bags[start : start + at_once]
            lengths = torch.full((len(batch),), len(inputs))
            values.append(log_odds(model(batch, lengths, _joined(ngrams) if ngrams else None)).cpu())
    outcomes = torch.cat(values)
    falls = (outcomes[0] - outcomes[1:]).numpy()
    sizes = [len(units[window]) for window in windows]
    return np.repeat(falls / sizes, sizes)


def _touched(spans: NDArray[np.int64], units: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether each span overlaps one of the units, bool [len(spans)]; what has no extent touches all."""
    return np.asarray((_overlaps(spans, units) > 0).any(axis=1) | (spans[:, 0] == spans[:, 1]))


def _joined(bags: Sequence[Tensor]) -> Bags:
    sizes = torch.tensor([len(bag) for bag in bags])
    return Bags(torch.cat(list(bags)), (sizes.cumsum(0) - sizes).to(bags[0].device))
