"""Calling the hooks of several callbacks: the one place that does, and that names the callback that failed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from seqcls import registry
from seqcls.data.splits import Splits
from seqcls.errors import SeqclsError, TrainingError
from seqcls.evaluation.scores import Evaluation
from seqcls.training.callbacks.base import Callback
from seqcls.training.state import FitState


class CallbackList(Callback):
    """Callbacks that are called as one, in their order. An error of one ends the run as ours do, and names the callback."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._callbacks = tuple(callbacks)
        self._started: list[Callback] = []
        self._remedy = "nothing was trained yet"

    def on_data(self, splits: Splits) -> None:
        """Call the hook of each callback."""
        for callback in self._callbacks:
            self._call(callback, "on_data", splits)

    def on_fit_start(self, state: FitState) -> None:
        """Call the hook of each callback."""
        self._remedy = (
            f"the last checkpoint is kept. To go on: seqcls fit --resume {state.run}; "
            "add --set callbacks=none to leave out the callbacks that the settings name"
        )
        for callback in self._callbacks:
            self._started.append(callback)
            self._call(callback, "on_fit_start", state)

    def on_step_end(self, state: FitState) -> None:
        """Call the hook of each callback."""
        for callback in self._callbacks:
            self._call(callback, "on_step_end", state)

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        """Call the hook of each callback."""
        for callback in self._callbacks:
            self._call(callback, "on_evaluation", state, evaluation, improved=improved)

    def on_fit_end(self, state: FitState) -> None:
        """Call the hook of each callback."""
        for callback in self._callbacks:
            self._call(callback, "on_fit_end", state)

    def close(self) -> None:
        """Close the callbacks that were started, the last one first, whatever happens to one of them."""
        with contextlib.ExitStack() as stack:
            for callback in self._started:
                stack.callback(self._call, callback, "close")

    def _call(self, callback: Callback, hook: str, *arguments: Any, **options: Any) -> None:
        try:
            getattr(callback, hook)(*arguments, **options)
        except SeqclsError:
            raise
        except Exception as error:  # a plugin may raise anything
            reason = f"{type(error).__name__}: {error}"
            raise TrainingError(f"{_describe(callback)} failed in {hook}: {reason}; {self._remedy}") from error


def _describe(callback: Callback) -> str:
    """Return the registered name of a callback and where it comes from, or the name of its class."""
    target = f"{type(callback).__module__}:{type(callback).__qualname__}"
    for info in registry.callbacks.plugins():
        if info.target == target:
            return f"the callback {info.name!r} of {info.origin}"
    return f"the callback {type(callback).__qualname__}"
