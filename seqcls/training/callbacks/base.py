"""The contract of callbacks: hooks that a run calls in order."""

from __future__ import annotations

from seqcls.data.splits import Splits
from seqcls.evaluation.scores import Evaluation
from seqcls.training.state import FitState


class Callback:
    """Hooks into a run; override those you need. Where several processes train, only the first one calls them."""

    def on_data(self, splits: Splits) -> None:
        """Run when sequences and labels were loaded; not run where they come encoded from the cache."""

    def on_fit_start(self, state: FitState) -> None:
        """Run before the first step, also of a resumed run."""

    def on_step_end(self, state: FitState) -> None:
        """Run after each update of the weights."""

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        """Run after each evaluation on the validation split."""

    def on_fit_end(self, state: FitState) -> None:
        """Run when the loop has ended, unless an exception ended it."""

    def close(self) -> None:
        """Release what the callback holds; run last, also after an exception, if `on_fit_start` was run."""
