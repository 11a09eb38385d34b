"""Runs in processes of their own: copies of a server that has imported torch and done nothing else."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from toy import toy_config, toy_splits

from seqcls import Callback, Config, Evaluation, FitState, Trainer
from seqcls.storage.model_directory import load_model_directory
from seqcls.storage.run_directory import RunDirectory
from seqcls.storage.snapshot import load_training
from seqcls.training import loop as loop_module

# What differs between two runs that are the same.
_TIMES = {"seconds", "training_seconds", "examples_per_second", "environment"}
DIED = "it died"
_CONTEXT = multiprocessing.get_context("forkserver")


def start(function: Callable[..., Any], *arguments: Any) -> tuple[BaseProcess, Connection]:
    """Call ``function`` in a new process; what it returns comes out of the connection, as `in_process` reads it."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the server starts with the first call
    # An optimizer imports torch._dynamo, which takes longer than all else.
    _CONTEXT.set_forkserver_preload(["torch._dynamo", "seqcls.training.trainer", "toy", "processes"])
    ours, theirs = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_answer, args=(theirs, dict(os.environ), function, arguments))
    process.start()
    theirs.close()
    return process, ours


def in_process(function: Callable[..., Any], *arguments: Any, seconds: float = 60) -> Any:
    """Return what ``function`` returns in a new process; AssertionError with its traceback if it raises."""
    process, ours = start(function, *arguments)
    try:
        assert ours.poll(seconds), f"no answer in {seconds} s"
        answer, failure = ours.recv()
    except EOFError:
        answer, failure = None, DIED
    finally:
        process.join(1)
        process.kill()
        ours.close()
    assert failure is None, failure
    return answer


def in_world(size: int, function: Callable[..., Any], *arguments: Any, seconds: float = 60) -> list[Any]:
    """Return what ``function`` returns in each of ``size`` processes that train together; it gets their rank last."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(size)}
    with ThreadPoolExecutor(size) as pool:
        started = [
            pool.submit(in_process, _as_rank, shared | {"RANK": str(rank)}, function, *arguments, rank, seconds=seconds)
            for rank in range(size)
        ]
    return [answer.result() for answer in started]


def free_port() -> int:
    """Return the number of a port of this machine that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _as_rank(environment: dict[str, str], function: Callable[..., Any], *arguments: Any) -> Any:
    os.environ.update(environment)
    return function(*arguments)


def _answer(pipe: Connection, environment: dict[str, str], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ.update(environment)
    try:
        pipe.send((function(*arguments), None))
    except BaseException:
        pipe.send((None, traceback.format_exc()))


class Log(Callback):
    """Writes down the examples of each step, and kills its own process's run at given places.

    A place is "batch N" (while the Nth gradient is made), "step N" (after the Nth update), "evaluating N" (in the Nth
    evaluation) or "evaluation N" (after it), all counted from 1 within the process.
    """

    def __init__(self, stop: str | None = None) -> None:
        self.steps: list[tuple[int, list[int]]] = []
        self._counts = {"batch": 0, "step": 0, "evaluating": 0, "evaluation": 0}
        self._stop = stop

    def count(self, what: str) -> None:
        self._counts[what] += 1
        if self._stop == f"{what} {self._counts[what]}":
            os.kill(os.getpid(), signal.SIGTERM)

    def on_step_end(self, state: FitState) -> None:
        self.steps.append((state.step, state.indices.tolist()))
        self.count("step")

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        self.count("evaluation")

    def counting(self, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:
            self.count(what)
            return function(*arguments, **more)

        return counted


def train(path: str, config: dict[str, Any], stop: str | None = None) -> tuple[list[tuple[int, list[int]]], int | None]:
    """Start or resume the run in ``path``; return the examples of its steps, and the signal that ended it."""
    log = Log(stop)
    loop_module.split_batch = log.counting("batch", loop_module.split_batch)  # once per batch
    loop_module.Loop._evaluate = log.counting("evaluating", loop_module.Loop._evaluate)  # type: ignore[method-assign]
    if any((Path(path) / "checkpoints").glob("step-*")):
        torch.manual_seed(12345)  # whatever the process has drawn before makes no difference
        trainer = Trainer.resume(path, data=toy_splits(), callbacks=[log])
    else:
        settings = toy_config() if "data" not in config else Config()
        trainer = Trainer(None, toy_splits(), config=settings.updated(config, source="test"), callbacks=[log], output=path)
    return log.steps, trainer.fit().signal


def _untimed(values: Any) -> Any:
    if isinstance(values, dict):
        kept = {name: _untimed(value) for name, value in values.items() if name not in _TIMES}
        return kept | {"evaluated_at": values["evaluated_at"][0]} if "evaluated_at" in kept else kept  # examples, seconds
    return values


def assert_same_end(one: Path, other: Path) -> None:
    """The same weights, optimizer, generators, counters and log of evaluations, bit for bit."""
    ends = []
    for path in (one, other):
        last = RunDirectory(path).checkpoints.pointed("last")
        assert last is not None
        rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        weights = load_model_directory(last).weights | load_model_directory(path / "model").weights
        training = load_training(last)
        ends.append((weights | training.tensors, _untimed(training.values), [_untimed(row) for row in rows]))
    (tensors, values, rows), (other_tensors, other_values, other_rows) = ends
    assert tensors.keys() == other_tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, other_tensors[name]), name
    assert values == other_values
    assert rows == other_rows
