"""Do the tests bite? Faults that are easy to make are planted in a copy of the project, one by one: each must be caught."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]


class Fault(NamedTuple):
    """A change of one place in the code, and the tests that should see it."""

    file: str
    old: str
    new: str
    tests: str


STATE, RESUMING = "training/state.py", "training/resume.py"
RESUME, CRASH, RUN = (
    "tests/training/test_resume.py",
    "tests/storage/test_crash_safety.py",
    "tests/storage/test_run_safety.py",
)
FAULTS = {
    "PyTorch's generator is forgotten": Fault(
        "system/randomness.py", 'torch.set_rng_state(self.tensors["rng.torch"])', "pass", f"{RESUME} -k noise"
    ),
    "a second process's generators are forgotten": Fault(
        RESUMING,
        "elif _random_state_of(rank) in snapshot.tensors:",
        "elif False:",
        "tests/training/test_distributed.py -k same_bits",
    ),
    "the optimizer's state is forgotten": Fault(
        RESUMING,
        'restore_optimizer(learner.optimizer, snapshot.named("optimizer."))',
        "pass",
        f"{RESUME} -k each_place",
    ),
    "the sum of gradients amid a step is forgotten": Fault(
        RESUMING, "gradients[name].to(state.device) if name in gradients else None", "None", f"{RESUME} -k each_place"
    ),
    "the averaged weights stand for the trained ones": Fault(
        RESUMING, 'learner.model.load_state_dict(snapshot.named("weights."))', "saved.load_into(learner.model)", RESUME
    ),
    "a run that patience has ended goes on": Fault(
        "training/callbacks/early_stopping.py",
        '"""Stop a resumed run that had come to its end."""\n        self._stop_if_stale(state)',
        "pass",
        f"{RESUME} -k patience",
    ),
    "patience begins anew": Fault(
        RESUMING,
        "state.progress = check_form(values, Progress, saved.path)\n",
        "state.progress = check_form({**values, 'stale_evaluations': 0}, Progress, saved.path)\n",
        f"{RESUME} -k patience",
    ),
    "the best score is forgotten": Fault(
        RESUMING,
        'None if values["best"] is None else check_form(values["best"], Evaluation, saved.path)',
        "None",
        f"{RESUME} -k patience",
    ),
    "the figures since the last evaluation are forgotten": Fault(
        RESUMING,
        'state.figures.running = RunningScore.from_dict(values["running"], state.device)',
        "pass",
        f"{RESUME} -k each_place",
    ),
    "a reduced learning rate is forgotten": Fault(
        RESUMING,
        "state.progress = check_form(values, Progress, saved.path)\n",
        "state.progress = check_form({**values, 'lr_reduction': 1.0}, Progress, saved.path)\n",
        f"{RESUME} -k schedule",
    ),
    "the order of batches is off by one": Fault(
        "training/loop.py", "order[batches_done:]", "order[batches_done + 1 :]", f"{RESUME} -k each_place"
    ),
    "every epoch has the same order": Fault(
        "data/batches.py", "default_rng([seed, epoch])", "default_rng([seed, 0])", f"{RESUME} -k shuffled"
    ),
    "a due evaluation is skipped": Fault(
        RESUMING,
        "state.progress = check_form(values, Progress, saved.path)\n",
        "state.progress = check_form({**values, 'evaluation_due': False}, Progress, saved.path)\n",
        f"{RESUME} -k each_place",
    ),
    "the log keeps what a killed run wrote last": Fault(
        "training/trainer.py", "run.keep_metrics(state.progress.evaluations)", "pass", f"{CRASH} -k every_call"
    ),
    "a file is not flushed": Fault(
        "system/files.py",
        "        file.flush()\n        os.fsync(file.fileno())\n\n",
        "        file.flush()\n\n",
        f"{CRASH} -k order",
    ),
    "the folder is not flushed before it gets its name": Fault(
        "system/files.py", "        sync_directory(temporary)\n", "", f"{CRASH} -k order"
    ),
    "old checkpoints go before the pointer moves": Fault(
        "storage/checkpoints.py",
        "        self._point(new)\n        self._prune(new)\n",
        "        self._prune(new)\n        self._point(new)\n",
        f"{CRASH} -k order",
    ),
    "a failed save leaves its folder": Fault(
        "system/files.py",
        "        shutil.rmtree(temporary, ignore_errors=True)\n        raise\n",
        "        raise\n",
        f"{CRASH} -k fail",
    ),
    "a mean of the batches' means stands for the mean": Fault(
        "evaluation/scores.py",
        "self._loss += loss_sum.detach()",
        "self._loss += loss_sum.detach() / len(labels)",
        "tests/evaluation/test_scores.py tests/training/test_trainer.py",
    ),
    "hashes are not compared": Fault(
        "system/untrusted.py", "if hashlib.sha256(data).hexdigest() != hashes.get(name):", "if False:", f"{RUN} -k ruined"
    ),
    "a damaged checkpoint is not passed over": Fault(
        "storage/checkpoints.py", "damaged[name] = str(error)", "raise", f"{RUN} -k ruined"
    ),
    "the folder is not locked": Fault(
        "storage/lock.py", "            _lock(file.fileno(), folder)\n", "", f"{RUN} -k in_use"
    ),
    "an update is made before its gradient is looked at": Fault(
        "training/loop.py",
        "            world.add_gradients(model)\n",
        "            world.add_gradients(model)\n            learner.optimizer.step()\n",
        "tests/training/test_training_faults.py -k gradient",
    ),
    "gradients are averaged over the processes": Fault(
        "system/processes.py",
        "total.view_as(parameter)",
        "(total / self.size).view_as(parameter)",
        "tests/training/test_distributed.py -k one",
    ),
    "the first process's figures stand for those of all": Fault(
        STATE,
        "world.add(torch.tensor(sums, dtype=torch.float64)).tolist()",
        "[value * world.size for value in sums]",
        "tests/training/test_distributed.py -k uneven",
    ),
    "only the process that was told to stop stops": Fault(
        "training/stopping.py",
        "        if must_stop:\n",
        "        if must_stop and self._state.stop_reason:\n",
        "tests/training/test_distributed.py -k stops",
    ),
    "a second Ctrl-C is not heeded": Fault(
        "training/stopping.py", "if self.received is not None:", "if False:", "tests/training/test_interrupts.py"
    ),
    "a path may lead upwards": Fault("system/archives.py", r"(?!\.{1,2}(?:/|$))", "", "tests/system/test_archives.py"),
}


# Of the default run, since it takes least time.
QUICK = {"a path may lead upwards"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in FAULTS])
def test_a_planted_fault_is_caught(tmp_path: Path, name: str) -> None:
    fault = FAULTS[name]
    _copy(tmp_path)
    path = tmp_path / "seqcls" / fault.file
    code = path.read_text()
    assert fault.old in code
    path.write_text(code.replace(fault.old, fault.new))
    compile(path.read_text(), str(path), "exec")
    done = _run_tests(tmp_path, fault.tests)
    assert done.returncode == 1, done.stdout[-3_000:]  # some test failed: 2 to 5 mean that none could be run


@pytest.mark.slow
@pytest.mark.parametrize("tests", sorted({fault.tests for fault in FAULTS.values()}))
def test_without_a_fault_the_same_tests_pass(tmp_path: Path, tests: str) -> None:
    _copy(tmp_path)
    done = _run_tests(tmp_path, tests)
    assert done.returncode == 0, done.stdout[-3_000:]


def _copy(tmp_path: Path) -> None:
    for folder in ("seqcls", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)


def _run_tests(tmp_path: Path, tests: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider", *tests.split()]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=300)
