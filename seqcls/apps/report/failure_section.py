"""What the page tells about where the model fails: accuracy by length and unknown words, and the worst mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from markupsafe import Markup

from seqcls.apps.report import plots
from seqcls.apps.report.answers import Answers, Mistake
from seqcls.apps.report.figures import Group, accuracy_by
from seqcls.apps.report.parts import Plot, Table


class FailureSection:
    """What the page tells about where the model fails."""

    def __init__(self, answers: Answers, *, is_text: bool) -> None:
        self._answers = answers
        self._is_text = is_text

    @cached_property
    def groups(self) -> list[Plot]:
        """Accuracy by the length of sequences, and by the share of unknown words."""
        groups = accuracy_by(self._answers.lengths, self._answers.predictions)
        names = [_range(f"{group.low:,.0f}", f"{group.high:,.0f}") for group in groups]
        unit = "tokens" if self._is_text else "steps"
        note = "Lengths are those of the full texts, before they are cut to max_length." if self._is_text else ""
        by_group = [self._plot("length", f"Accuracy by length, in {unit}", groups, names, unit, note)]
        if self._answers.unknown_rates is not None:
            groups = accuracy_by(self._answers.unknown_rates, self._answers.predictions)
            names = [_range(f"{100 * group.low:.1f}%", f"{100 * group.high:.1f}%") for group in groups]
            title = "Accuracy by share of unknown tokens"
            note = "Words that are not in the vocabulary look alike to the model."
            by_group.append(self._plot("unknown", title, groups, names, "unknown", note))
        return by_group

    def _plot(self, name: str, title: str, groups: Sequence[Group], names: Sequence[str], head: str, note: str) -> Plot:
        overall = float(self._answers.predictions.is_correct.mean())
        svg = plots.draw_groups(f"by-{name}", title, groups, names, overall=overall)
        rows = [[label, f"{group.count:,}", group.accuracy.in_percent()] for label, group in zip(names, groups, strict=True)]
        note = f"{note} The dotted line is the overall accuracy.".strip()
        return Plot(title, svg, note, Table([head, "examples", "accuracy"], rows))

    def mistakes(self) -> Iterator[tuple[Mistake, Markup]]:
        """Yield the worst mistakes, each with its text, in which the words are marked."""
        for mistake in self._answers.mistakes:
            yield mistake, Markup(mistake.explanation.to_html())  # noqa: S704  (it escapes the text)  # nosec B704


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"
