"""`csv-tracker`: the evaluations of all runs in one CSV file."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TextIO

from seqcls import Callback, Evaluation, FitState

COLUMNS = ("run", "encoder", "step", "train_loss", "validation_loss", "validation_accuracy", "seconds")


class CsvTracker(Callback):
    """Adds one row per evaluation to a file.

    Args:
        path: The CSV file; created with a header if it does not exist.
    """

    def __init__(self, *, path: str = "runs.csv") -> None:
        self.path = Path(path)
        self.file: TextIO | None = None

    def on_fit_start(self, state: FitState) -> None:
        """Open the file; if the run is resumed, drop the rows of the steps that it repeats."""
        rows = self._rows()
        kept = [row for row in rows if row[0] != str(state.run) or int(row[2]) <= state.step]
        self.file = self.path.open("w" if len(kept) < len(rows) or not rows else "a", newline="", encoding="utf-8")
        if self.file.tell() == 0:
            csv.writer(self.file).writerows([COLUMNS, *kept])

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        """Add the row, and flush it to the file."""
        del improved
        assert self.file is not None
        figures = (evaluation.train.loss, evaluation.validation.loss, evaluation.validation.accuracy, evaluation.seconds)
        csv.writer(self.file).writerow([state.run, state.config.model.encoder, evaluation.step, *figures])
        self.file.flush()

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()

    def _rows(self) -> list[list[str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.reader(file))[1:]
