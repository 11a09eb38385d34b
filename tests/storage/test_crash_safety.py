"""A save is whole or not there: whatever kills it or fails in it, the checkpoint before loads, and the run ends the same."""

from __future__ import annotations

import itertools
import logging
import mmap
import os
import random
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from faults import CONFIG, copy_of, make_runs, needs_strace, save_once
from processes import assert_same_end, in_process, start, train

from seqcls.storage.checkpoints import Checkpoints
from seqcls.storage.run_directory import RunDirectory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="calls are traced and processes forked as on Linux")

FILES = {"config.json", "metrics.json", "model.safetensors", "tokenizer.json", "training.json", "training.safetensors"}
FILES |= {"manifest.json", "README.md"}
WRITING = ("write", "fsync", "rename")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A whole run, and the same cut off before its next save."""
    return make_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def calls(runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, str]]:
    """The calls of one save that nothing disturbs, of what is in the run directory, which stands for RUN."""
    needs_strace()
    run = copy_of(runs[1], tmp_path_factory.mktemp("calls") / "run")
    outcome, calls = save_once(run)
    assert outcome == "saved"
    inside = [(name, paths.replace(str(run), "RUN"), result) for name, paths, result in calls if str(run) in paths + result]
    return [(name, paths, result) for name, paths, result in inside if not result.startswith("-1 ENOENT")]


def assert_whole(run: Path) -> None:
    """The last checkpoint loads, the first one also before something points to it, with no need to fall back on another."""
    messages: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = messages.append  # type: ignore[method-assign]
    logger = logging.getLogger("seqcls")
    logger.addHandler(handler)
    try:
        assert RunDirectory(run).checkpoints.restorable().path == (
            RunDirectory(run).checkpoints.pointed("last") or run / "checkpoints/step-00000000"
        )
    finally:
        logger.removeHandler(handler)
    assert not messages


def assert_clean(run: Path) -> None:
    """Nothing is in a finished run but what belongs there."""
    assert {path.name for path in run.iterdir()} == {
        *("config.toml", "metrics.jsonl", "checkpoints.json", "checkpoints", "model", "lock")
    }
    pointers = RunDirectory(run).checkpoints.pointers()
    assert pointers is not None
    assert {path.name for path in (run / "checkpoints").iterdir()} == pointers.names
    for folder in (run / "model", *(run / "checkpoints").iterdir()):
        assert {path.name for path in folder.iterdir()} <= FILES


def assert_ends_the_same(run: Path, whole: Path) -> None:
    in_process(train, str(run), {})
    assert_same_end(whole, run)
    assert_clean(run)


def test_the_calls_of_a_save_come_in_the_order_that_makes_it_safe(calls: list[tuple[str, str, str]]) -> None:
    def place(name: str, *parts: str) -> int:
        (found,) = (
            number for number, call in enumerate(calls) if call[0] == name and all(part in call[1] for part in parts)
        )
        return found

    renamed = place("rename", "RUN/checkpoints/.step-00000008", " RUN/checkpoints/step-00000008")
    folder = calls[renamed][1].split()[0]
    (folder_flushed,) = (number for number, call in enumerate(calls) if call[:2] == ("fsync", folder))
    written = [call[1] for call in calls if call[0] == "write" and call[1].startswith(f"{folder}/")]
    assert {Path(path).name for path in written} == FILES
    for path in written:
        assert place("mkdir", folder) < place("write", path) < place("fsync", path) < folder_flushed < renamed
    (parent_flushed,) = (number for number, call in enumerate(calls) if call[:2] == ("fsync", "RUN/checkpoints"))
    pointed = place("rename", "RUN/.checkpoints.json.", " RUN/checkpoints.json")
    temporary = calls[pointed][1].split()[0]
    assert renamed < parent_flushed < place("write", temporary) < place("fsync", temporary) < pointed
    run_flushed = next(number for number in range(pointed, len(calls)) if calls[number][:2] == ("fsync", "RUN"))
    removed = [number for number, call in enumerate(calls) if call[0] in ("unlink", "unlinkat", "rmdir")]
    assert removed
    assert min(removed) > run_flushed


def test_saving_the_same_twice_gives_the_same_bytes(runs: tuple[Path, Path], tmp_path: Path) -> None:
    assert_ends_the_same(copy_of(runs[1], tmp_path / "run"), runs[0])
    names = ("step-00000016/model.safetensors", "step-00000016/training.safetensors", "step-00000016/tokenizer.json")
    for name in names:
        assert (tmp_path / "run" / "checkpoints" / name).read_bytes() == (runs[0] / "checkpoints" / name).read_bytes()
    data = (runs[0] / "checkpoints" / names[0]).read_bytes()
    assert b'{"__metadata__":{"seqcls":"{\\"format_version\\":2}"}' in data


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077], ids=oct)
def test_files_and_folders_have_the_permissions_that_the_umask_leaves(tmp_path: Path, mask: int) -> None:
    in_process(_train_under_a_mask, str(tmp_path / "run"), mask)
    for path in (tmp_path / "run", *(tmp_path / "run").rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~mask, path


def _train_under_a_mask(path: str, mask: int) -> None:
    os.umask(mask)
    train(path, CONFIG)


def kill_at(runs: tuple[Path, Path], folder: Path, call: str, number: int) -> str:
    """Kill a save when it makes its ``number``-th such call, check what is left, and go on to the end."""
    run = copy_of(runs[1], folder / f"{call}-{number}")
    outcome, _ = save_once(run, "-e", f"inject={call}:signal=KILL:when={number}")
    assert_whole(run)
    assert_ends_the_same(run, runs[0])
    return outcome


def places_of(calls: list[tuple[str, str, str]]) -> list[tuple[str, int]]:
    """Return the name and number of every call that changes the disk; the first mkdir finds the folder there."""
    places = [(name, number + 1) for name in WRITING for number in range(sum(call[0] == name for call in calls))]
    assert len(places) >= 25
    return [("mkdir", 2), *places]


def test_a_save_may_be_killed_at_every_call(
    runs: tuple[Path, Path], calls: list[tuple[str, str, str]], tmp_path: Path
) -> None:
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda place: kill_at(runs, tmp_path, *place), places_of(calls)))
    assert set(outcomes) == {"killed"}


def _train_slowly(path: str, flag: str) -> None:
    """Train with a checkpoint each step, of which each flush takes 3 ms; ``flag`` is 1 within a save."""
    flush, save = os.fsync, Checkpoints.save
    with Path(flag).open("r+b") as file:
        inside = mmap.mmap(file.fileno(), 1)

    def slow(descriptor: int) -> None:
        time.sleep(0.003)
        flush(descriptor)

    def marked(*arguments: Any, **more: Any) -> Path:
        inside[0] = 1
        try:
            return save(*arguments, **more)
        finally:
            inside[0] = 0

    os.fsync = slow
    Checkpoints.save = marked  # type: ignore[method-assign]
    train(path, {"fit": {**CONFIG["fit"], "checkpoint_every_steps": 1}})


def _kill_at_random(kills: int, within_saves: int, folder: Path, seed: int) -> None:
    """Kill runs at random moments, at least ``within_saves`` times within a save, and go on with each to its end.

    Every second moment is counted from the first save, so that a slow start-up does not take all kills.
    """
    rng, whole, run, flag = random.Random(seed), folder / "whole", folder / "run", folder / "flag"
    inside = done = 0
    flag.write_bytes(b"\0")
    in_process(_train_slowly, str(whole), str(flag))
    while done < kills or inside < within_saves:
        assert done < 20 * kills, f"only {inside} of {done} kills fell into a save"
        process, answer = start(_train_slowly, str(run), str(flag))
        while done % 2 and process.is_alive() and flag.read_bytes() == b"\0":
            process.join(0.001)
        process.join(rng.uniform(0.0, 0.3) if done % 2 else rng.uniform(0.1, 0.8))
        process.kill()
        process.join()
        if process.exitcode == 0:
            assert answer.recv() == (None, None)
            assert_same_end(whole, run)
            assert_clean(run)
            shutil.rmtree(run)
            continue
        done += 1
        inside += flag.read_bytes() == b"\1"
        flag.write_bytes(b"\0")
        if any((run / "checkpoints").glob("step-*")):
            assert_whole(run)
    in_process(_train_slowly, str(run), str(flag))
    assert_same_end(whole, run)


def test_a_run_may_be_killed_at_any_moment(tmp_path: Path) -> None:
    _kill_at_random(10, 2, tmp_path, seed=0)


@pytest.mark.slow
def test_a_run_may_be_killed_at_hundreds_of_moments(tmp_path: Path) -> None:
    _kill_at_random(250, 50, tmp_path, seed=7)


ERRORS = {"ENOSPC": "No space left on device", "EIO": "Input/output error", "EDQUOT": "Disk quota exceeded"}


def fail_at(runs: tuple[Path, Path], folder: Path, call: str, number: int, error: str) -> None:
    """Let a call of a save fail; check the error, and that the run can go on to the end."""
    run = copy_of(runs[1], folder / f"{call}-{number}-{error}")
    outcome, calls = save_once(run, "-e", f"inject={call}:error={error}:when={number}")
    assert f"{ERRORS[error]}; free space or choose another --output" in outcome
    assert str(run) in outcome
    assert "\n" not in outcome
    failed = next(place for place, call in enumerate(calls) if "(INJECTED)" in call[2])
    if call == "fsync":  # what a failed flush could not write may be gone, and the next one would not say so
        assert ("fsync", calls[failed][1]) not in [call[:2] for call in calls[failed + 1 :]]
    assert not [path for path in run.rglob("*") if path.name.startswith(".")]
    assert_whole(run)
    assert_ends_the_same(run, runs[0])


@pytest.mark.parametrize(
    "errors", [ERRORS, *(pytest.param([error], marks=pytest.mark.slow) for error in ERRORS)], ids=["in turn", *ERRORS]
)
def test_a_save_may_fail_at_every_call(
    runs: tuple[Path, Path], calls: list[tuple[str, str, str]], tmp_path: Path, errors: list[str]
) -> None:
    with ThreadPoolExecutor(2) as pool:
        places = zip(places_of(calls), itertools.cycle(errors), strict=False)
        list(pool.map(lambda place: fail_at(runs, tmp_path, *place[0], place[1]), places))


def test_an_old_checkpoint_that_cannot_be_deleted_is_a_warning(runs: tuple[Path, Path], tmp_path: Path) -> None:
    needs_strace()
    run = copy_of(runs[1], tmp_path / "run")
    outcome, calls = save_once(run, "-e", "inject=unlinkat:error=EIO")
    assert outcome == "saved"
    assert any("(INJECTED)" in call[2] for call in calls)
    assert_ends_the_same(run, runs[0])
