"""The explanation of one prediction, and how it is shown: as pieces of text, as JSON, and as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqcls.inference.attribution import Method

_FOR_COLOUR, _AGAINST_COLOUR = "46, 160, 67", "218, 54, 51"


@dataclass(frozen=True, eq=False)
class Explanation:
    """What each token of a text, or each step of a sequence of numbers, contributes to a label.

    Attributes:
        label: The label that is explained.
        probability: Its probability.
        text: The text; None for a sequence of numbers.
        spans: int64 [T, 2]: token t is text[start:end]; for a sequence of numbers, they are t and t + 1.
        contributions: float64 [T]: what token t adds to the log-odds of the label, log p - log (1 - p).
        method: The method that computed them.
        gap: The error of the sum of the contributions, which should be the log-odds minus those of a sequence of zero
            vectors; None for occlusion, whose contributions do not add up to anything.
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

    def __repr__(self) -> str:
        words = ", ".join(f"{word!r}: {value:+.2f}" for word, value in strongest(self, 3))
        return f"Explanation({self.label!r}, probability={self.probability:.4f}, strongest={{{words}}})"

    @property
    def tokens(self) -> list[str]:
        """The tokens as they stand in the text; for a sequence of numbers, the numbers of the steps."""
        if self.text is None:
            return [str(start) for start, _ in self.spans]
        return [self.text[start:end] for start, end in self.spans]

    def pieces(self) -> Iterator[tuple[str, float]]:
        """Yield the text in pieces, each with its contribution relative to the largest: from -1 to 1, 0 between tokens."""
        largest = np.abs(self.contributions).max(initial=0.0) or 1.0
        shown = 0  # characters so far
        for (start, end), value in zip(self.spans, self.contributions, strict=True):
            if self.text is None:
                yield f"{start} ", float(value / largest)
                continue
            if start > shown:
                yield self.text[shown:start], 0.0
            if end > max(start, shown):  # one character may be split into several tokens
                yield self.text[max(start, shown) : end], float(value / largest)
            shown = max(shown, end)
        if self.text is not None and shown < len(self.text):
            yield self.text[shown:], 0.0

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
        """Return the text as an HTML fragment: green and underlined for the label, red and dotted against it."""
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
    colour, line = (_FOR_COLOUR, "solid") if value > 0 else (_AGAINST_COLOUR, "dotted")
    style = (
        f"background: rgba({colour}, {0.75 * abs(value):.2f}); border-bottom: 2px {line} rgba({colour}, {abs(value):.2f})"
    )
    return f'<span style="{style}" title="{value:+.2f}">{text}</span>'


def strongest(explanation: Explanation, count: int) -> Sequence[tuple[str, float]]:
    """Return the tokens with the largest contributions of either sign; those of a repeated token are added up."""
    sums: dict[str, float] = {}
    for token, value in zip(explanation.tokens, explanation.contributions.tolist(), strict=True):
        sums[token.lower()] = sums.get(token.lower(), 0.0) + value
    return sorted(sums.items(), key=lambda item: -abs(item[1]))[:count]
