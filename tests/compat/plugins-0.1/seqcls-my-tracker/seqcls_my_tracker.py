"""The callback `my-tracker`."""

from __future__ import annotations

import json
from pathlib import Path

from seqcls import Callback, Evaluation, FitState


class MyTracker(Callback):
    """Adds a line an evaluation to a file of JSON Lines. Put your tracker here.

    Args:
        path: The file.
    """

    def __init__(self, *, path: str = "my-tracker.jsonl") -> None:
        self.path = Path(path)

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        """Write the figures; `Callback` says which other hooks there are."""
        line = json.dumps({"run": str(state.run), "improved": improved, **evaluation.as_dict()})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
