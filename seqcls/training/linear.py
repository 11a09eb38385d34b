"""Fitting the wide path: logistic regression on n-grams, before the rest of the network is trained."""

from __future__ import annotations

import copy
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from seqcls.config.settings import FitConfig
from seqcls.data.batches import Bags
from seqcls.data.encoding import EncodedData
from seqcls.data.sequences import Sequences
from seqcls.evaluation.scores import Score, choose_thresholds, score_logits
from seqcls.model.forward import never, predict_logits
from seqcls.model.network import Network
from seqcls.model.wide import WidePath
from seqcls.system.processes import World
from seqcls.training.objective import Objective
from seqcls.training.stopping import TEST_SHARE, TimeLimit

logger = logging.getLogger("seqcls")

INVERSE_PENALTIES = (2.0, 8.0, 32.0)
"""The values of C, from the strongest penalty to the weakest; each fit begins where the one before ended."""
VECTOR_SCALES = (0.5, 1.0, 2.0, 4.0)
"""The lengths of encoded texts; n-grams of words, and those of characters, have length 1."""
_USUAL = (8.0, 1.0)  # C and length, where there is nothing to choose them on
_MAX_STEPS = 30  # of L-BFGS per penalty, and twice as many from zero to a weak one; more change no digit of the accuracy
_HISTORY = 6


def fit_linear(
    model: Network, data: EncodedData, config: FitConfig, device: torch.device, world: World, limit: TimeLimit
) -> None:
    """Fit the wide path of a network in the first process, and give it to the others; see `fit_wide`.

    If nothing else is to be trained but the head (`Network.is_linear`), head and wide path are fitted together: the encoded
    sequences are more columns of x, and both shares are 1. If steps follow, the fit ends after half of the time limit.
    """
    assert model.wide is not None
    kept = (TEST_SHARE if model.is_linear else 0.5) * (limit.seconds or 0.0)
    is_cut_short = False

    def must_stop() -> bool:
        nonlocal is_cut_short
        is_cut_short = is_cut_short or not limit.leaves(kept)
        return is_cut_short

    if world.is_main:
        wide, head = copy.deepcopy(model.wide).to("cpu"), model.head if model.is_linear else None
        if head is None:
            fit_wide(wide, data, config, must_stop=must_stop)
        else:
            encoded = {name: _encode(model, split, device) for name, split in data.splits.items() if name != "test"}
            columns = fit_wide(wide, data, config, encoded, must_stop=must_stop)
            with torch.no_grad():
                head.weight.copy_(columns.T)
                head.bias.zero_()
            wide.shares.fill_(1.0)
        model.wide.load_state_dict(wide.state_dict())
        if is_cut_short:
            logger.warning(
                "the time limit of %s has ended the fit of the n-grams early, and --resume does not continue it", limit
            )
    world.broadcast(model)


def fit_wide(
    wide: WidePath,
    data: EncodedData,
    config: FitConfig,
    encoded: Mapping[str, Tensor] | None = None,
    *,
    must_stop: Callable[[], bool] = never,
) -> Tensor:
    """Fit the wide path by L-BFGS, with the penalty of the settings or the one that is best on validation.

    With the values x of the n-grams of N texts (see `WidePath`), it minimizes

        (weighted mean over the texts of the loss of x W + b) + |W|^2 / (2 C N),

    where loss, class weights, label smoothing and weights of examples are those of the network (see `Objective`). C is that
    of the settings, or the best one of `INVERSE_PENALTIES`. At this C, encoded texts are scaled by the number of the
    settings, or one of `VECTOR_SCALES`, found by going up or down from 1 while validation gets better. Without a validation
    split, C is 8 and the scale 1. The result is deterministic.

    Args:
        wide: The path, on the CPU; its scales, weights and bias are set.
        data: The encoded splits, with n-grams.
        config: The settings of the training.
        encoded: More columns of x by split, float [N, D].
        must_stop: Is called before each step but the first; once it returns True, the best solution so far is taken.

    Returns:
        The weights of these columns, float [D, C].
    """
    train, validation = data.splits["train"], data.splits.get("validation")
    assert train.labels is not None
    wide.scales.copy_(torch.from_numpy(scales(train, len(wide.scales), len(data.label_names))))
    columns = encoded or {}
    problem = _Problem(wide, train, Objective(config, data, torch.device("cpu")), columns.get("train"), must_stop)
    if validation is None:
        fitted = problem.fit(config.inverse_penalty or _USUAL[0], config.vector_scale or _USUAL[1])
        return fitted.put_into(wide)
    tried: dict[tuple[float, float], tuple[tuple[float, float], _Fitted]] = {}

    def rank(inverse_penalty: float, vector_scale: float) -> tuple[float, float]:
        key = (inverse_penalty, vector_scale)
        if key not in tried:
            fitted = problem.fit(*key)
            score = _score(wide, validation, columns.get("validation"), fitted.put_into(wide))
            logger.debug("wide path: C = %g, scale %g give %s on validation", *key, score)
            tried[key] = (score.accuracy if score.f1 is None else score.f1, -score.loss), fitted
        return tried[key][0]

    vector_scale = config.vector_scale or _USUAL[1]
    inverse_penalty = config.inverse_penalty or max(INVERSE_PENALTIES, key=lambda value: rank(value, vector_scale))
    if columns and config.vector_scale is None:
        vector_scale = _climb(VECTOR_SCALES, vector_scale, lambda value: rank(inverse_penalty, value))
    rank(inverse_penalty, vector_scale)
    return tried[inverse_penalty, vector_scale][1].put_into(wide)


def _climb(values: Sequence[float], start: float, rank: Callable[[float], tuple[float, float]]) -> float:
    """Return the value from which neither neighbour is better, going up from ``start``, or else down."""
    best = values.index(start)
    for step in (1, -1):
        is_moving = True
        while is_moving and 0 <= best + step < len(values):
            is_moving = rank(values[best + step]) > rank(values[best])
            best += step if is_moving else 0
        if best != values.index(start):
            break
    return values[best]


def scales(train: Sequences, num_ngrams: int, num_classes: int) -> NDArray[np.float32]:
    """Return how much each n-gram tells about the class, float32 [F].

    With two classes, or several labels per text, it is the size of the log-count ratio of Wang & Manning (2012, eq. 1), for
    several labels its root mean square over them; with more classes, the inverse document frequency log((1 + N) / (1 + n_f))
    + 1. On validation splits the ratios are better for two classes (IMDB 91.7 against 91.2%), and the frequencies for 77
    (BANKING77 90.0 against 88.9%).

    Args:
        train: The training split, with n-grams and labels.
        num_ngrams: F.
        num_classes: C.
    """
    assert train.ngrams is not None
    assert train.labels is not None
    ids, counts = train.ngrams.values, np.bincount(train.ngrams.values, minlength=num_ngrams)
    if num_classes > 2 and train.labels.ndim == 1:
        return (np.log((1 + len(train)) / (1 + counts)) + 1).astype(np.float32)
    rows = np.repeat(np.arange(len(train)), train.ngrams.lengths)
    squares = np.zeros(num_ngrams)
    labels = range(1, num_classes) if train.labels.ndim == 1 else range(num_classes)
    for label in labels:
        is_member = train.labels == label if train.labels.ndim == 1 else train.labels[:, label] == 1
        inside = np.bincount(ids, is_member[rows], minlength=num_ngrams) + 1
        outside = counts - inside + 2
        squares += np.log((inside / inside.sum()) / (outside / outside.sum())) ** 2
    # An n-gram that is as frequent in both classes keeps a trace, so that no text of known n-grams has the length 0.
    return (np.sqrt(squares / max(1, len(labels))) + 1e-4).astype(np.float32)


def choose_shares(wide: Tensor, deep: Tensor, loss: Callable[[Tensor], float]) -> tuple[float, float]:
    """Return the shares of the two paths in the logits that are best on validation; they add up to 1.

    Args:
        wide: The logits of the wide path, [N, C].
        deep: The logits of the sequence, [N, C].
        loss: Returns the loss of logits, once they are calibrated.
    """
    candidates = [index / 20 for index in range(21)]
    best = min(candidates, key=lambda share: loss((1 - share) * wide + share * deep))
    return 1 - best, best


def logits_of(wide: WidePath, sequences: Sequences) -> Tensor:
    """Return the logits of N texts by the wide path alone, [N, C]."""
    logits: Tensor = wide(*bags_of(sequences))
    return logits


def bags_of(sequences: Sequences) -> Bags:
    """Return the n-grams of all sequences."""
    assert sequences.ngrams is not None
    ids, offsets = sequences.ngrams.values.astype(np.int64), sequences.ngrams.offsets[:-1].copy()
    return Bags(torch.from_numpy(ids), torch.from_numpy(offsets))


def _score(wide: WidePath, validation: Sequences, encoded: Tensor | None, weights: Tensor) -> Score:
    logits, labels = logits_of(wide, validation), torch.from_numpy(np.array(validation.labels))
    if encoded is not None:
        logits = logits + encoded @ weights
    thresholds = choose_thresholds(logits, labels) if labels.ndim == 2 else None
    return score_logits(logits, labels, thresholds)


class _Encoding(nn.Module):
    """The encoded sequences of a network in the place of its logits."""

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, lengths: Tensor, *_ngrams: Any) -> Tensor:
        encoded: Tensor = self.model.encoder(self.model.embedding(inputs), lengths)
        return encoded


def _encode(model: Network, sequences: Sequences, device: torch.device) -> Tensor:
    """Return the encoded sequences, float32 [N, output_size], on the CPU."""
    return predict_logits(_Encoding(model), sequences, device=device, batch_size=256)


@dataclass(frozen=True)
class _Sparse:
    """A sparse matrix: row r is the sum of values[m] * e_ids[m] over the entries m from offsets[r] on."""

    bags: Bags
    values: Tensor

    def __matmul__(self, dense: Tensor) -> Tensor:
        if not len(self.bags.ids):
            return dense.new_zeros(len(self.bags.offsets), dense.shape[1])
        product: Tensor = F.embedding_bag(
            self.bags.ids, dense, self.bags.offsets, mode="sum", per_sample_weights=self.values
        )
        return product


class _Problem:
    """The texts and labels, and the parameters that were found last: weights of n-grams and other columns, and the bias."""

    def __init__(
        self,
        wide: WidePath,
        train: Sequences,
        objective: Objective,
        encoded: Tensor | None,
        must_stop: Callable[[], bool],
    ) -> None:
        bags, self._must_stop = bags_of(train), must_stop
        self._num_ngrams = len(wide.weights)
        self._encoded = wide.weights.new_zeros(len(train), 0) if encoded is None else encoded  # [N, D]
        self._x = _Sparse(bags, wide.values(*bags))  # [N, F]
        self._transposed = _transpose(self._x, len(wide.scales))
        self._labels, self._objective = torch.from_numpy(np.array(train.labels)), objective
        self._indices = np.arange(len(train))
        self._total = objective.total_weight(self._indices)
        others = wide.weights.new_zeros(self._encoded.shape[1], wide.weights.shape[1])
        self._solution = torch.cat([wide.weights, others, wide.bias[None]])  # [F + D + 1, C]

    def fit(self, inverse_penalty: float, vector_scale: float) -> _Fitted:
        """Continue from the last solution with another penalty, or another scale of the other columns."""
        penalty, encoded = 1 / (inverse_penalty * len(self._labels)), self._encoded * vector_scale

        def loss(parameters: Tensor) -> tuple[float, Tensor]:
            weights, bias = parameters[:-1], parameters[-1]
            of_ngrams, others = weights[: self._num_ngrams], weights[self._num_ngrams :]
            logits = (self._x @ of_ngrams + encoded @ others + bias).requires_grad_()  # [N, C]
            mean = self._objective.share(self._objective.losses(logits, self._labels), self._indices, self._total)
            (by_logits,) = torch.autograd.grad(mean, logits)
            by_weights = torch.cat([self._transposed @ by_logits, encoded.T @ by_logits]).add_(weights, alpha=penalty)
            value = float(mean.detach()) + penalty / 2 * float(weights.square().sum())
            return value, torch.cat([by_weights, by_logits.sum(dim=0, keepdim=True)])

        is_far = inverse_penalty > INVERSE_PENALTIES[0] and not self._solution.any()
        max_steps = _MAX_STEPS * (2 if is_far else 1)
        self._solution = minimize(loss, self._solution, max_steps=max_steps, must_stop=self._must_stop)
        of_ngrams, others = self._solution[: self._num_ngrams], self._solution[self._num_ngrams : -1]
        return _Fitted(of_ngrams, others * vector_scale, self._solution[-1], inverse_penalty, vector_scale)


@dataclass(frozen=True)
class _Fitted:
    """The weights of n-grams [F, C] and of other columns [D, C], the bias [C], and what they were fitted with."""

    of_ngrams: Tensor
    others: Tensor
    bias: Tensor
    inverse_penalty: float
    vector_scale: float

    def put_into(self, wide: WidePath) -> Tensor:
        """Set the wide path, and return the weights of the other columns."""
        wide.weights.copy_(self.of_ngrams)
        wide.bias.copy_(self.bias)
        wide.inverse_penalty.fill_(self.inverse_penalty)
        wide.vector_scale.fill_(self.vector_scale)
        return self.others


def minimize(
    function: Callable[[Tensor], tuple[float, Tensor]],
    start: Tensor,
    *,
    max_steps: int,
    must_stop: Callable[[], bool] = never,
) -> Tensor:
    """Minimize a smooth convex function by L-BFGS (Nocedal & Wright 2006, algorithms 7.4 and 3.1).

    `torch.optim.LBFGS` does the same, but its first step loads PyTorch's compiler, which takes seconds.

    Args:
        function: Returns value and gradient at a point.
        start: The point to begin from.
        max_steps: The most steps; fewer are made once a step no longer lowers the value by a millionth.
        must_stop: Ends it before a step, but for the first one.
    """
    point, (value, gradient) = start, function(start)
    steps: deque[tuple[Tensor, Tensor, float]] = deque(
        maxlen=_HISTORY
    )  # changes of point and gradient, and 1 / their product
    for step in range(max_steps):
        if step and must_stop():
            break
        direction = _direction(gradient, steps)
        slope = _dot(direction, gradient)
        rate = 1.0 if steps else min(1.0, 1.0 / max(float(gradient.abs().sum()), 1e-12))
        while True:
            new_point = torch.add(point, direction, alpha=rate)
            new_value, new_gradient = function(new_point)
            if new_value <= value + 1e-4 * rate * slope:
                break
            rate /= 2
            if rate < 1e-10:  # as low as rounding allows
                return point
        change, bend = new_point - point, new_gradient - gradient
        if (product := _dot(change, bend)) > 1e-12:
            steps.append((change, bend, 1 / product))
        gain, point, value, gradient = value - new_value, new_point, new_value, new_gradient
        if gain <= 1e-6 * abs(value):
            break
    return point


def _direction(gradient: Tensor, steps: Iterable[tuple[Tensor, Tensor, float]]) -> Tensor:
    """Return minus the gradient times the approximate inverse of the Hessian."""
    direction, history, factors = -gradient, list(steps), []
    for change, bend, inverse in reversed(history):
        factors.append(inverse * _dot(change, direction))
        direction.sub_(bend, alpha=factors[-1])
    if history:
        change, bend, inverse = history[-1]
        direction /= inverse * _dot(bend, bend)
    for (change, bend, inverse), factor in zip(history, reversed(factors), strict=True):
        direction.add_(change, alpha=factor - inverse * _dot(bend, direction))
    return direction


def _dot(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a.flatten(), b.flatten()))


def _transpose(x: _Sparse, num_columns: int) -> _Sparse:
    ids, offsets = x.bags
    rows = torch.bucketize(torch.arange(len(ids)), offsets, right=True) - 1
    order = torch.argsort(ids, stable=True)
    counts = torch.bincount(ids, minlength=num_columns)
    return _Sparse(Bags(rows[order], counts.cumsum(0) - counts), x.values[order])
