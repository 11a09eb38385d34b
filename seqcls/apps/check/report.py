"""The callback that reports findings when training loads data."""

from __future__ import annotations

from collections.abc import Callable

from seqcls.apps.check.checks import quick_findings
from seqcls.data.splits import Splits
from seqcls.training.callbacks.base import Callback


class DataReport(Callback):
    """Reports what `quick_findings` finds in data that were loaded, one line per finding.

    Args:
        say: Called with each line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._has_said = False

    def on_data(self, splits: Splits) -> None:
        """Report the findings, and say how to see more; once, however many trainings have the data."""
        if self._has_said:
            return
        self._has_said = True
        findings = quick_findings(splits) if splits.train.kind == "text" else []
        for finding in findings:
            self._say(f"{finding.severity}: {finding.message}")
        if findings:
            self._say("`seqcls check` shows the rows and what to do, and looks further.")
