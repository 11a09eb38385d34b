"""Plots as SVG that stands in a page: its text is text, and its colours are those of the page, by day and by night."""

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
"""The number of lines that a plot can tell apart."""

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
    "svg.fonttype": "none",  # text that is read out, searched and set in the page's font
    "text.color": _INK,
    "text.parse_math": False,  # a $ in a label is a $
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_SIZE = (4.2, 2.6)  # inches; readable when a phone shrinks it to its width
_MOST_NAMED = 60  # labels at the axes of a confusion matrix
_LONGEST = 22  # characters of such a label


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
    """Draw lines of (x, y), at most `NUM_SERIES`, with a mark at an x; a share goes from 0 to 1."""
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
    """Draw ROC curves, and where chance would be."""
    return draw_curves(name, title, curves, x_label="false positive rate", y_label="true positive rate", is_share=True)


def draw_reliability(name: str, title: str, series: Sequence[Sequence[Bin]]) -> Markup:
    """Draw accuracy by confidence, beside the line where the two are equal."""
    with _plot(name, title, _SIZE) as (figure, finish):
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=_INK, alpha=0.4, linewidth=1, linestyle=":")
        for number, bins in enumerate(series):
            x, y = [found.confidence for found in bins], [found.accuracy for found in bins]
            axes.plot(x, y, color=_SERIES[number], linestyle=_DASHES[number], marker="os"[number % 2], markersize=4)
        least = min((value for bins in series for found in bins for value in (found.confidence, found.accuracy)), default=0)
        low = max(0.0, np.floor(least * 10) / 10)
        axes.set(xlim=(low - 0.02, 1.02), ylim=(low - 0.02, 1.02), xlabel="confidence", ylabel="share that is right")
    return finish()


def draw_groups(name: str, title: str, groups: Sequence[Group], names: Sequence[str], *, overall: float) -> Markup:
    """Draw the accuracy of groups of examples with its intervals, and that of all."""
    with _plot(name, title, (_SIZE[0], 0.9 + 0.28 * len(groups))) as (figure, finish):
        axes = figure.subplots()
        for place, group in enumerate(groups):
            accuracy = group.accuracy
            assert accuracy.low is not None
            assert accuracy.high is not None
            axes.plot([100 * accuracy.low, 100 * accuracy.high], [place, place], color=_SERIES[0])
            axes.plot([100 * accuracy.value], [place], "o", color=_SERIES[0], markersize=5)
        axes.axvline(100 * overall, color=_INK, alpha=0.5, linewidth=1, linestyle=":")
        axes.set_yticks(range(len(groups)), labels=names)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set_xlabel("accuracy, %, with 95% intervals")
    return finish()


def draw_confusion(name: str, title: str, shares: NDArray[np.float64], labels: Sequence[str]) -> Markup:
    """Draw a confusion matrix [C, C] of many labels, each row in shares of its examples, as shades of one colour."""
    count = len(labels)
    is_named = count <= _MOST_NAMED
    side = min(9.5, 2.2 + 0.14 * count) if is_named else 6.0
    with _plot(name, title, (side, side)) as (figure, finish):
        axes = figure.subplots()
        axes.grid(visible=False)
        rows, columns = np.nonzero(shares)
        corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
        colours = [to_rgba(_SERIES[0], 0.12 + 0.88 * share) for share in shares[rows, columns].tolist()]
        squares = np.stack([columns, rows], axis=1)[:, None] + corners  # [cells, 4, 2]
        axes.add_collection(PolyCollection(list(squares), facecolors=colours, linewidth=0), autolim=False)
        axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect="equal", xlabel="said", ylabel="label")
        if is_named:
            shown = [_short(label) for label in labels]
            axes.set_xticks(range(count), labels=shown, rotation=90, fontsize=7)
            axes.set_yticks(range(count), labels=shown, fontsize=7)
    return finish()


def _short(label: str) -> str:
    line = excerpt(label)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


@contextmanager
def _plot(name: str, title: str, size: tuple[float, float]) -> Iterator[tuple[Figure, Callable[[], Markup]]]:
    """Yield a figure, and what returns it as SVG; whatever the user's own settings of matplotlib are."""
    with mpl.rc_context(), warnings.catch_warnings():
        # The page's fonts draw the text, and have what matplotlib's own lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        mpl.rcdefaults()
        mpl.rcParams.update({**_STYLE, "svg.hashsalt": name})
        figure = Figure(figsize=size)
        found: list[Markup] = []
        yield figure, lambda: found[0]
        file = io.BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        found.append(_as_part_of_page(file.getvalue().decode(), name, title))


def _as_part_of_page(svg: str, name: str, title: str) -> Markup:
    """Return the SVG with colours and names that fit the page, as an image with a label for those who do not see it."""
    svg = svg[svg.index("<svg") :]
    # A style sheet in it would be one of the whole page, which has the rules for plots itself.
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
