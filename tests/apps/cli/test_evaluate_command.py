from __future__ import annotations

import json
import re
from pathlib import Path

from commands import DATA, Run

from seqcls import Classifier


def test_evaluate_prints_the_figures_of_a_split(run: Run, trained: Path) -> None:
    lines = run("evaluate", str(trained), "--dataset", "reviews", *DATA).out.splitlines()
    assert re.fullmatch(r"Test set: Avg\. loss: \d\.\d{4}, Accuracy: \d+/20 \(\d+%\)", lines[0])
    assert lines[1].split() == ["label", "precision", "recall", "F1", "support"]
    assert re.fullmatch(r"negative +\d+\.\d% +\d+\.\d% +\d+\.\d% +10", lines[2])
    assert lines[4].startswith("Macro F1 ")
    assert lines[5].startswith("Calibration error ")
    assert max(map(len, lines)) <= 80
    figures = json.loads(run("evaluate", str(trained), "--split", "validation", "--json").out)
    assert figures["count"] == sum(map(sum, figures["confusion"])) == 20
    assert set(figures) == {"loss", "accuracy", "correct", "count", "macro_f1", "roc_auc", "calibration_error"} | {
        *("uncalibrated_error", "labels", "confusion", "confusions", "coverage", "selective_accuracy")
    }
    assert set(figures["labels"]["negative"]) == {"precision", "recall", "f1", "support", "roc_auc", "average_precision"}


def test_evaluate_prints_the_assessment_that_python_returns(run: Run, trained: Path) -> None:
    printed = json.loads(run("evaluate", str(trained), "--min-confidence", "0.6", "--json").out)
    assert printed == Classifier.from_pretrained(trained).evaluate(min_confidence=0.6).as_dict()


def test_evaluate_writes_what_the_model_says(run: Run, trained: Path) -> None:
    done = run("evaluate", str(trained), "--predictions", "said.jsonl", "--min-confidence", "0.5")
    assert done.code == 0
    assert "0.5, 100.0% are answered" in done.out
    rows = [json.loads(line) for line in Path("said.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 20
    said = run("predict", str(trained), rows[0]["text"], "--json").out
    assert json.loads(said)["label"] == rows[0]["prediction"]
    refused = run("evaluate", str(trained), "--predictions", "said.xls")
    assert refused.code == 2
    assert ".csv, .jsonl, .parquet" in refused.err
