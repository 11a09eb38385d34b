"""Calling the hooks of several callbacks: the one place that does, and that names the callback that failed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqcls import registry
from seqcls.data.splits import Splits
from seqcls.errors import SeqclsError, TrainingError
from seqcls.evaluation.scores import Evaluation
from seqcls.system.memory import is_out_of_memory
from seqcls.training.callbacks.base import Callback
from seqcls.training.state import FitState


class CallbackList(Callback):
    """Callbacks that are called as one, in their order. An error of one ends the run as ours do, and names the callback.

    Args:
        callbacks: All callbacks.
        named: Those among them that the settings name, by registered name.
    """

    def __init__(self, callbacks: Sequence[Callback], named: Mapping[str, Callback]) -> None:
        self._callbacks = tuple(callbacks)
        self._named = named
        self._started: list[Callback] = []
        self._run: Path | None = None

    def on_data(self, splits: Splits) -> None:
        """Call the hook of each callback."""
        for callback in self._callbacks:
            self._call(callback, "on_data", splits)

    def on_fit_start(self, state: FitState) -> None:
        """Call the hook of each callback."""
        self._run = state.run
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
            name = next((name for name, each in self._named.items() if each is callback), None)
            if name is None and type(callback).__module__.startswith("seqcls.") and is_out_of_memory(error):
                raise  # the loop may make room: saving a checkpoint takes memory too
            who = f"the callback {type(callback).__qualname__}"
            if name is not None:
                who = f"the callback {name!r} of {registry.callbacks.info(name).origin}"
            reason = f"{type(error).__name__}: {error}"
            raise TrainingError(f"{who} failed in {hook}: {reason}; {self._remedy(name)}") from error

    def _remedy(self, name: str | None) -> str:
        if self._run is None:
            return "nothing was trained yet"
        without = "" if name is None else "; add --set callbacks=none to leave out the callbacks that the settings name"
        return f"the last checkpoint is kept. To go on: seqcls fit --resume {self._run}{without}"
