"""The plot of a comparison: one figure with its interval per row, in an image file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from seqcls.errors import DataError, MissingExtraError
from seqcls.evaluation.intervals import Interval


def plot_intervals(intervals: Mapping[str, Interval], path: Path, *, label: str) -> None:
    """Draw figures with their intervals, the best on top, as PNG, SVG or PDF by the path's extension.

    Raises:
        MissingExtraError: matplotlib is not installed.
        DataError: The file cannot be written, or matplotlib does not know the format.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtraError("matplotlib", "report") from None
    ranked = sorted(intervals.items(), key=lambda item: item[1].value)
    figure = Figure(figsize=(6.4, 1.2 + 0.35 * len(ranked)), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for y, (_, interval) in enumerate(ranked):
        if interval.low is not None and interval.high is not None:
            axes.plot([100 * interval.low, 100 * interval.high], [y, y], color="grey")
        axes.plot([100 * interval.value], [y], "o", color="C0")
    axes.set_yticks(range(len(ranked)), labels=[name for name, _ in ranked])
    axes.set_xlabel(f"{label} (%), with 95% intervals")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot write the plot {path}: {error}") from error
