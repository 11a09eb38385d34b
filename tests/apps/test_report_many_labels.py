"""The page about a model with hundreds of labels stays small and readable."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from report_runs import many_labels, train_run
from toy import random_predictions

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

from seqcls.apps.report.label_section import LabelSection
from seqcls.apps.report.write import write_report
from seqcls.evaluation import intervals


def test_tables_of_the_page_show_some_labels_and_say_so(tmp_path: Path) -> None:
    splits = many_labels(300)
    page = write_report(train_run(tmp_path / "run", splits), data=splits).read_text(encoding="utf-8")
    assert len(page) < 400_000
    tables = re.findall(r"<tbody>.*?</tbody>", page, flags=re.DOTALL)
    assert max(table.count("<tr>") for table in tables) == 100
    assert "The 100 of 300 labels with the lowest F1 are shown" in page
    assert "The 100 of 300 labels with the fewest training examples are shown" in page
    assert "The most frequent confusions" in page
    assert 'aria-label="Confusion matrix"' not in page


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_intervals_are_made_for_the_labels_that_are_shown_only(
    is_multi_label: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictions = random_predictions(0, 400, 150, is_multi_label=is_multi_label)
    made, original = [], intervals._label_intervals
    monkeypatch.setattr(intervals, "_label_intervals", lambda *args: made.append(args) or original(*args))
    assessment = predictions.assess()
    section = LabelSection(predictions, assessment)
    scores = [figures.f1.value for _, figures, *_ in section.intervals]
    assert len(made) == 100
    assert scores == pytest.approx(sorted(label.f1 for label in assessment.labels.values())[:100])
    if is_multi_label:
        assert section.counts is not None
        assert {row[0] for row in section.counts.rows} == {name for name, *_ in section.intervals}


def test_a_table_that_shows_every_label_has_no_note() -> None:
    predictions = random_predictions(0, 60, 100)
    section = LabelSection(predictions, predictions.assess())
    assert (len(section.intervals), section.selection) == (100, "")
