from __future__ import annotations

import json
import logging
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from commands import SMALL, Run

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
        (["fit", "--epochs", "many"], "fit.epochs is 'many'"),
        (["fit", "--epochs", "0"], "fit.epochs is '0'"),
        (["fit", "--lr", "-1"], "fit.lr is '-1'"),
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


def test_train_is_a_hidden_alias_of_fit(run: Run) -> None:
    assert run("train", *SMALL, "--dry-run").out == run("fit", *SMALL, "--dry-run").out
    assert "train " not in run("--help").out


def test_the_version_is_that_of_the_package(run: Run) -> None:
    from importlib.metadata import version

    assert run("--version").out == f"seqcls {version('seqcls')}\n"


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_a_stdout_that_is_not_utf8_shows_what_it_can(trained: Path, tmp_path: Path, encoding: str) -> None:
    rows = [
        f"{text} \u6620\u753b \U0001f600,{label}" for text, label in (("good", "\u826f\u3044"), ("bad", "caf\u00e9"))
    ] * 20
    (tmp_path / "data.csv").write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    text = "the \u6620\u753b was good"
    commands = [
        ["predict", str(trained), text],
        ["predict", str(trained), text, "--json"],
        ["explain", str(trained), text],
        ["check", str(tmp_path / "data.csv")],
        ["info", "dataset", "files"],
        ["predict", "\u6620\u753b", text],
    ]
    for command in commands:
        done = subprocess.run([sys.executable, "-m", "seqcls", *command], capture_output=True, env=environment)
        assert b"Traceback" not in done.stderr, (command, done.stderr)
        assert done.returncode == (1 if command[1] == "\u6620\u753b" else 0), (command, done.stderr)
        done.stdout.decode(encoding)
        if "--json" in command:
            assert "label" in json.loads(done.stdout)
