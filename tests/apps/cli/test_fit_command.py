from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from commands import SMALL, Run


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
        "calibration", "compared", "baseline", "report",
    ]  # fmt: skip
    assert {"loss", "accuracy", "count"} <= set(result["test"])
    assert Path(result["model"], "config.json").is_file()
    assert result["run"].startswith("runs/reviews-lstm-")


def test_quiet_leaves_only_the_result(run: Run) -> None:
    done = run("fit", *SMALL, "--quiet")
    assert done.err == ""
    assert len(done.out.splitlines()) == 2


def test_dry_run_shows_the_plan_and_writes_no_run(run: Run, tmp_path: Path) -> None:
    done = run("fit", *SMALL, "--dry-run")
    assert "40 examples" in done.out
    assert re.search(r"lstm, [\d,]+ parameters, on cpu", done.out)
    assert "3 steps: 1 epoch of 3" in done.out
    assert not (tmp_path / "runs").exists()
    plan = json.loads(run("fit", *SMALL, "--dry-run", "--json").out)
    assert (plan["examples"]["train"], plan["total_steps"]) == (40, 3)


def test_an_ensemble_names_no_model_and_is_made_of_networks(run: Run) -> None:
    data = ["--dataset", "reviews", "--dataset-option", "train_size=1200", "--dataset-option", "test_size=20"]
    plans = json.loads(run("fit", *data, "--ensemble", "3", "--dry-run", "--json").out)
    assert len(plans) > 1
    for name, plan in plans.items():
        assert plan["config"]["model"]["ensemble"] == (1 if name.startswith("linear") else 3)
    assert "ensemble of 3 lstm networks" in run("fit", *SMALL, "--ensemble", "3", "--dry-run").out


def test_printed_settings_are_read_back_as_they_are(run: Run, tmp_path: Path) -> None:
    printed = run("fit", *SMALL, "--set", "clip_norm=none", "--print-config").out
    (tmp_path / "settings.toml").write_text(printed)
    again = run("fit", "-c", "settings.toml", "--print-config").out
    assert tomllib.loads(again) == tomllib.loads(printed)
    assert 'clip_norm = "none"\n' in again


def test_what_is_chosen_to_fit_the_data_is_said_and_kept(run: Run) -> None:
    small = [*SMALL, "--batch-size", "auto", "--set", "output_dropout=0.2", "--output", "here"]
    printed = run("fit", *small, "--print-config").out
    assert "batch_size = 8  # auto\n" in printed
    assert "output_dropout = 0.2\n" in printed
    assert re.search(r"chosen +vocab_size \d+, .*batch_size 8, ", run("fit", *small, "--dry-run").out)
    done = run("fit", *small)
    assert re.search(r"Chosen to fit the data: vocab_size \d+, .*batch_size 8, ", " ".join(done.err.split()))
    assert Path("here/config.toml").read_text() == printed
    resumed = run("fit", "--resume", "here", "--epochs", "2")
    assert "Chosen" not in resumed.err
    assert _marked(Path("here/config.toml").read_text()) == _marked(printed)


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


def test_fit_says_a_line_a_finding_before_training(run: Run, faulty: str) -> None:
    data = ["--dataset", faulty, "--text-column", "words", "--label-column", "mood"]
    small = ["--encoder", "mean-pool", "--epochs", "1"]
    done = run("fit", *data, *small)
    assert done.code == 0
    lines = done.err.splitlines()
    assert lines[0] == "warning: 1 text in train is the same as an earlier text in train (0 with another label)"
    assert lines[1] == "warning: 1 text with no letter and no digit (train 1)"
    assert "`seqcls check`" in lines[2]
    assert "warning" not in run("fit", *data, *small).err  # it was told when the data were read
    quiet = run("fit", *data, *small, "--max-length", "9", "--quiet")
    assert quiet.err == ""


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
    assert "1 of 121 rows of train are bad" in done.err
    assert json.loads(done.out)["test"]["accuracy"] == 1
    assert run("evaluate", "own", "--dataset", "own.csv", "--dataset-option", "skip_bad_rows=true").out.startswith(
        "Test set: Avg. loss: "
    )
    assert run("predict", "own", "good number 7").out.startswith("pos\t")


def _marked(settings: str) -> list[str]:
    """Return the lines of a settings file that are marked as chosen to fit the data."""
    return [line for line in settings.splitlines() if line.endswith("# auto")]
