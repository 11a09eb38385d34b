from __future__ import annotations

from pathlib import Path

import pytest
from report_runs import many_labels, multi_label, numbers, train_run
from toy import toy_splits


@pytest.fixture(scope="session")
def report_pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of a run on each kind of data."""
    from seqcls import write_report

    folder = tmp_path_factory.mktemp("pages")
    data = {"two": toy_splits(), "several": multi_label(), "numbers": numbers(), "many": many_labels()}
    return {name: write_report(train_run(folder / name, splits), data=splits) for name, splits in data.items()}
