from __future__ import annotations

import codecs
import json
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from seqcls import Baseline, FitState, Score
from seqcls.apps.cli.app import main
from seqcls.errors import MissingExtraError
from seqcls.training import trainer
from seqcls.training.callbacks.console import ConsoleReporter

SMALL = ["--encoder", "lstm", "--epochs", "1", "--batch-size", "16", "--device", "cpu"]
SMALL += ["--set", "embedding_size=8", "--encoder-option", "hidden_size=4"]
SMALL += ["--no-report"]  # which takes longer than the training
SMALL += ["--dataset-option", "train_size=40", "--dataset-option", "validation_size=20", "--dataset-option", "test_size=20"]
EXPLODING = [
    "--encoder",
    "mean-pool",
    "--dataset-option",
    "train_size=400",
    "--lr",
    "1e37",
    "--set",
    "schedule=constant",
    "--set",
    "clip_norm=none",
]


class Done(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("seqcls")  # which a command sets up for its process
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", logger.propagate)

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["seqcls", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        code = stopped.value.code
        output, errors = capsys.readouterr()
        return Done(code if isinstance(code, int) else 0, output, errors)

    return call


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    environment = {**os.environ, "SEQCLS_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "seqcls", "fit", *SMALL, "--output", str(folder / "run"), "--quiet"]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return folder / "run"


def test_help_is_quick_and_imports_neither_torch_nor_pydantic() -> None:
    code = "import sys; sys.argv = ['seqcls', '--help']\nfrom seqcls import __main__ as m\n"
    code += "try: m.main()\nexcept SystemExit: pass\n"
    code += "print([name for name in ('torch', 'numpy', 'pydantic', 'tokenizers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    seconds = []
    for _ in range(5):
        before = _cpu_seconds_of_children()
        subprocess.run([sys.executable, "-m", "seqcls", "--help"], capture_output=True, check=True)
        seconds.append(_cpu_seconds_of_children() - before)
    assert min(seconds) < 0.3


def _cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_fit_says_where_the_model_is_and_what_comes_next(run: Run) -> None:
    done = run("fit", *SMALL, "--output", "here")
    assert done.code == 0
    assert re.search(r"Test set: Avg\. loss: \d\.\d{4}, Accuracy: \d+/20 \(\d+%\)\nModel: here/model\n", done.out)
    assert "val. loss" in done.err
    assert "Next: seqcls predict here/model" in done.err
    assert "\x1b" not in done.out + done.err


def test_fit_json_is_one_object_with_the_documented_keys(run: Run) -> None:
    done = run("fit", *SMALL, "--json")
    result = json.loads(done.out)
    assert list(result) == [
        "run", "model", "stop_reason", "seconds", "train_examples_per_second", "parameters", "validation", "test",
        "calibration", "baseline", "report",
    ]  # fmt: skip
    assert {"loss", "accuracy", "count"} <= set(result["test"])
    assert Path(result["model"], "config.json").is_file()
    assert result["run"].startswith("runs/reviews-lstm-")


def test_the_linear_baseline_is_shown_beside_the_network(run: Run) -> None:
    done = run("fit", *SMALL, "--output", "here")
    assert re.search(
        r"^Linear baseline \(NB-weighted 1-2-grams, logistic regression\): "
        r"validation \d+\.\d%, test \d+\.\d% in \d+\.\d s$",
        done.err,
        re.MULTILINE,
    )
    assert "baseline" not in done.out
    result = json.loads(run("fit", *SMALL, "--output", "again", "--json", "--quiet").out)["baseline"]
    assert list(result) == ["description", "validation", "test", "seconds", "features"]
    assert list(result["validation"]) == list(result["test"]) == ["loss", "accuracy", "correct", "count"]
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
    monkeypatch.setattr(trainer, "fit_baseline", lambda splits: figures)
    done = run("fit", *SMALL)
    assert f"Linear baseline (any): validation {100 * correct / 20:.1f}% in 1.0 s" in done.err
    assert ("the linear baseline is better than the network (95.0% against " in done.err) == is_warned


def test_without_scikit_learn_a_line_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    done = run("fit", *SMALL)
    assert done.code == 0
    assert "No linear baseline: scikit-learn is not installed; run: pip install 'seqcls[report]'" in done.err
    assert json.loads(run("fit", *SMALL, "--output", "here", "--json").out)["baseline"] is None


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "all epochs done"),
        (MemoryError("no room"), 0, "The linear baseline failed, the run is complete: MemoryError: no room"),
    ],
)
def test_whatever_happens_to_the_baseline_the_run_is_whole(
    run: Run, monkeypatch: pytest.MonkeyPatch, failure: BaseException, code: int, message: str
) -> None:
    def fail(splits: object) -> None:
        raise failure

    monkeypatch.setattr(trainer, "fit_baseline", fail)
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


def test_without_their_extra_one_line_tells_of_baseline_and_report(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MissingExtraError("scikit-learn", "report")

    monkeypatch.setattr("seqcls.training.trainer.require_scikit_learn", fail)
    monkeypatch.setattr("seqcls.apps.report.write.require_extra", fail)
    done = run("fit", *SMALL, "--report", "--output", "here")
    assert done.code == 0
    assert "No linear baseline and no report: scikit-learn is not installed; run: pip install 'seqcls[report]'" in done.err
    assert done.err.count("seqcls[report]") == 1
    done = run("report", "here")
    assert (done.code, done.out) == (1, "")
    assert done.err == "error: scikit-learn is not installed; run: pip install 'seqcls[report]'\n"


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "all epochs done"),
        (ValueError("a plot"), 0, "The report failed, the run is complete: ValueError: a plot"),
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


def test_quiet_leaves_only_the_result(run: Run) -> None:
    done = run("fit", *SMALL, "--quiet")
    assert done.err == ""
    assert len(done.out.splitlines()) == 2


def test_dry_run_shows_the_plan_and_writes_no_run(run: Run, tmp_path: Path) -> None:
    done = run("fit", *SMALL, "--dry-run")
    assert "40 examples" in done.out
    assert re.search(r"lstm, [\d,]+ parameters, on cpu", done.out)
    assert "3 steps: 1 epochs of 3" in done.out
    assert not (tmp_path / "runs").exists()
    plan = json.loads(run("fit", *SMALL, "--dry-run", "--json").out)
    assert (plan["examples"]["train"], plan["total_steps"]) == (40, 3)


def test_printed_settings_are_read_back_as_they_are(run: Run, tmp_path: Path) -> None:
    printed = run("fit", *SMALL, "--set", "clip_norm=none", "--print-config").out
    (tmp_path / "settings.toml").write_text(printed)
    assert run("fit", "-c", "settings.toml", "--print-config").out == printed


def test_flags_go_over_the_file_and_the_file_over_the_recipe(run: Run, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("[fit]\nlr = 0.5\nepochs = 9\n")
    printed = run("fit", "--recipe", "tutorial", "-c", "settings.toml", "--epochs", "2", "--print-config").out
    assert "epochs = 2\n" in printed
    assert "lr = 0.5\n" in printed
    assert "vocab_size = 10000\n" in printed


def test_another_encoder_than_the_files_comes_without_the_files_options(run: Run) -> None:
    Path("settings.toml").write_text(run("fit", *SMALL, "--print-config").out)
    same = run("fit", "-c", "settings.toml", "--encoder", "lstm", "--print-config").out
    assert "hidden_size = 4\n" in same
    other = run("fit", "-c", "settings.toml", "--encoder", "cnn", "--print-config").out
    assert 'encoder = "cnn"\n' in other
    assert "hidden_size" not in other
    assert "train_size = 40\n" in other


def test_a_run_is_resumed_by_its_folder_alone(run: Run) -> None:
    run("fit", *SMALL, "--output", "here")
    done = run("fit", "--resume", "here", "--epochs", "2", "--json")
    assert done.code == 0
    assert len(Path("here/metrics.jsonl").read_text().splitlines()) == 2


def test_evaluate_prints_the_figures_of_a_split(run: Run, trained: Path) -> None:
    options = [
        part
        for part in SMALL
        if ("size=" in part and "train_size" in part) or "validation_size" in part or "test_size" in part
    ]
    flags = [flag for option in options for flag in ("--dataset-option", option)]
    lines = run("evaluate", str(trained), "--dataset", "reviews", *flags).out.splitlines()
    assert re.fullmatch(r"Test set: Avg\. loss: \d\.\d{4}, Accuracy: \d+/20 \(\d+%\)", lines[0])
    assert lines[1].split() == ["label", "precision", "recall", "F1", "support"]
    assert re.fullmatch(r"negative +\d+\.\d% +\d+\.\d% +\d+\.\d% +10", lines[2])
    assert lines[4].startswith("Macro F1 ")
    assert lines[5].startswith("Calibration error ")
    assert max(map(len, lines)) <= 80
    figures = json.loads(run("evaluate", str(trained), "--split", "validation", "--json").out)
    assert figures["count"] == sum(map(sum, figures["confusion"])) == 20
    assert set(figures) == {"loss", "accuracy", "correct", "count", "macro_f1", "roc_auc", "calibration_error"} | {
        *("uncalibrated_error", "labels", "confusion", "coverage", "selective_accuracy")
    }
    assert set(figures["labels"]["negative"]) == {"precision", "recall", "f1", "support", "roc_auc", "average_precision"}


def test_evaluate_writes_what_the_model_says(run: Run, trained: Path) -> None:
    done = run("evaluate", str(trained), "--predictions", "said.jsonl", "--min-confidence", "0.5")
    assert done.code == 0
    assert "At a confidence of at least 0.5: 100.0% are answered" in done.out
    rows = [json.loads(line) for line in Path("said.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 20
    said = run("predict", str(trained), rows[0]["text"], "--json").out
    assert json.loads(said)["label"] == rows[0]["prediction"]
    refused = run("evaluate", str(trained), "--predictions", "said.xls")
    assert refused.code == 2
    assert ".csv, .jsonl, .parquet" in refused.err


def test_compare_says_which_model_is_better(run: Run, trained: Path) -> None:
    run("fit", *SMALL, "--epochs", "2", "--output", "other")
    done = run("compare", str(trained), "other")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split()[:2] == ["model", "accuracy,"]
    assert re.search(r"\d+\.\d% \(\d+\.\d to \d+\.\d\)", lines[1])
    assert "95% interval" in lines[-1]
    assert "McNemar p = " in lines[-1]
    found = json.loads(run("compare", str(trained), "other", "--json").out)
    assert {row["name"] for row in found["models"]} == {str(trained), "other"}
    assert all(row["examples_per_second"] > 0 for row in found["models"])
    assert found["differences"][0]["sentence"] == lines[-1]
    assert run("compare", str(trained)).code == 2
    assert run("compare").code == 2
    assert run("compare", "other", "other").code == 2
    assert run("compare", "other", "nowhere").code == 1


def test_compare_draws_the_figures(run: Run, trained: Path) -> None:
    pytest.importorskip("matplotlib")
    shutil.copytree(trained, "copy")
    assert run("compare", str(trained), "copy", "--plot", "plot.png").code == 0
    assert Path("plot.png").stat().st_size > 1000


def test_compare_trains_encoders_and_goes_on_where_it_was(run: Run) -> None:
    options = [part for part in SMALL if part.startswith(("train_size", "validation_size", "test_size"))]
    flags = [flag for option in options for flag in ("--dataset-option", option)]
    command = ["compare", "--encoders", "mean-pool,cnn", "--dataset", "reviews", *flags]
    command += ["--set", "epochs=1", "--seeds", "2", "--output", "here", "--device", "cpu"]
    done = run(*command)
    assert done.code == 0, done.err
    assert [line.split()[0] for line in done.out.splitlines()[:3]] == ["encoder", "mean-pool", "cnn"]
    assert {path.name for path in Path("here").iterdir()} == {"mean-pool-0", "mean-pool-1", "cnn-0", "cnn-1"}
    times = {path: path.stat().st_mtime_ns for path in Path("here").glob("*/run/metrics.jsonl")}
    again = json.loads(run(*command, "--json").out)
    assert times == {path: path.stat().st_mtime_ns for path in Path("here").glob("*/run/metrics.jsonl")}
    assert [len(row["accuracies"]) for row in again["models"]] == [2, 2]
    assert run("compare", "--encoders", "magic", "--dataset", "reviews").code != 0


TUNE = [
    "tune",
    "--dataset",
    "reviews",
    "--encoders",
    "mean-pool",
    "--set",
    "epochs=1",
    "--set",
    "threads=1",
    "--device",
    "cpu",
]
TUNE += ["--dataset-option", "train_size=40", "--dataset-option", "validation_size=20", "--output", "here"]


def test_tune_makes_a_recipe_that_fit_takes(run: Run) -> None:
    pytest.importorskip("optuna")
    done = run(*TUNE, "--trials", "4", "--set", "lr=0.003")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0].split() == ["trial", "val.", "loss", "val.", "acc.", "MB", "seconds", "encoder"]
    assert "\nRecipe: here/recipe.toml\nModel: here/trial-000" in done.out
    assert "Next: seqcls fit --config here/recipe.toml" in done.err
    again = run(*TUNE, "--trials", "4", "--set", "lr=0.003", "--json", "--quiet")
    assert again.err == ""
    found = json.loads(again.out)
    best = found["trials"][found["best"]]
    assert all("fit.lr" not in trial["values"] for trial in found["trials"])
    assert "val. loss" in run("fit", "--config", "here/recipe.toml", "--output", "run", "--no-baseline").err
    figures = json.loads(Path("run/metrics.jsonl").read_text())
    assert figures["validation"]["loss"] == best["value"]
    assert "lr = 0.003\n" in Path("run/config.toml").read_text()
    # A recipe may be what the next search starts from.
    more = json.loads(run("tune", "-c", "here/recipe.toml", "-o", "more", "--trials", "1", "--json").out)
    assert (more["trials"][0]["values"]["fit.batch_size"], more["trials"][0]["value"]) == (
        best["values"]["fit.batch_size"],
        best["value"],
    )


def test_tune_that_is_interrupted_keeps_what_is_done(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna")
    with monkeypatch.context() as patch:
        patch.setattr(ConsoleReporter, "on_evaluation", lambda *_, **__: signal.raise_signal(signal.SIGINT))
        done = run(*TUNE, "--trials", "2")
    assert done.code == 130
    assert "Interrupted: 0 trials in" in done.err
    assert "What is done is kept in here; the same command goes on with it" in done.err
    assert run(*TUNE, "--trials", "2").code == 0
    assert len(Path("here/trials.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--time-budget", "soon"], "write a duration as 90s, 30m or 1h30m"),
        (["--time-budget", "0s"], "--time-budget must be more than nothing"),
        (["--max-size", "small"], "write a size as 500kB"),
        (["--encoders", "magic"], "magic"),
        (["--encoders", ","], "names no encoder"),
        (["--encoders", "cnn,cnn"], "given twice"),
        (["--encoder-option", "hidden_size=3"], "there is no option 'hidden_size'"),
        (["--set", "max_time=3m"], "leave it away"),
        (["--output", "full"], "holds no tuning"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_tune_refuses_what_makes_no_sense(run: Run, arguments: list[str], message: str) -> None:
    pytest.importorskip("optuna")
    Path("full").mkdir()
    Path("full", "thesis.txt").write_text("years of work")
    done = run(*TUNE, *arguments)
    assert done.code == 2, done.err
    assert message in done.err
    assert "Traceback" not in done.err
    assert not Path("here").exists()
    assert [path.name for path in Path("full").iterdir()] == ["thesis.txt"]


def test_explain_shows_the_words_that_count(run: Run, trained: Path) -> None:
    shown = run("explain", str(trained), "The film was good.").out.splitlines()
    assert re.fullmatch(r"(negative|positive) \d+\.\d%", shown[0])
    assert shown[1] == "The film was good."
    assert shown[2].startswith("For:     ")
    assert shown[3].startswith("Against: ")
    found = json.loads(
        run("explain", str(trained), "The film", "--method", "occlusion", "--label", "negative", "--json").out
    )
    assert [token["token"] for token in found["tokens"]] == ["The", "film"]
    assert (found["label"], found["gap"]) == ("negative", None)
    assert run("explain", str(trained), "good", "--label", "great").code == 1
    assert run("explain", str(trained), "good", "--method", "magic").code == 2
    assert run("explain", str(trained)).code == 2


def test_predict_is_unsure_below_the_least_confidence(run: Run, trained: Path) -> None:
    assert run("predict", str(trained), "good", "--min-confidence", "1").out.startswith("unsure\t0.")
    assert json.loads(run("predict", str(trained), "good", "--min-confidence", "1", "--json").out)["label"] is None
    assert run("predict", str(trained), "good", "--min-confidence", "1.5").code == 2


def test_predict_takes_arguments_a_file_and_stdin(run: Run, trained: Path, tmp_path: Path) -> None:
    texts = ["The film was good.", "A dull [/x] evening"]
    expected = run("predict", str(trained), *texts).out
    assert [line.split("\t")[2] for line in expected.splitlines()] == texts
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    assert run("predict", str(trained), "--file", "texts.txt").out == expected
    command = [sys.executable, "-m", "seqcls", "predict", str(trained), "-"]
    done = subprocess.run(command, input="\n".join(texts), capture_output=True, text=True, check=True)
    assert done.stdout == expected


def test_predict_says_that_a_file_is_not_utf8_and_reads_it(run: Run, trained: Path, tmp_path: Path) -> None:
    texts = ["A good café.", "A dull café, “bad”.", "fine"]
    for name, encoding in (("utf-8", "utf-8"), ("mark", "utf-8-sig"), ("windows", "cp1252")):
        (tmp_path / name).write_bytes("\n".join(texts).encode(encoding))
        done = run("predict", str(trained), "--file", name)
        assert [line.split("\t")[2] for line in done.out.splitlines()] == texts
        warnings = [line for line in done.err.splitlines() if "UTF-8" in line]
        assert warnings == (
            ["warning: windows: line 1 is not UTF-8; such lines are read as Windows-1252, or with \ufffd for a broken byte"]
            if name == "windows"
            else []
        )


def test_predict_reads_what_it_can_of_a_broken_line_and_refuses_utf16(run: Run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(codecs.BOM_UTF8 + "A good café ".encode() + b"\xff\n")
    done = run("predict", str(trained), "--file", "broken")
    assert done.out.rstrip("\n").split("\t")[2] == "A good café \ufffd"
    assert "broken: line 1 is not UTF-8" in done.err
    (tmp_path / "wide").write_bytes("A good café\n".encode("utf-16"))
    done = run("predict", str(trained), "--file", "wide")
    assert done.code == 1
    assert "wide is UTF-16; write it as UTF-8" in done.err


def test_predict_json_is_a_line_a_text(run: Run, trained: Path) -> None:
    lines = run("predict", str(trained), "good", "bad", "--json").out.splitlines()
    for line in lines:
        row = json.loads(line)
        assert list(row) == ["label", "probabilities"]
        assert row["label"] == max(row["probabilities"], key=row["probabilities"].get)
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("text", "warning"),
    [("", "text 1 is empty"), ("完全に", "no word that the model knows"), ("[/x]", "no word that the model knows")],
)
def test_a_text_that_the_model_cannot_read_is_told(run: Run, trained: Path, text: str, warning: str) -> None:
    done = run("predict", str(trained), text)
    assert done.code == 0
    assert warning in done.err
    assert done.out.count("\n") == 1


def test_bytes_that_are_no_text_and_control_characters_do_no_harm(run: Run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.txt").write_bytes(b"caf\xe9 good\n\x1b[31mred\x07\n")
    done = run("predict", str(trained), "--file", "odd.txt")
    assert done.code == 0
    assert "\x1b" not in done.out
    assert "\x07" not in done.out


def test_a_reader_that_leaves_early_is_no_error(trained: Path) -> None:
    command = f"yes 'a good film' | head -n 20000 | {sys.executable} -m seqcls predict {trained} - | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "--encoder", "lsmt"], "did you mean 'lstm'"),
        (["fit", "--dataset", "imbd"], "did you mean 'imdb'"),
        (["check", "imbd"], "did you mean 'imdb'"),
        (["check", "reviews", "--set", "max_lenght=3"], "did you mean max_length"),
        (["check", "reviews", "--dataset-option", "train_size=1"], "train_size"),
        (["check"], "Missing argument"),
        (["fit", "--recipe", "tutoriel"], "default, fasttext, tutorial"),
        (["fit", "--epoch", "3"], "--epochs"),
        (["fit", "--epochs", "many"], "--epochs"),
        (["fit", "--epochs", "0"], "fit.epochs is 0"),
        (["fit", "--lr", "-1"], "fit.lr is -1"),
        (["fit", "--max-length", "0"], "data.max_length"),
        (["fit", "--truncating", "left"], "'pre', 'post' or 'middle'"),
        (["fit", "--precision", "fp8"], "'fp32' or 'bf16'"),
        (["fit", "--set", "shedule=cosine"], "did you mean schedule"),
        (["fit", "--set", "schedule"], "NAME=VALUE"),
        (["fit", "--encoder-option", "hiden_size=3"], "hidden_size"),
        (["fit", "--encoder-option", "hidden_size=big"], "hidden_size"),
        (["fit", "--encoder-option", "hidden_size=0"], "hidden_size must be"),
        (["fit", "--encoder-option", "hidden_size"], "--encoder-option"),
        (["fit", "--dataset-option", "train_size=1"], "train_size"),
        (["fit", "--device", "cuda:7"], "cuda:7 is not available"),
        (["fit", "--device", "gpu"], "unknown device 'gpu'"),
        (["fit", "-c", "missing.toml"], "missing.toml"),
        (["fit", "-c", "broken.toml"], "broken.toml is not valid TOML"),
        (["fit", "-c", "unknown.toml"], "did you mean fit.epochs"),
        (["fit", "--output", "full"], "--force"),
        (["fit", "--output", "full", "--force"], "not a run directory"),
        (["fit", "--resume", "full", "--encoder", "lstm"], "--resume takes"),
        (["predict", "full"], "give texts"),
        (["predict", "full", "text", "--file", "x"], "give texts"),
        (["info", "encoder", "lsmt"], "did you mean 'lstm'"),
        (["info", "model", "lstm"], "model"),
        (["info", "encoder"], "give a name"),
        (["info", "system", "lstm"], "takes no name"),
        (["nonsense"], "nonsense"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_clear_message_and_exit_code_2(
    run: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "broken.toml").write_text("[fit\n")
    (tmp_path / "unknown.toml").write_text("[fit]\nepoch = 3\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    done = run(*arguments)
    assert done.code == 2
    assert message in done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    assert (tmp_path / "full" / "thesis.txt").is_file()
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "nowhere.csv"], "nowhere.csv"),
        (["predict", "nowhere", "text"], "there is no model directory nowhere"),
        (["predict", "empty", "text"], "neither a model directory"),
        (["evaluate", "nowhere"], "nowhere"),
        (["fit", "--resume", "empty"], "not a run directory"),
        (["fit", "--dataset", "imdb", "--dataset-option", "source=nowhere"], "nowhere"),
        (["fit", "--dataset", "imdb"], "SEQCLS_OFFLINE"),
        (["fit", *SMALL, "--output", "file/run"], "cannot write file/run"),
        (["fit", *EXPLODING], "at step"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else "",
)
def test_a_failure_is_one_clear_message_and_exit_code_1(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setenv("SEQCLS_OFFLINE", "1")
    monkeypatch.delenv("SEQCLS_DATA_DIR", raising=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no folder")
    done = run(*arguments)
    assert done.code == 1
    assert message in done.err
    assert done.out == ""
    assert "Traceback" not in done.err


def test_a_second_command_in_a_process_tells_things_once(run: Run, trained: Path) -> None:
    for _ in range(2):
        done = run("predict", str(trained), "--device", "cpu", "fine film")
        assert done.code == 0
    assert len(logging.getLogger("seqcls").handlers) == 1


def test_list_shows_everything_and_imports_none_of_it() -> None:
    code = "import sys; sys.argv = ['seqcls', 'list']; import seqcls.__main__ as m\ntry: m.main()\nexcept SystemExit: pass\n"
    code += "print([name for name in sys.modules if name == 'torch' or name.startswith(('seqcls.model', 'seqcls.data'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for name in ("bilstm", "bilstm-mean-pool", "lstm", "torch-rnn", "imdb", "reviews", "seqcls 0"):
        assert name in done.stdout


def test_info_system_says_what_computes(run: Run) -> None:
    from seqcls.model.native.library import describe

    shown = run("info", "system").out
    assert f"lstm            {describe()}" in shown
    assert json.loads(run("info", "system", "--json").out)["threads"] == torch.get_num_threads()


def test_info_shows_options_with_types_and_defaults(run: Run) -> None:
    shown = run("info", "encoder", "lstm").out
    assert re.search(r"hidden_size +int ≥ 1 +128 +Size of the state", shown)
    assert re.search(r'pooling +"last" \| "mean"', shown)
    options = json.loads(run("info", "dataset", "imdb", "--json").out)["options"]
    assert [option["name"] for option in options] == ["source", "validation", "validation_fraction", "split_seed"]


@pytest.fixture
def faulty(tmp_path: Path) -> str:
    """A CSV file with a text twice, an empty one and a long word that is no rich markup."""
    rows = [
        f"{place}, number {number}, was a [bold]{'good' if number % 2 else 'bad'} one"
        for number, place in enumerate(f"place{chr(97 + number % 26)}{chr(97 + number // 26)}" for number in range(60))
    ]
    rows[7], rows[9] = rows[5], "..."
    lines = [f'"{text}",{"good" if number % 2 else "bad"}' for number, text in enumerate(rows)]
    (tmp_path / "faulty.csv").write_text("\n".join(["words,mood", *lines]) + "\n")
    return "./faulty.csv"


def test_check_says_what_is_wrong_where_and_what_to_do_in_80_columns(run: Run, faulty: str) -> None:
    done = run("check", faulty, "--text-column", "words", "--dataset-option", "label_column=mood")
    assert done.code == 0
    assert done.out.startswith("./faulty.csv: train 60; 2 labels\n\nwarning: duplicates\n  1 text of train the same")
    assert "    train 6: placefa, number 5, was a [bold]good one\n    train 8: placefa" in done.out
    assert "  Remove them: to a model of words" in done.out
    assert done.out.endswith("\n\n3 warnings, 0 notes\n")
    assert max(map(len, done.out.splitlines())) <= 80
    assert "\x1b" not in done.out


def test_check_strict_fails_on_a_warning_alone(run: Run, faulty: str) -> None:
    columns = ["--text-column", "words", "--label-column", "mood"]
    assert run("check", faulty, *columns, "--strict").code == 1
    rows = [f"place{chr(97 + number)} was a <b>{'good' if number % 2 else 'bad'}</b> one" for number in range(24)]
    lines = [f"{text},{number % 2}" for number, text in enumerate(rows)]
    Path("notes.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    done = run("check", "./notes.csv", "--strict")
    assert done.code == 0
    assert "note: html" in done.out
    assert "0 warnings, " in done.out


def test_check_json_is_one_object_with_the_documented_keys(run: Run, faulty: str) -> None:
    checked = json.loads(run("check", faulty, "--text-column", "words", "--label-column", "mood", "--json").out)
    assert list(checked) == ["dataset", "splits", "label_names", "findings"]
    assert (checked["dataset"], checked["splits"]) == ("./faulty.csv", {"train": 60})
    assert {finding["kind"] for finding in checked["findings"]} >= {"duplicates", "empty"}
    for finding in checked["findings"]:
        assert list(finding) == ["kind", "severity", "count", "message", "advice", "examples"]
        assert all(list(example) == ["split", "row", "excerpt"] for example in finding["examples"])


def test_fit_says_a_line_a_finding_before_training(run: Run, faulty: str) -> None:
    data = ["--dataset", faulty, "--text-column", "words", "--label-column", "mood"]
    small = ["--encoder", "mean-pool", "--epochs", "1"]
    done = run("fit", *data, *small)
    assert done.code == 0
    lines = done.err.splitlines()
    assert lines[0] == "warning: 1 text of train the same as an earlier text of train (0 with another label)"
    assert lines[1] == "warning: 1 text with no letter and no digit (train 1)"
    assert "`seqcls check`" in lines[2]
    assert "warning" not in run("fit", *data, *small).err  # it was told when the data were read
    quiet = run("fit", *data, *small, "--max-length", "9", "--quiet")
    assert quiet.err == ""


def test_train_is_a_hidden_alias_of_fit(run: Run) -> None:
    assert run("train", *SMALL, "--dry-run").out == run("fit", *SMALL, "--dry-run").out
    assert "train " not in run("--help").out


def test_the_version_is_that_of_the_package(run: Run) -> None:
    from importlib.metadata import version

    assert run("--version").out == f"seqcls {version('seqcls')}\n"


def test_a_file_of_ones_own_is_fitted_evaluated_and_predicted(run: Run, tmp_path: Path) -> None:
    rows = [f"{('bad', 'good')[n % 2]} number {n},{('neg', 'pos')[n % 2]},{n // 4}" for n in range(120)]
    Path(tmp_path, "own.csv").write_text("\n".join(["what,verdict,author", *rows, ",pos,9"]))
    columns = ["--text-column", "what", "--label-column", "verdict", "--group-column", "author"]
    fit = ["fit", "--dataset", "own.csv", *columns, "--encoder", "mean-pool", "--lr", "0.05", "--output", "own"]
    refused = run(*fit)
    assert refused.code == 1
    assert "own.csv, line 122: there is no text in column 'what'" in refused.err
    done = run(*fit, "--skip-bad-rows", "--test-fraction", "0.2", "--class-weights", "balanced", *SMALL[4:6], "--json")
    assert done.code == 0
    assert "1 of 121 rows of train are bad and left out" in done.err
    assert json.loads(done.out)["test"]["accuracy"] == 1
    assert run("evaluate", "own", "--dataset", "own.csv", "--dataset-option", "skip_bad_rows=true").out.startswith(
        "Test set: Avg. loss: "
    )
    assert run("predict", "own", "good number 7").out.startswith("pos\t")


def test_numbers_are_predicted_from_a_file(run: Run, tmp_path: Path) -> None:
    values = np.linspace(0, 1, 80, dtype=np.float32)[:, None]
    labels = np.array(["low", "high"])[(np.arange(40) >= 20).astype(int)]
    np.savez(tmp_path / "a.npz", values=values, offsets=np.arange(0, 81, 2), labels=labels)
    fit = ["fit", "--dataset", "a.npz", "--encoder", "mean-pool", "--lr", "0.1", "--batch-size", "4", "--output", "numbers"]
    assert run(*fit).code == 0
    lines = run("predict", "numbers", "--file", "a.npz").out.splitlines()
    assert lines[0].startswith("low\t")
    assert lines[39].startswith("high\t")
    assert lines[39].endswith("\tsequence 40")
    refused = run("predict", "numbers", "0.5")
    assert refused.code == 2
    assert "the model reads sequences of numbers, not texts; give them as --file FILE.npz or FILE.ts" in refused.err
    assert run("evaluate", "numbers", "--dataset", "a.npz").code == 0


def test_several_labels_are_printed(run: Run, tmp_path: Path) -> None:
    names = [["a"] * (n % 2) + ["b"] * (n // 2 % 2) for n in range(120)]
    rows = [f"{' '.join(found) or 'c'} {n},{';'.join(found)}" for n, found in enumerate(names)]
    Path(tmp_path, "m.csv").write_text("\n".join(["text,labels", *rows]))
    fit = ["fit", "--dataset", "m.csv", "--label-delimiter", ";", "--dataset-option", "delimiter=,"]
    done = run(*fit, "--encoder", "mean-pool", "--lr", "0.05", "--batch-size", "8", "--epochs", "10", "--output", "several")
    assert done.code == 0
    assert "F1: 1.000" in done.out
    both, none = run("predict", "several", "a b", "c").out.splitlines()
    assert [part.split(":")[0] for part in both.split("\t")[0].split()] == ["a", "b"]
    assert none.startswith("-\t")
    assert json.loads(run("predict", "several", "--json", "b").out)["labels"] == ["b"]
