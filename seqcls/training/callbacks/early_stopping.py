"""Early stopping."""

from __future__ import annotations

from seqcls.evaluation.scores import Evaluation
from seqcls.training.callbacks.base import Callback
from seqcls.training.state import FitState


class EarlyStopping(Callback):
    """Stops a run after ``patience`` evaluations without a better one (Prechelt 1998)."""

    def __init__(self, patience: int) -> None:
        self._patience = patience

    def on_fit_start(self, state: FitState) -> None:
        """Stop a resumed run that had come to its end."""
        self._stop_if_stale(state)

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        """Stop if the best evaluation is too long ago."""
        del evaluation, improved  # the state has counted
        self._stop_if_stale(state)

    def _stop_if_stale(self, state: FitState) -> None:
        if state.progress.stale_evaluations >= self._patience:
            figure = {"f1": "macro F1"}.get(state.config.fit.monitor, state.config.fit.monitor)
            state.stop(f"no better validation {figure} in {self._patience} evaluations")
