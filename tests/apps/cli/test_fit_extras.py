from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest
from commands import DATA, SMALL, Run

from seqcls import Baseline, FitState, Score
from seqcls.errors import MissingExtraError
from seqcls.training import trainer
from seqcls.training.callbacks.console import ConsoleReporter


def test_the_linear_baseline_is_shown_beside_the_network(run: Run) -> None:
    done = run("fit", *SMALL, "--output", "here")
    assert re.search(
        r"^Linear baseline \(logistic regression on n-grams\): "
        r"validation \d+\.\d%, test \d+\.\d% in \d+\.\d s$",
        done.err,
        re.MULTILINE,
    )
    assert "baseline" not in done.out
    result = json.loads(run("fit", *SMALL, "--output", "again", "--json", "--quiet").out)["baseline"]
    assert list(result) == ["description", "validation", "test", "seconds", "features"]
    assert list(result["validation"]) == list(result["test"]) == ["loss", "accuracy", "correct", "count", "macro_f1"]
    assert json.loads(Path("again/baseline.json").read_text()) == result


def test_no_baseline_leaves_it_out(run: Run) -> None:
    done = run("fit", *SMALL, "--output", "here", "--no-baseline", "--json")
    assert json.loads(done.out)["baseline"] is None
    assert "baseline" not in done.err
    assert not Path("here/baseline.json").exists()


@pytest.mark.parametrize(("correct", "is_warned"), [(19, True), (0, False)])
def test_a_baseline_that_wins_is_a_warning(run: Run, monkeypatch: pytest.MonkeyPatch, correct: int, is_warned: bool) -> None:
    score = Score(loss=0.5, accuracy=correct / 20, correct=correct, count=20)
    figures = Baseline("any", validation=score, test=None, seconds=1.0, features=9)
    monkeypatch.setattr(trainer, "fit_baseline_to", lambda *_: figures)
    done = run("fit", *SMALL)
    assert f"Linear baseline (any): validation {100 * correct / 20:.1f}% in 1.0 s" in done.err
    assert ("the linear baseline is better than the network (95.0% against " in done.err) == is_warned


def test_the_encoder_linear_has_no_baseline_beside_it(run: Run) -> None:
    done = run("fit", "--encoder", "linear", "--no-report", *DATA, "--json")
    assert done.code == 0
    assert json.loads(done.out)["baseline"] is None
    assert "baseline" not in done.err


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "all epochs done"),
        (MemoryError("no room"), 0, "MemoryError: no room"),
    ],
)
def test_whatever_happens_to_the_baseline_the_run_is_whole(
    run: Run, monkeypatch: pytest.MonkeyPatch, failure: BaseException, code: int, message: str
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(trainer, "fit_baseline_to", fail)
    done = run("fit", *SMALL, "--output", "here")
    assert done.code == code
    assert message in done.err
    assert "Model: here/model" in done.out
    assert run("predict", "here", "good").code == 0
    done = run("fit", *SMALL, "--output", "again", "--json", "--quiet")
    assert done.code == code
    assert json.loads(done.out)["baseline"] is None


def test_fit_leaves_a_report_and_report_writes_it_anew(run: Run) -> None:
    pytest.importorskip("matplotlib")
    done = run("fit", *SMALL, "--report", "--output", "here", "--json")
    assert "Report: here/report.html\n" in done.err
    assert json.loads(done.out)["report"] == "here/report.html"
    page = Path("here/report.html").read_text(encoding="utf-8")
    assert "On test, 20 examples" in page
    assert "Linear baseline" in page
    done = run("report", "here", "--output", "other.html", "--split", "validation")
    assert (done.code, done.out) == (0, "Report: other.html\n")
    assert "On validation, 20 examples" in Path("other.html").read_text(encoding="utf-8")


def test_no_report_leaves_it_out(run: Run) -> None:
    done = run("fit", *SMALL, "--output", "here", "--json")
    assert json.loads(done.out)["report"] is None
    assert "eport" not in done.err
    assert not Path("here/report.html").exists()


def test_without_its_extra_a_line_tells_that_there_is_no_report(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MissingExtraError("scikit-learn", "report")

    monkeypatch.setattr("seqcls.apps.report.write.require_extra", fail)
    done = run("fit", *SMALL, "--report", "--output", "here")
    assert done.code == 0
    assert "No report: scikit-learn is not installed; run: pip install 'seqcls[report]'" in done.err
    done = run("report", "here")
    assert (done.code, done.out) == (1, "")
    assert done.err == "error: scikit-learn is not installed; run: pip install 'seqcls[report]'\n"


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "all epochs done"),
        (ValueError("a plot"), 0, "ValueError: a plot"),
    ],
)
def test_whatever_happens_to_the_report_the_run_is_whole(
    run: Run, monkeypatch: pytest.MonkeyPatch, failure: BaseException, code: int, message: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr("seqcls.apps.report.write.write_report", fail)
    done = run("fit", *SMALL, "--report", "--output", "here", "--json")
    assert done.code == code
    assert message in done.err
    assert json.loads(done.out)["report"] is None
    assert json.loads(done.out)["baseline"] is not None
    assert run("predict", "here", "good").code == 0


def test_wrong_usage_of_report_is_told(run: Run) -> None:
    pytest.importorskip("matplotlib")
    run("fit", *SMALL, "--output", "here", "--no-baseline")
    for arguments, code, message in (
        (["nowhere"], 1, "there is no model directory nowhere"),
        (["here", "--split", "tset"], 1, "the data has no tset split; it has train, validation, test"),
        (["here", "--output", "no/page.html"], 1, "cannot write no/page.html: its folder does not exist"),
        (["here", "--dataset", "nothing"], 2, "no dataset is named 'nothing'"),
    ):
        done = run("report", *arguments)
        assert done.code == code, arguments
        assert message in done.err
        assert "Traceback" not in done.err


def test_an_interrupted_run_starts_no_baseline(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: ConsoleReporter, state: FitState) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(ConsoleReporter, "on_step_end", interrupt)
    done = run("fit", *SMALL, "--output", "here", "--json")
    assert done.code == 130
    assert "baseline" not in done.err
    assert json.loads(done.out)["baseline"] is None
