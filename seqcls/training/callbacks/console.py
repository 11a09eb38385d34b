"""The run on the screen: a progress bar, and one table row per evaluation; plain lines off a terminal."""

from __future__ import annotations

import textwrap
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from seqcls.config.auto import describe_chosen
from seqcls.evaluation.scores import Evaluation
from seqcls.training.callbacks.base import Callback
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
        self._progress: Progress | None = None
        self._updated_at = 0.0

    def on_fit_start(self, state: FitState) -> None:
        """Print what was chosen to fit the data, and the header of the table, and start the bar."""
        self._updated_at = time.monotonic()
        if state.config.chosen and not state.step:
            chosen = f"Chosen to fit the data: {describe_chosen(state.config)}"
            self._print(textwrap.fill(chosen, len(HEADER), subsequent_indent="  ", break_long_words=False))
        self._print(HEADER + (f" {'val. F1':>7}" if state.config.fit.monitor == "f1" else ""))
        if self._console.is_terminal:
            self._progress = Progress(
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                TimeRemainingColumn(compact=True),
                console=self._console,
                transient=True,
            )
            self._progress.add_task("steps", total=state.total_steps, completed=state.step, figures="")
            self._progress.start()

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
            self._print(f"step {state.step}/{state.total_steps}  {figures}")

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        """Print a row; an asterisk marks the best so far."""
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
