"""When a run ends early: a signal, the time limit or a callback asks for it, and all processes stop together."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any

from seqcls.training.scoring import Scorer
from seqcls.training.state import FitState

_STOPPING = (signal.SIGINT, signal.SIGTERM)
# Kept of a time limit for what cannot be foreseen: leaving Python, and importing it before the clock was started.
SPARE_SECONDS = 3.0
# Of a time limit, at most this share is kept for scoring the test split.
TEST_SHARE = 0.25


@dataclass(frozen=True)
class TimeLimit:
    """The time by which a process must have ended.

    Attributes:
        began: When the process was started, of `time.monotonic`.
        seconds: How long it may run; None for no limit.
    """

    began: float
    seconds: float | None

    def leaves(self, needed: float, spare: float = SPARE_SECONDS) -> bool:
        """Return whether ``needed`` seconds are left, beside the ``spare`` ones."""
        return self.seconds is None or time.monotonic() - self.began + needed + spare < self.seconds

    def __str__(self) -> str:
        return "none" if self.seconds is None else f"{timedelta(seconds=round(self.seconds))}"


class Signals:
    """The signals that reach a run: SIGINT and SIGTERM end it with a checkpoint, SIGUSR1 asks for a checkpoint.

    Attributes:
        received: The signal that asked this process to end; None if there was none.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._save_requested = False
        self._state: FitState | None = None

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Let SIGUSR1 ask for a checkpoint; before there is a state, for one as soon as there is."""
        number = getattr(signal, "SIGUSR1", None)  # Windows has none
        with _handled(() if number is None else (number,), self._save):
            yield

    @contextlib.contextmanager
    def stopping(self, state: FitState) -> Iterator[None]:
        """Let the first SIGINT or SIGTERM ask the run to stop, and the next one act as usual."""
        self._state = state
        if self._save_requested:
            state.save_soon()
        usual = {number: signal.getsignal(number) for number in _STOPPING}

        def stop(number: int, _frame: FrameType | None) -> None:
            if self.received is not None:
                signal.signal(number, usual[signal.Signals(number)])
                signal.raise_signal(number)
            self.received = number
            state.stop(f"interrupted by {signal.Signals(number).name}")

        # A signal that is ignored, as for a background job, stays ignored.
        caught = tuple(number for number in _STOPPING if usual[number] is not signal.SIG_IGN)
        with _handled(caught, stop):
            yield

    def _save(self, _number: int, _frame: FrameType | None) -> None:
        self._save_requested = True
        if self._state is not None:
            self._state.save_soon()


@dataclass(frozen=True)
class Ending:
    """How the training loop ended, in all processes alike.

    Attributes:
        reason: Why it ended.
        signal: The signal that ended it; None if none did.
        is_cut_short: Whether the time limit ended it.
        has_time: Whether the time limit leaves time for calibration and for scoring the test split.
    """

    reason: str
    signal: int | None
    is_cut_short: bool
    has_time: bool


class Stopping:
    """Decides whether the loop must end before all epochs are done."""

    def __init__(self, state: FitState, *, signals: Signals, limit: TimeLimit, scorer: Scorer) -> None:
        self._state = state
        self._signals = signals
        self._limit = limit
        self._scorer = scorer
        self._is_cut_short = False

    def must_stop(self) -> bool:
        """Return whether this process must stop: later, saving and scoring would not end within the time limit."""
        limit, state = self._limit, self._state
        if limit.seconds is not None and state.stop_reason is None:
            needed = 2 * state.save_seconds + min(self._test_seconds(), TEST_SHARE * limit.seconds)
            if not limit.leaves(needed):
                self._is_cut_short = True
                state.stop(f"the time limit of {limit} is reached")
        return state.stop_reason is not None

    def must_all_stop(self) -> bool:
        """Return whether one of the processes must stop: then all do, after the same step, and know why."""
        must_stop, number, is_cut_short = self._state.world.largest(
            self.must_stop(), self._signals.received or 0, self._is_cut_short
        )
        if must_stop:
            self._is_cut_short = bool(is_cut_short)
            name = f"interrupted by {signal.Signals(number).name}" if number else "another process was asked to stop"
            self._state.stop(name)
        return bool(must_stop)

    def must_leave(self) -> bool:
        """Return whether even a running evaluation must be given up; for a callback's wish to stop it is not."""
        return self._signals.received is not None or (self._limit.seconds is not None and self.must_stop())

    def ending(self) -> Ending:
        """Return how the loop ended; called by all processes after it."""
        # Half of the spare time: the loop kept all of it, and its end may have taken some.
        has_time = self._limit.leaves(self._test_seconds(), spare=SPARE_SECONDS / 2)
        # A signal may have come to one process alone, since the loop has ended.
        number, lacks_time = self._state.world.largest(self._signals.received or 0, not has_time)
        return Ending(self._state.stop_reason or "", number or None, self._is_cut_short, has_time=not lacks_time)

    def _test_seconds(self) -> float:
        """Return about how long scoring the test split takes; before the first score, as long as training on it."""
        progress = self._state.progress
        return self._scorer.expected_seconds("test", per_example=progress.training_seconds / max(progress.examples, 1))


@contextlib.contextmanager
def _handled(numbers: tuple[int, ...], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Set a signal handler for the block; outside the main thread, where Python allows none, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual: dict[int, Any] = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in usual.items():
            signal.signal(number, before)
