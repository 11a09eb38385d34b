"""Plots as SVG inside a page: their text is text, and they follow the light or dark colours of the page."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray

from seqcls.apps.check.findings import excerpt
from seqcls.apps.report.figures import Curve, Group
from seqcls.evaluation.calibration import Bin

NUM_SERIES = 6
"""The number of lines that can be told apart in one plot."""

_INK = "#010203"
_SERIES = tuple(f"#01020{number}" for number in range(4, 4 + NUM_SERIES))
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)), (0, (3, 1)), (0, (9, 3)))
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _INK,
    "axes.grid": True,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "grid.alpha": 0.15,
    "grid.color": _INK,
    "svg.fonttype": "none",  # text that screen readers read, that can be searched, and that has the font of the page
    "text.color": _INK,
    "text.parse_math": False,  # a $ in a label is not mathematics
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_SIZE = (4.2, 2.6)  # inches; readable at the width of a phone
_MAX_NAMED = 60  # labels at the axes of a confusion matrix
_MAX_CHARACTERS = 22  # of such a label


def draw_curves(
    name: str,
    title: str,
    lines: Sequence[tuple[Sequence[float] | NDArray[np.float64], Sequence[float] | NDArray[np.float64]]],
    *,
    x_label: str,
    y_label: str,
    marked_x: float | None = None,
    is_share: bool = False,
) -> Markup:
    """Draw at most `NUM_SERIES` lines of (x, y), and a dotted line at ``marked_x``; shares have axes from 0 to 1."""
    with _plot(name, title, _SIZE) as (figure, finish):
        axes = figure.subplots()
        for number, (x, y) in enumerate(lines):
            few = len(x) <= 30
            axes.plot(x, y, color=_SERIES[number], linestyle=_DASHES[number], marker="o" if few else "", markersize=3)
        if marked_x is not None:
            axes.axvline(marked_x, color=_INK, alpha=0.5, linewidth=1, linestyle=":")
        if is_share:
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set(xlabel=x_label, ylabel=y_label)
    return finish()


def draw_roc(name: str, title: str, curves: Sequence[Curve]) -> Markup:
    """Draw ROC curves."""
    return draw_curves(name, title, curves, x_label="false positive rate", y_label="true positive rate", is_share=True)


def draw_reliability(name: str, title: str, series: Sequence[Sequence[Bin]]) -> Markup:
    """Draw accuracy by confidence, and the dotted line on which they are equal."""
    with _plot(name, title, _SIZE) as (figure, finish):
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=_INK, alpha=0.4, linewidth=1, linestyle=":")
        for number, bins in enumerate(series):
            x, y = [bucket.confidence for bucket in bins], [bucket.accuracy for bucket in bins]
            axes.plot(x, y, color=_SERIES[number], linestyle=_DASHES[number], marker="os"[number % 2], markersize=4)
        lowest = min((value for bins in series for group in bins for value in (group.confidence, group.accuracy)), default=0)
        low = max(0.0, np.floor(lowest * 10) / 10)
        axes.set(xlim=(low - 0.02, 1.02), ylim=(low - 0.02, 1.02), xlabel="confidence", ylabel="accuracy")
    return finish()


def draw_groups(name: str, title: str, groups: Sequence[Group], names: Sequence[str], *, overall: float) -> Markup:
    """Draw the accuracy of groups of examples with its intervals, and the overall accuracy as a dotted line."""
    with _plot(name, title, (_SIZE[0], 0.9 + 0.28 * len(groups))) as (figure, finish):
        axes = figure.subplots()
        for y, group in enumerate(groups):
            accuracy = group.accuracy
            assert accuracy.low is not None
            assert accuracy.high is not None
            axes.plot([100 * accuracy.low, 100 * accuracy.high], [y, y], color=_SERIES[0])
            axes.plot([100 * accuracy.value], [y], "o", color=_SERIES[0], markersize=5)
        axes.axvline(100 * overall, color=_INK, alpha=0.5, linewidth=1, linestyle=":")
        axes.set_yticks(range(len(groups)), labels=names)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set_xlabel("accuracy (%), with 95% intervals")
    return finish()


def draw_confusion(name: str, title: str, shares: NDArray[np.float64], labels: Sequence[str]) -> Markup:
    """Draw a confusion matrix [C, C], whose rows are shares of the examples of a label, in shades of one colour."""
    count = len(labels)
    is_named = count <= _MAX_NAMED
    side = min(9.5, 2.2 + 0.14 * count) if is_named else 6.0
    with _plot(name, title, (side, side)) as (figure, finish):
        axes = figure.subplots()
        axes.grid(visible=False)
        rows, columns = np.nonzero(shares)
        corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
        colours = [to_rgba(_SERIES[0], 0.12 + 0.88 * share) for share in shares[rows, columns].tolist()]
        squares = np.stack([columns, rows], axis=1)[:, None] + corners  # [cells, 4, 2]
        axes.add_collection(PolyCollection(list(squares), facecolors=colours, linewidth=0), autolim=False)
        axes.set(
            xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect="equal", xlabel="predicted label", ylabel="true label"
        )
        if is_named:
            shown = [_short(label) for label in labels]
            axes.set_xticks(range(count), labels=shown, rotation=90, fontsize=7)
            axes.set_yticks(range(count), labels=shown, fontsize=7)
    return finish()


def _short(label: str) -> str:
    line = excerpt(label)
    return line if len(line) <= _MAX_CHARACTERS else f"{line[: _MAX_CHARACTERS - 1]}…"


@contextmanager
def _plot(name: str, title: str, size: tuple[float, float]) -> Iterator[tuple[Figure, Callable[[], Markup]]]:
    """Yield a figure, and a function that returns it as SVG afterwards; the user's settings of matplotlib do not matter."""
    with mpl.rc_context(), warnings.catch_warnings():
        # The text is drawn with the fonts of the page, which have more glyphs than that of matplotlib.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        mpl.rcdefaults()
        mpl.rcParams.update({**_STYLE, "svg.hashsalt": name})
        figure = Figure(figsize=size)
        finished: list[Markup] = []
        yield figure, lambda: finished[0]
        file = io.BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        finished.append(_as_part_of_page(file.getvalue().decode(), name, title))


def _as_part_of_page(svg: str, name: str, title: str) -> Markup:
    """Return the SVG with the colours of the page, with ids that are unique in it, and with a label for screen readers."""
    svg = svg[svg.index("<svg") :]
    # A style sheet in the SVG would apply to the whole page, whose own style sheet has the rules for plots.
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'url\(#|(?<=href=")#', lambda match: f"{match[0]}{name}-", svg)
    svg = svg.replace(_INK, "currentColor")
    for number, colour in enumerate(_SERIES):
        svg = svg.replace(colour, f"var(--series-{number + 1})")
    width, height = re.search(r'viewBox="0 0 (\S+) (\S+)"', svg).groups()  # type: ignore[union-attr]
    attributes = f'role="img" aria-label="{html.escape(title)}" viewBox="0 0 {width} {height}"'
    svg = re.sub(r"<svg[^>]*>", lambda _: f'<svg {attributes} style="--width: {float(width):.0f}">', svg, count=1)
    return Markup(svg)  # noqa: S704  (matplotlib escapes the text in it)  # nosec B704
