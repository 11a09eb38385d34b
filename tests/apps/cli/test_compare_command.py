from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from commands import DATA, SMALL, Run


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
    refused = run("compare", str(trained), "other", "--epochs", "3")
    assert (refused.code, "--encoders" in refused.err) == (2, True)
    assert run("compare", "other", "nowhere").code == 1


def test_compare_draws_the_figures(run: Run, trained: Path) -> None:
    pytest.importorskip("matplotlib")
    shutil.copytree(trained, "copy")
    assert run("compare", str(trained), "copy", "--plot", "plot.png").code == 0
    assert Path("plot.png").stat().st_size > 1000


def test_compare_trains_encoders_and_goes_on_where_it_was(run: Run) -> None:
    command = ["compare", "--encoders", "mean-pool,cnn", "--dataset", "reviews", *DATA]
    command += ["--set", "epochs=1", "--seeds", "2", "--output", "here", "--device", "cpu"]
    done = run(*command)
    assert done.code == 0, done.err
    assert [line.split()[0] for line in done.out.splitlines()[:3]] == ["encoder", "mean-pool", "cnn"]
    assert {path.name for path in Path("here").iterdir()} == {"mean-pool-0", "mean-pool-1", "cnn-0", "cnn-1"}
    times = {path: path.stat().st_mtime_ns for path in Path("here").glob("*/run/metrics.jsonl")}
    again = json.loads(run(*command, "--json").out)
    assert times == {path: path.stat().st_mtime_ns for path in Path("here").glob("*/run/metrics.jsonl")}
    assert [len(row["accuracies"]) for row in again["models"]] == [2, 2]
    plan = [
        "compare",
        "--encoders",
        "mean-pool",
        *DATA,
        "--seeds",
        "1",
        "--output",
        "flags",
        "--epochs",
        "2",
        "--lr",
        "0.01",
    ]
    assert run(*plan).code == 0
    settings = Path("flags/mean-pool-0/run/config.toml").read_text()
    assert "epochs = 2\n" in settings
    assert "lr = 0.01\n" in settings
    assert run("compare", "--encoders", "magic", "--dataset", "reviews").code != 0
