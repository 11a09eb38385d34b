"""Signals and the time limit, from start-up to the last save."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from processes import Log, in_process
from toy import toy_config, toy_splits

from seqcls import Classifier, Trainer
from seqcls.apps.cli.loading import uninterrupted
from seqcls.config.values import seconds_of
from seqcls.storage.run_directory import RunDirectory
from seqcls.storage.snapshot import load_training
from seqcls.training import loop as loop_module
from seqcls.training.callbacks import checkpointing
from seqcls.training.stopping import Signals, TimeLimit

LONG = [
    "fit",
    "--no-baseline",
    "--no-report",
    "--epochs",
    "1000",
    "--dataset-option",
    "train_size=2000",
    "--set",
    "checkpoint_every_steps=1",
]
needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="child processes are found in /proc")


def _wait(condition: Callable[[], Any], *, seconds: float = 60) -> Any:
    """Return what ``condition`` gives as soon as it is true."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not true within {seconds} s"
        time.sleep(0.01)
    return value


def _children(pid: int) -> list[int]:
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]


def _is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@contextmanager
def _started(*arguments: str, program: Sequence[str] = ("-m", "seqcls")) -> Iterator[subprocess.Popen[str]]:
    """Yield the command line at work in a process group of its own, as a terminal starts it."""
    command = [sys.executable, *program, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_line_stops_within_seconds_and_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    run = tmp_path / "run"
    with _started(*LONG, "--num-workers", "2", "--output", str(run)) as process:
        _wait(lambda: (run / "checkpoints" / "step-00000003").is_dir())
        children = _wait(lambda: len(found := _children(process.pid)) >= 2 and found)
        started = time.monotonic()
        os.killpg(process.pid, number)  # a terminal and many schedulers signal every process
        out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert time.monotonic() - started < 5 + 3 * ("CI" in os.environ)
    assert f"seqcls fit --resume {run}" in err
    assert "Traceback" not in err
    assert out == ""
    assert not [child for child in children if _is_running(child)]
    last = RunDirectory(run).checkpoints.pointed("last")
    assert last is not None
    step = load_training(last).values["step"]
    resumed = in_process(_resume_one_step, str(run))
    assert resumed == [step + 1]


def _resume_one_step(run: str) -> list[int]:
    log = Log("step 1")
    Trainer.resume(run, callbacks=[log]).fit()
    return [step for step, _ in log.steps]


@needs_proc
def test_workers_end_when_the_training_is_killed(tmp_path: Path) -> None:
    with _started(*LONG, "--num-workers", "2", "--output", str(tmp_path / "run")) as process:
        children = _wait(lambda: len(found := _children(process.pid)) >= 2 and found)
        process.kill()
        _wait(lambda: not [child for child in children if _is_running(child)], seconds=20)


_BLIND = """
from torch.utils.data._utils import worker
from seqcls.apps.cli.app import main
worker.ManagerWatchdog = type("Blind", (), {"is_alive": lambda self: True})  # as if it had begun after the kill
main()
"""


@needs_proc
def test_workers_end_when_the_training_is_killed_before_they_are_ready(tmp_path: Path) -> None:
    arguments = [*LONG, "--num-workers", "2", "--output", str(tmp_path / "run")]
    with _started(*arguments, program=("-c", _BLIND)) as process:
        children = _wait(lambda: len(found := _children(process.pid)) >= 2 and found)
        process.kill()
        _wait(lambda: not [child for child in children if _is_running(child)], seconds=20)


@pytest.mark.parametrize(
    ("number", "delay"), [(signal.SIGINT, 0.3), (signal.SIGTERM, 0.8), (signal.SIGINT, 1.4), (signal.SIGTERM, 2.5)]
)
def test_start_up_can_be_interrupted(tmp_path: Path, number: signal.Signals, delay: float) -> None:
    run = tmp_path / "run"
    with _started(*LONG, "--output", str(run)) as process:
        time.sleep(delay)  # wherever that finds it
        process.send_signal(number)
        started = time.monotonic()
        _, err = process.communicate(timeout=30)
    assert process.returncode in (128 + number, -number), err  # the latter before the command line is imported
    assert time.monotonic() - started < 5 + 3 * ("CI" in os.environ)
    assert "Traceback" not in err or process.returncode == -number
    if run.exists():
        assert RunDirectory(run).checkpoints.restorable()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_imports(number: signal.Signals) -> None:
    usual = signal.signal(number, lambda *_: sys.exit(7))
    imported = []

    def import_modules() -> None:
        with uninterrupted():
            signal.raise_signal(number)
            imported.append("torch")

    try:
        with pytest.raises(SystemExit):
            import_modules()
    finally:
        signal.signal(number, usual)
    assert imported


def _fit_with_signals(path: str, numbers: list[int], hook: str) -> tuple[str, int | None, int]:
    """Run with signals that arrive in the middle of a save, or of a batch; return how it ended, and its last step."""
    calls = 0

    def signalling(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 5:
                for number in numbers:
                    os.kill(os.getpid(), number)
            return function(*arguments, **more)

        return called

    if hook == "saving":
        checkpointing.save_model_directory = signalling(checkpointing.save_model_directory)
    else:
        loop_module.split_batch = signalling(loop_module.split_batch)
    config = toy_config(checkpoint_every_steps=1, epochs=5)
    try:
        result = Trainer(None, toy_splits(), config=config, callbacks=[], output=path).fit()
        how, number = "returned", result.signal
    except (KeyboardInterrupt, SystemExit) as error:
        how, number = type(error).__name__, None
    last = RunDirectory(Path(path)).checkpoints.pointed("last")
    assert last is not None
    return how, number, load_training(last).values["step"]


@pytest.mark.parametrize("hook", ["saving", "batch"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_within_a_save_or_a_batch_lets_it_be_ended(tmp_path: Path, hook: str, number: signal.Signals) -> None:
    step = {"saving": 4, "batch": 5}[hook]  # the first save is that of step 0
    assert in_process(_fit_with_signals, str(tmp_path / "run"), [number], hook) == ("returned", number, step)


@pytest.mark.parametrize("hook", ["saving", "batch"])
def test_a_second_ctrl_c_quits_at_once_and_the_last_checkpoint_is_safe(tmp_path: Path, hook: str) -> None:
    how, _, step = in_process(_fit_with_signals, str(tmp_path / "run"), [signal.SIGINT, signal.SIGINT], hook)
    assert how == "KeyboardInterrupt"
    assert step == {"saving": 3, "batch": 4}[hook]
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))


def _fit_with_usr1(path: str, at_start: bool) -> list[str]:
    saved: list[str] = []

    class Ask(Log):
        def on_data(self, splits: Any) -> None:
            if at_start:
                os.kill(os.getpid(), signal.SIGUSR1)

        def on_step_end(self, state: Any) -> None:
            saved.append(str(state.save_requested))
            if state.step == 3 and not at_start:
                os.kill(os.getpid(), signal.SIGUSR1)
            saved.append(Path(path, "checkpoints.json").read_text())

    config = toy_config(epochs=1, checkpoint_every_minutes=None)
    result = Trainer(None, toy_splits(), config=config, callbacks=[Ask()], output=path).fit()
    assert result.signal is None
    return [text.split('"last": "')[1][:13] for text in saved if "last" in text]


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows has no SIGUSR1")
def test_sigusr1_harms_no_command_that_has_nothing_to_save() -> None:
    code = (
        "import os, signal; from seqcls.apps.cli import app as module; "
        "module.app = lambda: os.kill(os.getpid(), signal.SIGUSR1); module.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_sigusr1_saves_a_checkpoint_and_goes_on(tmp_path: Path) -> None:
    assert in_process(_fit_with_usr1, str(tmp_path / "run"), False) == ["step-00000000"] * 3 + ["step-00000004"] * 5


def test_sigusr1_during_start_up_is_met_by_the_first_checkpoint(tmp_path: Path) -> None:
    assert in_process(_fit_with_usr1, str(tmp_path / "run"), True) == ["step-00000000"] * 8


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    # A background job of a shell without job control is started with SIGINT ignored: Ctrl-C is for another.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Signals().stopping(None):  # type: ignore[arg-type]
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_time_limit_ends_the_run_in_time_with_model_and_checkpoint(tmp_path: Path) -> None:
    config = toy_config(epochs=100_000, max_time="8s")
    started = time.monotonic()
    result = Trainer(None, toy_splits(), config=config, callbacks=[], output=tmp_path / "run").fit()
    assert 3 < time.monotonic() - started < 8
    assert result.is_cut_short
    assert result.stop_reason == "the time limit of 0:00:08 is reached"
    assert result.test is not None
    reached = _step(result.run_dir)
    again = Trainer.resume(result.run_dir, data=toy_splits(), changes={"fit": {"max_time": 5}}, callbacks=[]).fit()
    assert again.is_cut_short
    assert _step(again.run_dir) > reached


def _step(run: Path) -> int:
    last = RunDirectory(run).checkpoints.pointed("last")
    assert last is not None
    return int(load_training(last).values["step"])


def test_a_time_limit_leaves_out_the_test_split_if_there_is_no_time_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # The limit is over when training begins: no step is made, nothing was evaluated, and the model is the initial one.
    config = toy_config(max_time="1s")
    result = Trainer(None, toy_splits(), config=config, callbacks=[], output=tmp_path / "run").fit()
    assert (result.test, result.validation) == (None, None)
    assert "seqcls evaluate" in caplog.text
    last = RunDirectory(result.run_dir).checkpoints.pointed("last")
    assert last is not None
    assert load_training(last).values["step"] == 0
    assert result.model_dir is not None
    ours, theirs = Classifier.from_pretrained(result.model_dir), Classifier.from_pretrained(last)
    assert (ours.predict_proba(["superb film"]) == theirs.predict_proba(["superb film"])).all()


def test_a_time_limit_keeps_time_for_what_comes_after_it() -> None:
    limit = TimeLimit(time.monotonic() - 100, 110)
    assert limit.leaves(5)
    assert not limit.leaves(8)  # 3 seconds are for what cannot be foreseen
    assert limit.leaves(8, spare=1)
    assert TimeLimit(0, None).leaves(1e9)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2d", 172_800), ("45", 45), ("0.5s", 0.5), (7.5, 7.5)],
)
def test_durations_are_read(text: str | float, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "30min", "-5m", "1m2h", "1h 30m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="1h30m"):
        seconds_of(text)
