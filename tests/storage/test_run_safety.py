"""Disks that are full or read-only, folders in use, and checkpoints that are damaged: one line, and nothing is lost."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import copy_of, make_runs
from processes import Log, assert_same_end, in_process, start, train
from toy import toy_config, toy_pairs, toy_splits

from seqcls import Callback, Classifier, FitState, Splits, Trainer
from seqcls.errors import CheckpointError
from seqcls.storage.run_directory import RunDirectory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="disks are mounted and processes forked as on Linux")

EXTRAS = "--no-baseline --no-report"
FIT = f"{sys.executable} -m seqcls fit --quiet {EXTRAS} --epochs 1 --dataset-option train_size=500 --encoder mean-pool"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_runs(tmp_path_factory.mktemp("runs"))


def with_a_disk(script: str, folder: Path) -> list[str]:
    """Run a script of the shell with a small disk, of which nobody else knows, in DISK; return what it prints."""
    folder.mkdir()
    mount = f"mount -t tmpfs -o size=4m none {folder} || exit 77; "
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount + script.replace("DISK", str(folder))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    if done.returncode == 77 or "unshare" in done.stdout:
        pytest.skip(f"no disk can be mounted here: {done.stdout.strip()}")
    return done.stdout.splitlines()


def test_a_full_disk_is_a_line_and_the_second_try_works(tmp_path: Path) -> None:
    script = f"""
    head -c 4120000 /dev/zero > DISK/filler
    {FIT} --output DISK/run; echo "code $?"
    find DISK -name '.?*'
    rm DISK/filler
    {FIT} --output DISK/run; echo "code $?"
    """
    error, code, *rest, second = with_a_disk(script, tmp_path / "disk")
    assert error.startswith(f"error: cannot write {tmp_path}/disk/run")
    assert "No space left on device; free space or choose another --output" in error
    assert (code, second) == ("code 1", "code 0")
    assert not [line for line in rest if line.startswith(str(tmp_path))]


FILL_AND_RESUME = """
import sys
sys.path.insert(0, TESTS)
from pathlib import Path
from faults import CONFIG
from toy import toy_config, toy_splits
from seqcls import Callback, Trainer
from seqcls.errors import CheckpointError
from seqcls.storage.run_directory import RunDirectory
run, filler = Path("DISK/run"), Path("DISK/filler")
class Fill(Callback):
    def on_step_end(self, state):
        if state.step == 7:
            with filler.open("wb", buffering=0) as file:
                try:
                    while True: file.write(bytes(4096))
                except OSError: pass
config = toy_config().updated(CONFIG, source="test")
try:
    Trainer(None, toy_splits(), config=config, callbacks=[Fill()], output=run).fit()
except CheckpointError as error:
    print(error)
print([path.name for path in run.rglob(".*")])
print(RunDirectory(run).checkpoints.restorable().training.values["step"])
filler.unlink()
Trainer.resume(run, data=toy_splits(), callbacks=[]).fit()
"""


def test_a_disk_that_fills_up_leaves_the_checkpoint_before(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    (tmp_path / "script.py").write_text(
        FILL_AND_RESUME.replace("TESTS", repr(str(Path(__file__).parents[1]))).replace("DISK", str(tmp_path / "disk"))
    )
    script = f"OMP_NUM_THREADS=1 {sys.executable} {tmp_path}/script.py && cp -r DISK/run {tmp_path}/run"
    error, litter, step = with_a_disk(script, tmp_path / "disk")
    assert "No space left on device" in error
    assert (litter, step) == ("[]", "6")
    assert_same_end(runs[0], tmp_path / "run")


def test_a_read_only_disk_is_a_line_at_once(tmp_path: Path) -> None:
    resume = f"{sys.executable} -m seqcls fit --resume DISK/run"
    script = f"""
    {FIT} --output DISK/run
    mount -o remount,ro DISK
    {FIT} --output DISK/other; echo "code $?"
    {resume}; echo "code $?"
    {sys.executable} -m seqcls predict DISK/run "a fine room" > /dev/null; echo "code $?"
    """
    started = time.monotonic()
    new, code, resumed, second, third = with_a_disk(script, tmp_path / "disk")[-5:]
    assert time.monotonic() - started < 40  # four commands, each of which imports torch
    assert new == f"error: cannot write {tmp_path}/disk/other: {tmp_path}/disk is read-only; choose another --output"
    assert "Read-only file system" in resumed
    assert resumed.startswith(f"error: cannot write {tmp_path}/disk/run")
    assert (code, second, third) == ("code 1", "code 1", "code 0")


class Wait(Callback):
    """Keeps a run at its first step."""

    def on_step_end(self, state: FitState) -> None:
        time.sleep(60)


def _train_for_long(path: str) -> None:
    Trainer(None, toy_splits(), config=toy_config(), callbacks=[Wait()], output=path).fit()


def _try(path: str, how: str) -> str:
    try:
        if how == "resume":
            Trainer.resume(path, data=toy_splits(), callbacks=[]).fit()
        else:
            config = toy_config()
            Trainer(None, toy_splits(), config=config, callbacks=[], output=path, overwrite=how == "replace").fit()
    except CheckpointError as error:
        return str(error)
    return "no error"


def test_a_folder_in_use_is_left_alone_and_its_user_named(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process, _ = start(_train_for_long, str(run))
    try:
        while not (run / "checkpoints.json").is_file():
            assert process.is_alive()
            time.sleep(0.01)
        for how in ("resume", "replace"):
            expected = f"{run} is in use by process {process.pid}; wait for it, stop it, or give another --output"
            assert in_process(_try, str(run), how) == expected
    finally:
        process.kill()
        process.join()
    assert in_process(_try, str(run), "resume") == "no error"  # the lock has gone with the process


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


# What happens to the newest checkpoint, and what is said of it.
RUINS: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights cut off": (lambda last: _cut(last / "model.safetensors"), "model.safetensors is damaged"),
    "weights with a flipped bit": (lambda last: _flip(last / "model.safetensors"), "model.safetensors is damaged"),
    "weights missing": (lambda last: (last / "model.safetensors").unlink(), "lacks model.safetensors"),
    "weights of another": (
        lambda last: shutil.copy(last.with_name("step-00000004") / "model.safetensors", last),
        "model.safetensors is damaged",
    ),
    "optimizer empty": (lambda last: os.truncate(last / "training.safetensors", 0), "training.safetensors is damaged"),
    "optimizer with a flipped bit": (lambda last: _flip(last / "training.safetensors"), "training.safetensors is damaged"),
    "optimizer missing": (lambda last: (last / "training.safetensors").unlink(), "lacks training.safetensors"),
    "counters cut off": (lambda last: _cut(last / "training.json"), "training.json is damaged"),
    "counters of another": (
        lambda last: shutil.copy(last.with_name("step-00000004") / "training.json", last),
        "training.json is damaged",
    ),
    "manifest cut off": (lambda last: _cut(last / "manifest.json"), "manifest.json is not valid JSON"),
    "manifest missing": (lambda last: (last / "manifest.json").unlink(), "lacks manifest.json"),
    "settings empty": (lambda last: os.truncate(last / "config.json", 0), "config.json is damaged"),
    "tokenizer with a flipped bit": (lambda last: _flip(last / "tokenizer.json"), "tokenizer.json is damaged"),
    "all in it gone": (lambda last: [path.unlink() for path in last.iterdir()], "lacks manifest.json"),
    "folder missing": (lambda last: shutil.rmtree(last), "step-00000006"),
    "a file instead": (lambda last: (shutil.rmtree(last), last.write_bytes(b"x")), "step-00000006"),
}


def _resume_and_listen(path: str) -> list[str]:
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("seqcls").addHandler(handler)
    log = Log()
    Trainer.resume(path, data=toy_splits(), callbacks=[log]).fit()
    return [*messages, f"first step {log.steps[0][0]}"]


@pytest.mark.parametrize("ruin", RUINS)
def test_a_ruined_checkpoint_is_named_and_the_one_before_taken(tmp_path: Path, runs: tuple[Path, Path], ruin: str) -> None:
    run = copy_of(runs[1], tmp_path / "run")
    last = RunDirectory(run).checkpoints.pointed("last")
    assert last is not None
    damage, words = RUINS[ruin]
    damage(last)
    left = {path: path.read_bytes() for path in (last, *last.rglob("*")) if path.is_file()}
    warning, *_, first = in_process(_resume_and_listen, str(run))
    assert words in warning
    assert "the checkpoint step-00000006 cannot be read" in warning
    assert "trying the one before it" in warning
    assert first == "first step 5"
    assert {path: path.read_bytes() for path in left} == left  # the owner may still repair it
    assert_same_end(runs[0], run)


@pytest.mark.parametrize("damage", ["cut off", "missing", "empty"])
def test_pointers_that_are_damaged_are_done_without(tmp_path: Path, runs: tuple[Path, Path], damage: str) -> None:
    run = copy_of(runs[1], tmp_path / "run")
    pointers = run / "checkpoints.json"
    if damage == "missing":
        pointers.unlink()
    else:
        pointers.write_bytes(pointers.read_bytes()[: 10 * (damage == "cut off")])
    *messages, first = in_process(_resume_and_listen, str(run))
    assert any("checkpoints.json" in message for message in messages) == (damage != "missing")
    assert first == "first step 7"
    assert_same_end(runs[0], run)


def test_the_figures_of_a_model_that_stands_in_for_a_damaged_best_one_are_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # What is learned is wrong for the validation data: the first evaluation stays the best.
    wrong = [(text, {"good": "bad", "bad": "good"}[label]) for text, label in toy_pairs(16, seed=1)]
    splits = Splits.from_pairs(toy_pairs(64), validation=wrong)
    result = Trainer(None, splits, config=toy_config(epochs=4), callbacks=[], output=tmp_path / "run").fit()
    run = RunDirectory(result.run_dir)
    best, last = run.checkpoints.pointed("best"), run.checkpoints.pointed("last")
    assert best is not None
    assert best != last
    weights = best / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    again = Trainer.resume(run.path, data=splits, callbacks=[]).fit()
    assert "the best checkpoint cannot be read" in caplog.text
    assert again.validation != result.validation
    assert again.model_dir is not None
    assert Classifier.from_pretrained(again.model_dir).evaluate(splits, split="validation").score == again.validation


def test_a_run_that_went_on_in_another_process_is_not_put_back(tmp_path: Path) -> None:
    result = Trainer(None, toy_splits(), config=toy_config(), callbacks=[], output=tmp_path / "run").fit()
    changes = {"fit": {"epochs": 3}}
    early = Trainer.resume(result.run_dir, data=toy_splits(), changes=changes, callbacks=[])
    Trainer.resume(result.run_dir, data=toy_splits(), changes=changes, callbacks=[]).fit()
    with pytest.raises(CheckpointError, match="another process in the meantime; resume it again"):
        early.fit()


def test_if_every_checkpoint_is_damaged_each_is_named(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    run = copy_of(runs[1], tmp_path / "run")
    _flip(run / "checkpoints/step-00000004/training.json")
    (run / "checkpoints/step-00000006/model.safetensors").unlink()
    with pytest.raises(CheckpointError) as caught:
        Trainer.resume(run, data=toy_splits())
    message = str(caught.value)
    assert "none of its checkpoints can be read" in message
    assert "step-00000006 lacks model.safetensors" in message
    assert "step-00000004/training.json is damaged" in message
    assert "\n" not in message


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_run_whose_checkpoint_is_damaged_gives_a_line_at_the_command_line(
    tmp_path: Path, runs: tuple[Path, Path], command: str
) -> None:
    run = copy_of(runs[1], tmp_path / "run")
    _flip(run / "checkpoints/step-00000006/model.safetensors")
    with pytest.raises(CheckpointError, match="is damaged"):
        Classifier.from_pretrained(run)
    arguments = [command, str(run), *(["a room"] if command == "predict" else [])]
    done = subprocess.run([sys.executable, "-m", "seqcls", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "step-00000006/model.safetensors is damaged" in line


def test_a_run_that_ended_before_its_first_checkpoint_may_be_started_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = toy_config()
    with RunDirectory.create(run, config):
        pass
    (run / "checkpoints" / ".step-00000000.123.tmp").mkdir()
    assert in_process(_try, str(run), "new") == "no error"
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.toml").write_text("# my settings\n")
    assert "exists" in in_process(_refuse, str(mine))
    assert (mine / "config.toml").read_text() == "# my settings\n"


def _refuse(path: str) -> str:
    try:
        train(path, {})
    except Exception as error:
        return str(error)
    return "no error"
