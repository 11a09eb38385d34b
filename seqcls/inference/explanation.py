"""Why a model gives a label: what each token of a sequence contributes to its log-odds."""

from __future__ import annotations

import html
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqcls.data.rules import UNK_ID
from seqcls.model.forward import CPU_TOKENS
from seqcls.model.network import Network

Method = Literal["integrated-gradients", "occlusion"]

_LEAST_STEPS, _MOST_STEPS = 16, 512  # of the integral
_TOLERANCE = 0.01  # of the log-odds that contributions may fail to add up to
_MOST_OCCLUSIONS = 200
_FOR, _AGAINST = "46, 160, 67", "218, 54, 51"

logger = logging.getLogger("seqcls")


@dataclass(frozen=True, eq=False)
class Explanation:
    """What each token of a text, or each step of a sequence of numbers, contributes to a label.

    Attributes:
        label: The label that is explained.
        probability: Its probability.
        text: The text; None for a sequence of numbers.
        spans: int64 [T, 2]: token t is text[start:end]; for a sequence of numbers the step t and t + 1.
        contributions: float64 [T]: what token t adds to the log-odds of the label, log p - log (1 - p).
        method: How they were computed.
        gap: By how much they fail to add up to the log-odds, less those of a text of zero vectors; None for occlusion, which
            makes no such promise.
        num_tokens: The number of tokens before the text was cut to those that the model reads.
    """

    label: str
    probability: float
    text: str | None
    spans: NDArray[np.int64]
    contributions: NDArray[np.float64]
    method: Method
    gap: float | None
    num_tokens: int

    @property
    def tokens(self) -> list[str]:
        """The tokens as they stand in the text; the numbers of steps."""
        if self.text is None:
            return [str(start) for start, _ in self.spans]
        return [self.text[start:end] for start, end in self.spans]

    def pieces(self) -> Iterator[tuple[str, float]]:
        """Yield the text in pieces, each with its contribution in parts of the largest: from -1 to 1, 0 between tokens."""
        largest = np.abs(self.contributions).max(initial=0.0) or 1.0
        place = 0
        for (start, end), value in zip(self.spans, self.contributions, strict=True):
            if self.text is None:
                yield f"{start} ", float(value / largest)
                continue
            if start > place:
                yield self.text[place:start], 0.0
            if end > max(start, place):  # parts of one character may be several tokens
                yield self.text[max(start, place) : end], float(value / largest)
            place = max(place, end)
        if self.text is not None and place < len(self.text):
            yield self.text[place:], 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the explanation as `seqcls explain --json` prints it."""
        return {
            "label": self.label,
            "probability": self.probability,
            "method": self.method,
            "gap": self.gap,
            "num_tokens": self.num_tokens,
            "tokens": [
                {"token": token, "start": start, "end": end, "contribution": value}
                for token, (start, end), value in zip(
                    self.tokens, self.spans.tolist(), self.contributions.tolist(), strict=True
                )
            ],
        }

    def to_html(self) -> str:
        """Return the text as an HTML fragment: green and underlined what speaks for the label, red and dotted against."""
        marked = "".join(_marked(piece, value) for piece, value in self.pieces())
        title = f"<b>{html.escape(self.label)}</b> {100 * self.probability:.1f}%"
        body = f'<div style="white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.7">{marked}</div>'
        return f'<div class="seqcls-explanation"><p>{title}</p>{body}</div>'

    def _repr_html_(self) -> str:
        return self.to_html()


def _marked(piece: str, value: float) -> str:
    text = html.escape(piece)
    if not value:
        return text
    colour, line = (_FOR, "solid") if value > 0 else (_AGAINST, "dotted")
    style = (
        f"background: rgba({colour}, {0.75 * abs(value):.2f}); border-bottom: 2px {line} rgba({colour}, {abs(value):.2f})"
    )
    return f'<span style="{style}" title="{value:+.2f}">{text}</span>'


def contributions(
    model: Network, inputs: Tensor, label: int, *, method: Method, temperature: float, is_multi_label: bool
) -> tuple[NDArray[np.float64], float | None]:
    """Return what each step contributes to the log-odds of a label, float64 [T], and the gap of `Explanation`.

    Args:
        model: In evaluation mode.
        inputs: What the model reads of one sequence: int64 [T] or float32 [T, D], on its device.
        label: The number of the label.
        method: "integrated-gradients" (Sundararajan, Taly & Yan 2017, eq. 1): the mean gradient along the way from vectors
            of zeros, which padding has, to those of the sequence, times these. Or "occlusion" (Zeiler & Fergus 2014): by how
            much the log-odds fall when the token is unknown, or the numbers are the means of training.
        temperature: What logits are divided by.
        is_multi_label: Whether there may be several labels.
    """

    def log_odds(logits: Tensor) -> Tensor:
        scaled = logits.double() / temperature
        if is_multi_label or scaled.shape[1] == 1:
            return scaled[:, label]
        others = torch.cat([scaled[:, :label], scaled[:, label + 1 :]], dim=1)
        return scaled[:, label] - others.logsumexp(dim=1)

    explain = _integrated_gradients if method == "integrated-gradients" else _occlusion
    # cuDNN has no gradients of recurrent layers in evaluation mode.
    with torch.backends.cudnn.flags(enabled=False):
        return explain(model, inputs, log_odds)


def _integrated_gradients(model: Network, inputs: Tensor, log_odds: Any) -> tuple[NDArray[np.float64], float | None]:
    with torch.no_grad():
        x = model.embedding(inputs.unsqueeze(0))  # [1, T, embedding_size]

    def values(vectors: Tensor) -> Tensor:
        lengths = torch.full((len(vectors),), x.shape[1])
        found: Tensor = log_odds(model.read_out(model.encoder(vectors, lengths)))
        return found

    with torch.no_grad():
        whole, none = values(torch.cat([x, torch.zeros_like(x)])).tolist()
    steps = _LEAST_STEPS
    while True:
        found = _mean_gradient(values, x, steps)
        gap = abs(found.sum() - (whole - none))
        if gap <= _TOLERANCE * max(1.0, abs(whole - none)):
            break
        if steps >= _MOST_STEPS:
            logger.warning("the contributions add up to %.3g, not to the log-odds of %.3g", found.sum(), whole - none)
            break
        steps *= 2
    return found, float(gap)


def _mean_gradient(values: Any, x: Tensor, steps: int) -> NDArray[np.float64]:
    """Return the contributions [T] by Gauss's quadrature with so many steps, some at a time."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    total = torch.zeros(x.shape[1:], dtype=torch.float64, device=x.device)
    at_once = max(1, CPU_TOKENS // x.shape[1])
    for start in range(0, steps, at_once):
        part = slice(start, start + at_once)
        factors, shares = (
            torch.from_numpy(numbers[part]).to(x).view(-1, 1, 1) for numbers in ((nodes + 1) / 2, weights / 2)
        )
        points = (factors * x).requires_grad_()
        (gradient,) = torch.autograd.grad(values(points).sum(), points)
        total += (shares * gradient).sum(dim=0).double()
    return np.asarray((total * x[0].double()).sum(dim=-1).cpu().numpy())


def _occlusion(model: Network, inputs: Tensor, log_odds: Any) -> tuple[NDArray[np.float64], float | None]:
    """Hide one token at a time; of long sequences, several side by side, which share what they contribute."""
    width = -(-len(inputs) // _MOST_OCCLUSIONS)
    starts = list(range(0, len(inputs), width))
    hidden = inputs.repeat(len(starts), *[1] * inputs.ndim)  # [W, T] or [W, T, D]
    nothing = UNK_ID if inputs.ndim == 1 else 0.0
    for row, start in enumerate(starts):
        hidden[row, start : start + width] = nothing
    at_once = max(1, CPU_TOKENS // len(inputs))
    with torch.inference_mode():
        rows = torch.cat([inputs.unsqueeze(0), hidden]).split(at_once)
        found = torch.cat([log_odds(model(part, torch.full((len(part),), len(inputs)))) for part in rows]).cpu()
    falls = (found[0] - found[1:]).numpy()
    sizes = [min(width, len(inputs) - start) for start in starts]
    return np.repeat(falls / sizes, sizes), None


def strongest(explanation: Explanation, count: int) -> Sequence[tuple[str, float]]:
    """Return the tokens of largest contribution, whatever its sign, each once with the sum of its places."""
    sums: dict[str, float] = {}
    for token, value in zip(explanation.tokens, explanation.contributions.tolist(), strict=True):
        sums[token.lower()] = sums.get(token.lower(), 0.0) + value
    return sorted(sums.items(), key=lambda item: -abs(item[1]))[:count]
