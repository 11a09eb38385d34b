"""Early stopping."""

from __future__ import annotations

from seqcls.evaluation.scores import Evaluation
from seqcls.training.callbacks.base import Callback
from seqcls.training.state import FitState

MANY_EXAMPLES = 1000
"""If so many validation examples are all right, nothing is left to learn."""


class EarlyStopping(Callback):
    """Stops a run after ``patience`` evaluations without a better one (Prechelt 1998), or if nothing is left to learn.

    Args:
        patience: The number of evaluations; None for any number.
    """

    def __init__(self, patience: int | None) -> None:
        self._patience = patience

    def on_fit_start(self, state: FitState) -> None:
        """Stop a resumed run that had come to its end."""
        self._stop_if_stale(state)

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        """Stop if the best evaluation is too long ago."""
        del improved  # the state has counted
        score = evaluation.validation
        if score.correct == score.count >= MANY_EXAMPLES:
            state.stop(f"all {score.count:,} validation examples are right")
        self._stop_if_stale(state)

    def _stop_if_stale(self, state: FitState) -> None:
        if self._patience is not None and state.progress.stale_evaluations >= self._patience:
            figure = {"f1": "macro F1"}.get(state.config.fit.monitor, state.config.fit.monitor)
            state.stop(f"no better validation {figure} in {self._patience} evaluations")
