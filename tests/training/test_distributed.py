"""Several processes that train one model: the result of one, one report, one end."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import Log, free_port, in_process, in_world
from toy import toy_config, toy_pairs

from seqcls import Callback, Splits, Trainer
from seqcls.errors import DeviceError, NonFiniteError, SeqclsError
from seqcls.storage.model_directory import load_model_directory
from seqcls.storage.run_directory import RunDirectory
from seqcls.storage.snapshot import load_training
from seqcls.system.device import resolve_device
from seqcls.system.processes import world
from seqcls.training import loop as loop_module
from seqcls.training.lazy_tables import LARGE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the processes are forked")

# A process draws noise of its own, so that only without any the results can be compared.
NO_NOISE = {"word_dropout": 0.0, "embedding_dropout": 0.0, "output_dropout": 0.0}


def config(encoder: str = "lstm", *, noise: bool = False, **fit: Any) -> dict[str, Any]:
    model: dict[str, Any] = {"encoder": encoder} | ({} if noise else NO_NOISE)
    if encoder == "bilstm-mean-pool":
        model["encoder_options"] = {"dropout": 0.0}
    return {"model": model, "fit": {"seed": 3, **fit}}


def bigrams(*, noise: bool = False) -> dict[str, Any]:
    """Settings with a table of bigrams that is so large that rows wait until they are read."""
    changes = config(noise=noise)
    table = {"embedding": "ngram-hash", "embedding_options": {"buckets": LARGE // 8}}
    return {**changes, "model": changes["model"] | table}


def splits(train: int = 64, validation: int = 16, test: int = 20, weighted: bool = False) -> Splits:
    data = Splits.from_pairs(toy_pairs(train), validation=toy_pairs(validation, seed=1), test=toy_pairs(test, seed=2))
    weights = np.random.default_rng(0).integers(0, 4, train) / 2
    return replace(data, train=replace(data.train, weights=weights)) if weighted else data


def fit(path: str, changes: dict[str, Any], sizes: tuple[int, ...] = (), stop: str | None = None, rank: int = 0) -> Any:
    """Start or resume the run in ``path``; return the figures of its result and the examples of its steps."""
    log = Log(stop)
    if (Path(path) / "checkpoints.json").is_file():
        trainer = Trainer.resume(path, data=splits(*sizes), callbacks=[log])
    else:
        settings = toy_config().updated(changes, source="test")
        trainer = Trainer(splits(*sizes), config=settings, callbacks=[log], output=path)
    result = trainer.fit()
    return (
        {**result.as_dict(), "run": "", "model": "", "seconds": 0, "train_examples_per_second": 0},
        result.signal,
        log.steps,
    )


def compare(tmp_path: Path, changes: dict[str, Any], sizes: tuple[int, ...] = ()) -> None:
    """Assert that two processes give what one gives."""
    one = in_process(fit, str(tmp_path / "one"), changes, sizes)
    two = in_world(2, fit, str(tmp_path / "two"), changes, sizes, None)
    assert two[0][:2] == two[1][:2]  # each returns the whole result
    assert two[0][2] == one[2]  # the same examples at each step
    result, expected = two[0][0], one[0]
    for name in ("validation", "test"):
        assert result[name] == pytest.approx(expected[name], abs=1e-5)
        assert [result[name][key] for key in ("correct", "count")] == [expected[name][key] for key in ("correct", "count")]
    first, second = (load_model_directory(tmp_path / name / "model").weights for name in ("one", "two"))
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < 1e-5
    rows = [_rows(tmp_path / name) for name in ("one", "two")]
    assert len(rows[0]) == len(rows[1])
    for row, other in zip(*rows, strict=True):
        assert row["train"] == pytest.approx(other["train"], abs=1e-5)
        assert (row["train"]["correct"], row["train"]["count"]) == (other["train"]["correct"], other["train"]["count"])


def _rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("encoder", ["lstm", "numpy-simple-rnn", "bilstm-mean-pool", "gru"])
def test_two_processes_give_the_result_of_one(tmp_path: Path, encoder: str) -> None:
    compare(tmp_path, config(encoder))


@pytest.mark.parametrize(
    "settings",
    [
        {"accumulate_batches": 3, "clip_norm": 0.1},
        {"class_weights": "balanced", "ema_decay": 0.9},
        {"label_smoothing": 0.2},
        {"num_workers": 2, "optimizer": "adamw", "weight_decay": 0.1},
        {"eval_every_steps": 3, "schedule": "plateau", "bucket_by_length": False},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_every_kind_of_training_gives_the_result_of_one(tmp_path: Path, settings: dict[str, Any]) -> None:
    compare(tmp_path, config(**settings))


@pytest.mark.parametrize("sizes", [(), (41, 5, 2)], ids=["even", "uneven"])
def test_rows_of_large_tables_give_the_result_of_one(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    compare(tmp_path, bigrams(), sizes)


def test_weighted_examples_in_uneven_shares_give_the_result_of_one(tmp_path: Path) -> None:
    compare(tmp_path, config(accumulate_batches=2, class_weights="balanced", clip_norm=0.1), (41, 5, 2, True))


def test_shares_of_uneven_size_give_the_result_of_one(tmp_path: Path) -> None:
    # Batches of 8 leave one of a single example, of which the second process has none; of the test split neither.
    compare(tmp_path, config(), (41, 5, 2))
    compare(tmp_path / "more", config(batch_size=3, accumulate_batches=2), (43, 3, 2))


@pytest.mark.parametrize("place", ["step 3", "evaluation 1"])
@pytest.mark.parametrize("kind", ["averaged", "lazy"])
def test_a_run_of_two_is_resumed_by_two_to_the_same_bits(tmp_path: Path, kind: str, place: str) -> None:
    changes = bigrams(noise=True) if kind == "lazy" else config(noise=True, ema_decay=0.9)
    whole = in_world(2, fit, str(tmp_path / "whole"), changes, (), None)
    cut = in_world(2, fit, str(tmp_path / "cut"), changes, (), place)
    assert cut[0][1] == cut[1][1] == signal.SIGTERM
    rest = in_world(2, fit, str(tmp_path / "cut"), changes, (), None)
    assert cut[0][2] + rest[0][2] == whole[0][2]
    for name in ("model.safetensors", "training.safetensors"):
        whole_last, cut_last = (RunDirectory(tmp_path / run).checkpoints.pointed("last") for run in ("whole", "cut"))
        assert whole_last is not None
        assert cut_last is not None
        assert (whole_last / name).read_bytes() == (cut_last / name).read_bytes()


def test_processes_draw_noise_of_their_own(tmp_path: Path) -> None:
    in_world(2, fit, str(tmp_path / "run"), config(noise=True), (), None)
    tensors = load_training(RunDirectory(tmp_path / "run").checkpoints.pointed("last") or Path()).tensors
    assert tensors["rng.rank1"].numel() > tensors["rng.torch"].numel()
    assert tensors["rng.torch"].numpy().tobytes() not in tensors["rng.rank1"].numpy().tobytes()


def _resume_with_warnings(path: str, _rank: int = 0) -> list[str]:
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("seqcls").addHandler(handler)
    fit(path, {}, rank=_rank)
    return records


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2), (2, 3)])
def test_another_number_of_processes_goes_on_with_a_warning(tmp_path: Path, first: int, then: int) -> None:
    path = str(tmp_path / "run")
    in_world(first, fit, path, config(noise=True, accumulate_batches=2), (), "batch 3" if first == 1 else "step 1")
    (warned, *_) = in_world(then, _resume_with_warnings, path)
    assert any(f"processes {first} -> {then}" in message for message in warned)
    last = RunDirectory(tmp_path / "run").checkpoints.pointed("last")
    assert last is not None
    assert load_training(last).values["epoch"] == 2


def _fail(path: str, how: str, rank: int) -> str:
    """Fail in the second process's third batch, as ``how`` says; return what the process says of it."""
    original, calls = loop_module.split_batch, 0

    def failing(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3 and rank == 1:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("what a plugin raises")
        return original(*arguments)

    loop_module.split_batch = failing
    started = time.monotonic()
    with pytest.raises((SeqclsError, ValueError)) as caught:
        fit(path, config(checkpoint_every_steps=1), rank=rank)
    assert time.monotonic() - started < 30
    return f"{type(caught.value).__name__}: {caught.value}"


def test_a_process_that_fails_ends_the_others_with_the_cause(tmp_path: Path) -> None:
    first, second = in_world(2, _fail, str(tmp_path / "run"), "raises")
    assert second == "ValueError: what a plugin raises"
    assert re.fullmatch(r"TrainingError: rank 0 stops, since rank 1 failed: what a plugin raises\. .*--resume.*", first)
    in_world(2, fit, str(tmp_path / "run"), {}, (), None)


def test_a_process_that_is_killed_ends_the_others(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(in_world, 2, _fail_or_die, str(tmp_path / "run"))
        with pytest.raises(AssertionError, match="it died"):
            first.result()
    assert "another process was killed" in (tmp_path / "said").read_text()
    in_process(fit, str(tmp_path / "run"), {})


def _fail_or_die(path: str, rank: int) -> None:
    Path(path).with_name("said").write_text(_fail(path, "killed", rank))


def _spoil(path: str, kind: str, rank: int) -> list[str]:
    """Let the second process's loss be no number, or its memory not suffice, once."""
    original, calls = loop_module.split_batch, 0

    def failing(batch: Any, parts: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4 and rank == 1:
            raise RuntimeError("CUDA out of memory") if kind == "memory" else NonFiniteError(4, [7], "it is spoilt")
        return original(batch, parts)

    loop_module.split_batch = failing
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("seqcls").addHandler(handler)
    fit(path, config(on_nan="rollback", auto_batch=True, checkpoint_every_steps=1), rank=rank)
    return records


def test_all_processes_roll_back_together(tmp_path: Path) -> None:
    for records in in_world(2, _spoil, str(tmp_path / "run"), "number"):
        assert any("training examples 7: it is spoilt" in record and "Going back to step 3" in record for record in records)


def test_all_processes_cut_their_batches_together(tmp_path: Path) -> None:
    first, second = in_world(2, _spoil, str(tmp_path / "run"), "memory")
    assert any("now passes in 2 parts" in record for record in first)
    assert any("now passes in 2 parts" in record for record in second)


def _stop_early(path: str, rank: int) -> tuple[str, int]:
    class Stop(Callback):
        def on_step_end(self, state: Any) -> None:
            if state.step == 3:
                state.stop("seen enough")

    trainer = Trainer(None, splits(), config=toy_config(epochs=50), callbacks=[Stop()], output=path)
    result = trainer.fit()
    return result.stop_reason, len(trainer.callbacks)


def test_a_callback_of_the_first_process_stops_all(tmp_path: Path) -> None:
    assert in_world(2, _stop_early, str(tmp_path / "run")) == [("seen enough", 1), ("another process was asked to stop", 0)]


def _read_other_data(path: str, rank: int) -> str:
    with pytest.raises(SeqclsError) as caught:
        fit(path, config(), (64 + 2 * rank,), rank=rank)
    return str(caught.value)


def test_processes_with_different_data_are_refused(tmp_path: Path) -> None:
    for message in in_world(2, _read_other_data, str(tmp_path / "run")):
        assert "different training data" in message


def _meet_nobody(**environment: str) -> str:
    os.environ.update(environment)
    with pytest.raises(SeqclsError) as caught:
        world()
    return str(caught.value)


def test_a_world_that_is_not_there_is_said_in_one_line() -> None:
    message = in_process(partial(_meet_nobody, WORLD_SIZE="2"))
    assert "the 2 processes cannot meet" in message
    assert "torchrun" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["cuda:0", "mps"])
def test_processes_do_not_share_a_named_device(name: str) -> None:
    with pytest.raises(DeviceError, match="several processes cannot share"):
        resolve_device(name, local_rank=1)


def test_a_process_takes_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto", local_rank=1) == resolve_device("cuda", local_rank=1) == torch.device("cuda:1")
    with pytest.raises(DeviceError, match="cuda:2 is not available"):
        resolve_device("auto", local_rank=2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto", local_rank=1) == torch.device("cpu")


COUNT_THREADS = """
import os, torch
from seqcls.system.processes import _leave, world
def count(): return len(os.listdir("/proc/self/task"))
before = count()
world().any(False)
torch.optim.Adam(torch.nn.Linear(2, 2).parameters())  # imports much of torch
_leave()
print(count() - before - world().is_main)  # the first process has one more, which serves the others
"""


def test_no_thread_of_the_processes_outlives_them() -> None:
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    command = [sys.executable, "-c", COUNT_THREADS]
    first, second = (
        subprocess.Popen(command, env=environment | {"RANK": rank}, stdout=subprocess.PIPE, text=True) for rank in "01"
    )
    assert [process.communicate(timeout=60)[0] for process in (first, second)] == ["0\n", "0\n"]


def _sum_gradients(rank: int) -> list[list[float] | None]:
    model = torch.nn.ParameterDict({name: torch.nn.Parameter(torch.zeros(2, dtype=torch.float64)) for name in "abc"})
    model["a"].grad = torch.full((2,), 1.0 + rank, dtype=torch.float64)
    if rank == 1:
        model["b"].grad = torch.full((2,), 5.0, dtype=torch.float64)
    world().add_gradients(model)
    return [None if p.grad is None else p.grad.tolist() for p in model.values()]


def test_gradients_are_added_and_none_stays_none() -> None:
    assert in_world(2, _sum_gradients) == [[[3.0, 3.0], [5.0, 5.0], None]] * 2


def _gather_rows(count: int, rank: int) -> list[int]:
    rows = world().share(np.arange(count))
    return world().gather_rows(torch.from_numpy(rows)[:, None], count).flatten().tolist()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_rows_come_back_in_their_order(count: int) -> None:
    assert in_world(3, _gather_rows, count) == [list(range(count))] * 3


@pytest.mark.parametrize("how", ["done", "SIGTERM", pytest.param("restart", marks=pytest.mark.slow)])
def test_torchrun_runs_the_command_line(tmp_path: Path, how: str) -> None:
    if how == "restart" and torch.__version__.startswith("2.3."):
        pytest.skip("torchrun of torch 2.3 restarts no script at all: RendezvousClosedError")
    run = tmp_path / "run"
    options = ["--standalone", "--nproc-per-node", "2", *(["--max-restarts", "1"] if how == "restart" else [])]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        *options,
        "-m",
        "seqcls",
        "fit",
        "--json",
        "--no-baseline",
        "--no-report",
    ]
    command += ["--dataset-option", "train_size=500", "--epochs", "1" if how == "done" else "2", "--output", str(run)]
    command += ["--set", "checkpoint_every_steps=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SEQCLS_HOME": str(tmp_path / "home")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        if how != "done":
            end = time.monotonic() + 60
            while not (run / "checkpoints" / "step-00000003").is_dir():
                assert time.monotonic() < end
                time.sleep(0.01)
            started = time.monotonic()
            if how == "SIGTERM":
                process.terminate()
            else:
                second = next(pid for pid in _workers(process.pid) if b"RANK=1" in Path(f"/proc/{pid}/environ").read_bytes())
                os.kill(second, signal.SIGKILL)
        try:
            out, err = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            for pid in [*_workers(process.pid), process.pid]:
                os.kill(pid, signal.SIGKILL)
            raise
    if how == "SIGTERM":
        assert time.monotonic() - started < 60
        assert process.returncode != 0
        assert RunDirectory(run).checkpoints.restorable()
    else:
        assert process.returncode == 0, err
        (line,) = out.splitlines()  # one process reports
        assert json.loads(line)["stop_reason"] == "all epochs done"
    assert not _workers(process.pid)


def _workers(parent: int) -> list[int]:
    files = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]
