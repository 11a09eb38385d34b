"""Faults at the calls that one save of a run makes to the system, which strace injects."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from processes import DIED, in_process, train
from toy import toy_splits

from seqcls import Callback, FitState, Trainer
from seqcls.errors import CheckpointError
from seqcls.training.callbacks import checkpointing

# Eight steps an epoch, an evaluation every two.
CONFIG = {"fit": {"eval_every_steps": 2, "seed": 3}}
_CALLS = "openat,mkdir,write,pwrite64,writev,ftruncate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,rmdir"


def needs_strace() -> None:
    """Skip the test where strace is not there, or may not look at other processes."""
    reason = _why_no_strace()
    if reason:
        pytest.skip(reason)


@cache
def _why_no_strace() -> str | None:
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(["strace", "-qq", "-e", "inject=fsync:error=EIO", "true"], capture_output=True, text=True)
    return f"strace cannot trace here: {done.stderr.strip()}" if done.returncode else None


def make_runs(folder: Path) -> tuple[Path, Path]:
    """Make a run that was never stopped, and the same stopped by SIGTERM after its third evaluation."""
    whole, cut = folder / "whole", folder / "cut"
    in_process(train, str(whole), CONFIG)
    in_process(train, str(cut), CONFIG, "evaluation 3")
    return whole, cut


def copy_of(run: Path, path: Path) -> Path:
    return Path(shutil.copytree(run, path))


def save_once(path: Path, *options: str) -> tuple[str, list[tuple[str, str, str]]]:
    """Resume the run in ``path``, with strace at its next evaluation's log and checkpoint; then the run stops.

    Returns:
        "saved", "killed" or the error's message; and the calls: name, paths, result.
    """
    log = path.with_name(f"{path.name}.strace")
    try:
        outcome = in_process(_resume_traced, str(path), [*options, "-o", str(log)])
    except AssertionError as error:
        if str(error) != DIED:
            raise
        outcome = "killed"
    return outcome, _parse(log.read_text())


def _resume_traced(path: str, options: list[str]) -> str:
    import os

    original = checkpointing.Checkpointer.on_evaluation

    def traced(*arguments: Any, **more: Any) -> None:
        command = ["strace", "-y", "-qq", "-e", f"trace={_CALLS}", *options, "-p", str(os.getpid())]
        tracer = subprocess.Popen(command)
        while "TracerPid:\t0\n" in Path("/proc/self/status").read_text():
            assert tracer.poll() is None
            time.sleep(0.002)
        try:
            original(*arguments, **more)
        finally:
            tracer.terminate()
            tracer.wait()

    class StopAfterIt(Callback):
        def on_evaluation(self, state: FitState, *_: Any, **__: Any) -> None:
            state.stop("evaluated")

    checkpointing.Checkpointer.on_evaluation = traced  # type: ignore[method-assign]
    trainer = Trainer.resume(path, data=toy_splits(), callbacks=[StopAfterIt()])
    try:
        trainer.fit()
    except CheckpointError as error:
        return str(error)
    return "saved"


def _parse(log: str) -> list[tuple[str, str, str]]:
    """Return name, paths (that of the descriptor, or those given) and result of each call."""
    calls = []
    for line in log.splitlines():
        match = re.match(r"(?:\d+ +)?(\w+)\((.*)\) += (.*)", line)
        if match:
            name, arguments, result = match.groups()
            descriptor = re.match(r"\d+<(.*?)>", arguments)
            # The name of a file to be opened or removed stands beside the folder that it is relative to.
            names = re.findall(r'"(.*?)"', arguments) if name not in ("write", "pwrite64", "writev") else []
            calls.append((name, " ".join(names) or (descriptor[1] if descriptor else ""), result))
    return calls
