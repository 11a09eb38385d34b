from __future__ import annotations

from pathlib import Path

import pytest
from toy import toy_pairs

from seqcls import AutoTrainer, Splits, write_report
from seqcls.training import choice
from seqcls.training.candidates import Candidate

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


@pytest.fixture(autouse=True)
def _few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    words = Candidate("linear, words alone", {"encoder": "linear", "character_ngrams": 0})
    monkeypatch.setattr(choice, "candidates_for", lambda *_: [Candidate("linear", {"encoder": "linear"}), words])


def test_the_report_of_a_choice_shows_what_was_compared(tmp_path: Path) -> None:
    splits = Splits.from_pairs(toy_pairs(64), test=toy_pairs(20, seed=2))
    result = AutoTrainer(splits, callbacks=[], output=tmp_path / "run", device="cpu").fit()
    page = write_report(result.run_dir, data=splits).read_text()
    assert "Models compared" in page
    assert "64 examples, by cross-validation in 5 parts" in page
    (best,) = [row.name for row in result.compared if row.is_chosen]
    assert f"{best} (chosen)" in page
    assert "On test, 20 examples" in page


def test_without_a_test_split_the_model_of_before_is_asked(tmp_path: Path) -> None:
    splits = Splits.from_pairs(toy_pairs(64), validation=toy_pairs(16, seed=1))
    result = AutoTrainer(splits, callbacks=[], output=tmp_path / "run", device="cpu").fit()
    page = write_report(result.run_dir, data=splits).read_text()
    assert "On validation, 16 examples" in page
    assert "trained again on all examples" in page


def test_a_model_that_has_seen_all_examples_is_asked_about_none(tmp_path: Path) -> None:
    splits = Splits.from_pairs(toy_pairs(64))
    result = AutoTrainer(splits, callbacks=[], output=tmp_path / "run", device="cpu").fit()
    page = write_report(result.run_dir, data=splits).read_text()
    assert "The model has seen all examples" in page
    assert "Mistakes" not in page
