"""What reaches a run from outside: SIGINT, SIGTERM and a time limit, which end it, and SIGUSR1; each with a checkpoint."""

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

from seqcls.training.state import FitState

_STOPPING = (signal.SIGINT, signal.SIGTERM)


# Kept of a time limit for what cannot be foreseen: leaving Python, and that importing it came before the clock was started.
SPARE_SECONDS = 3.0


@dataclass(frozen=True)
class TimeLimit:
    """The time by which a process is to have ended.

    Attributes:
        began: When it was started, of `time.monotonic`.
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
    """The signals of a run.

    Attributes:
        received: The one that asked the run to end, if one did.
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

        # One that is ignored, as that of a background job, stays so.
        caught = tuple(number for number in _STOPPING if usual[number] is not signal.SIG_IGN)
        with _handled(caught, stop):
            yield

    def _save(self, _number: int, _frame: FrameType | None) -> None:
        self._save_requested = True
        if self._state is not None:
            self._state.save_soon()


@contextlib.contextmanager
def _handled(numbers: tuple[int, ...], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Set a handler for the block; nothing outside of the main thread, where Python allows none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual: dict[int, Any] = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in usual.items():
            signal.signal(number, before)
