from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from commands import Run

from seqcls.training.callbacks.console import ConsoleReporter

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
    assert "kept in here;" in done.err
    assert run(*TUNE, "--trials", "2").code == 0
    assert len(Path("here/trials.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--time-budget", "soon"], "write a duration as 90s, 30m or 1h30m"),
        (["--time-budget", "0s"], "--time-budget must be"),
        (["--max-size", "small"], "write a size as 500kB"),
        (["--encoders", "magic"], "magic"),
        (["--encoders", ","], "names no encoder"),
        (["--encoders", "cnn,cnn"], "given twice"),
        (["--encoder-option", "hidden_size=3"], "there is no option 'hidden_size'"),
        (["--set", "max_time=3m"], "fit.max_time"),
        (["--output", "full"], "full exists"),
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
