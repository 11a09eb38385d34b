from __future__ import annotations

import re
import subprocess
import sys

import pytest
from commands import SMALL, Run

from seqcls.apps.cli.settings import make_options
from seqcls.config.settings import DataConfig, FitConfig, ModelConfig

# Every flag of `seqcls fit` in seqcls 0.1.
FLAGS_OF_0_1 = """
--encoder -e --dataset -d --recipe --config -c --output -o --force --resume --epochs --batch-size --lr --patience --seed
--device --precision --max-length --text-column --label-column --group-column --label-delimiter --validation --test
--validation-fraction --test-fraction --skip-bad-rows --class-weights --baseline --no-baseline --report --no-report
--tokenizer --vocab-size --num-words --truncating --embedding --embedding-size --encoder-option --embedding-option
--dataset-option --set --max-time --on-nan --auto-batch --no-auto-batch --num-workers --callback --callback-option
--dry-run --print-config --json --quiet -q
"""


def test_every_flag_of_0_1_is_still_there(run: Run) -> None:
    shown = re.findall(r"(?<=[ ,/])--?[a-z][a-z-]*", run("fit", "--help").out)
    assert set(shown) >= set(FLAGS_OF_0_1.split())


def test_the_help_of_a_flag_is_the_first_sentence_of_its_settings_docstring() -> None:
    fields = {**DataConfig.model_fields, **ModelConfig.model_fields, **FitConfig.model_fields}
    options = {option.name: option for option in make_options(("data", "model", "fit"), ())}
    assert {"epochs", "encoder", "vocab_size", "text_column"} <= set(options)
    for name in set(options) & set(fields):
        assert (fields[name].description or "").startswith(options[name].help)
        assert options[name].help.endswith(".")
        assert options[name].default is None


def test_help_has_a_section_per_panel_within_80_columns(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = run("fit", "--help").out.splitlines()
    assert [line for line in lines if line.endswith(":") and not line.startswith(" ")] == [
        "Data:",
        "Model:",
        "Training:",
        "Run:",
    ]
    assert max(map(len, lines)) <= 80


def test_flags_become_settings_of_their_type(run: Run) -> None:
    pytest.importorskip("tensorboard")
    printed = run(
        *("fit", "--num-words", "500", "--max-length", "none", "--patience", "3", "--lr", "0.5", "--no-auto-batch"),
        *("--callback", "tensorboard", "--max-time", "1h30m", "--class-weights", "balanced", "--print-config"),
    ).out
    for line in ("vocab_size = 500", 'max_length = "none"', "patience = 3", "lr = 0.5", "auto_batch = false"):
        assert f"\n{line}\n" in printed
    for line in ('callbacks = ["tensorboard"]', "max_time = 5400.0", 'class_weights = "balanced"'):
        assert f"\n{line}\n" in printed


def test_set_overrides_a_flag_and_a_plugin_option_overrides_both(run: Run) -> None:
    printed = run("fit", "--epochs", "2", "--set", "epochs=3", *SMALL[-6:], "--print-config").out
    assert "\nepochs = 3\n" in printed
    assert "\ntrain_size = 40\n" in printed


def test_flags_of_the_data_are_the_same_for_fit_and_check(run: Run) -> None:
    for command in ("fit", "check", "tune", "compare"):
        shown = run(command, "--help").out
        for flag in ("--text-column", "--group-column", "--validation-fraction", "--vocab-size, --num-words", "--set"):
            assert flag in shown


def test_the_help_of_fit_imports_no_torch() -> None:
    code = "import sys; sys.argv = ['seqcls', 'fit', '--help']\nfrom seqcls import __main__ as m\n"
    code += "try: m.main()\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
