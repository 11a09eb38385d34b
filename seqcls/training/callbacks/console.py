"""The run on the screen: a progress bar, and one table row per evaluation; plain lines off a terminal."""

from __future__ import annotations

import textwrap
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from seqcls.config.auto import describe_chosen
from seqcls.config.values import Monitor
from seqcls.evaluation.intervals import wilson_interval
from seqcls.evaluation.scores import Evaluation
from seqcls.training.callbacks.base import Callback
from seqcls.training.results import Compared
from seqcls.training.state import FitState

SECONDS_BETWEEN_UPDATES = 0.5
SECONDS_BETWEEN_LINES = 30.0
HEADER = f"{'epoch':>6} {'step':>7} {'loss':>8} {'acc.':>7} {'val. loss':>10} {'val. acc.':>10} {'ex./s':>7} {'time':>8}"


class ConsoleReporter(Callback):
    """Shows loss, accuracy, examples per second and the time left on stderr, and one row per evaluation.

    Args:
        console: The console to write to; by default stderr. A live bar appears only on a terminal.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._title: str | None = None
        self._progress: Progress | None = None
        self._updated_at = 0.0

    def titled(self, title: str) -> ConsoleReporter:
        """Return a reporter for one training among several, which shows nothing but the bar, with a title."""
        reporter = ConsoleReporter(self._console)
        reporter._title = title
        return reporter

    def on_fit_start(self, state: FitState) -> None:
        """Print what was chosen to fit the data, and the header of the table, and start the bar."""
        self._updated_at = time.monotonic()
        if self._title is None:
            self._print_head(state)
        if self._console.is_terminal:
            self._progress = Progress(
                *([] if self._title is None else [TextColumn(self._title)]),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                TimeRemainingColumn(compact=True),
                console=self._console,
                transient=True,
            )
            self._progress.add_task("steps", total=state.total_steps, completed=state.step, figures="")
            self._progress.start()

    def _print_head(self, state: FitState) -> None:
        if state.config.chosen and not state.step:
            chosen = f"Chosen to fit the data: {describe_chosen(state.config)}"
            self._print(textwrap.fill(chosen, len(HEADER), subsequent_indent="  ", break_long_words=False))
        if state.setup.has_validation:
            self._print(HEADER + (f" {'val. F1':>7}" if state.config.fit.monitor == "f1" else ""))

    def on_step_end(self, state: FitState) -> None:
        """Move the bar or print a line, if enough time has passed: reading the figures waits for the device."""
        wait = SECONDS_BETWEEN_UPDATES if self._progress else SECONDS_BETWEEN_LINES
        if time.monotonic() - self._updated_at < wait:
            return
        self._updated_at = time.monotonic()
        score = state.running.compute()
        speed = state.examples / max(state.training_seconds, 1e-9)
        figures = f"loss {score.loss:.3f}  acc. {100 * score.accuracy:.1f}%  {speed:.0f}/s"
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=state.step, figures=figures)
        else:
            title = "" if self._title is None else f"{self._title}: "
            self._print(f"{title}step {state.step}/{state.total_steps}  {figures}")

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        """Print a row; an asterisk marks the best so far."""
        if self._title is not None:
            return
        train, validation = evaluation.train, evaluation.validation
        epochs = evaluation.step / state.steps_per_epoch
        f1 = f" {100 * validation.figure('f1'):>6.1f}%" if state.config.fit.monitor == "f1" else ""
        self._print(
            f"{epochs:>6.3g} {evaluation.step:>7} {train.loss:>8.4f} {100 * train.accuracy:>6.1f}% "
            f"{validation.loss:>10.4f} {100 * validation.accuracy:>9.2f}% {evaluation.examples_per_second:>7.0f} "
            f"{format_seconds(evaluation.seconds):>8}{f1}{' *' if improved else ''}"
        )

    def close(self) -> None:
        """Remove the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def format_seconds(seconds: float) -> str:
    """Return a duration as 12.3 s, 4:05 or 1:02:03."""
    if seconds < 59.95:  # above it would read 60.0 s
        return f"{seconds:.1f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


class ComparisonTable:
    """The candidates among which a model is chosen, one row each, on stderr; an asterisk marks the best so far.

    Args:
        monitor: The figure by which they are compared.
        show: Whether to print anything.
        console: The console to write to; by default stderr.
    """

    def __init__(self, monitor: Monitor, *, show: bool, console: Console | None = None) -> None:
        self._monitor, self._show = monitor, show
        self._console = console or Console(stderr=True)

    def begin(self, first: Compared) -> None:
        """Say what the candidates are compared on, and print the header."""
        count = f"{first.validation.count:,} examples"
        how = (
            f"{count} held out for validation"
            if first.folds == 1
            else f"{count}, by cross-validation in {first.folds} parts"
        )
        self.say(f"Comparing models on {how}")
        self.say(f"{'model':<28} {'val. loss':>10} {'val. acc.':>10} {'95% interval':>14} {'time':>8}" + self._f1("val. F1"))

    def add(self, row: Compared, *, is_best: bool) -> None:
        """Print the row of a candidate that is done."""
        score = row.validation
        interval = wilson_interval(score.correct, score.count).bounds_in_percent()
        f1 = "" if score.macro_f1 is None else self._f1(f"{100 * score.macro_f1:.1f}%")
        self.say(
            f"{row.name:<28} {score.loss:>10.4f} {100 * score.accuracy:>9.2f}% {interval:>14} "
            f"{format_seconds(row.seconds):>8}{f1}{' *' if is_best else ''}"
        )

    def say(self, text: str) -> None:
        """Print a line."""
        if self._show:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _f1(self, text: str) -> str:
        return f" {text:>7}" if self._monitor == "f1" else ""
