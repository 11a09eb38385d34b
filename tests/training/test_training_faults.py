"""Losses that are not finite, memory that runs out, workers that die: stopped in time, named, and overcome if asked for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import in_process
from torch import Tensor
from toy import LastStep, toy_config, toy_splits

from seqcls import Callback, FitState, Splits, Trainer
from seqcls.config.settings import Config
from seqcls.errors import DeviceError, NonFiniteError, TrainingError
from seqcls.model.encoders.mean_pool import MeanPool
from seqcls.storage.model_directory import load_model_directory
from seqcls.storage.run_directory import RunDirectory
from seqcls.storage.snapshot import load_training
from seqcls.system.device import move_to
from seqcls.system.memory import is_out_of_memory

SILENT = {"model": {"word_dropout": 0.0, "embedding_dropout": 0.0, "output_dropout": 0.0}}


def _last_step(run: Path) -> int:
    last = RunDirectory(run).checkpoints.pointed("last")
    assert last is not None
    assert all(tensor.isfinite().all() for tensor in load_model_directory(last).weights.values())
    return int(load_training(last).values["step"])


class Faulty(LastStep):
    """Calls ``fault`` with the number of the training batch, from 1, and its encoded rows."""

    def __init__(self, input_size: int, fault: Callable[[int, Tensor], Tensor]) -> None:
        super().__init__(input_size)
        self.fault = fault

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        encoded = super().forward(x, lengths)
        return self.fault(self.calls, encoded) if self.training else encoded


def _fit(path: Path, fault: Callable[[int, Tensor], Tensor], *callbacks: Callback, **fit: Any) -> Any:
    return Trainer(Faulty(8, fault), toy_splits(), config=toy_config(**fit), callbacks=callbacks, output=path).fit()


def test_the_step_and_the_examples_of_a_loss_that_is_not_finite_are_named(tmp_path: Path) -> None:
    def fault(call: int, encoded: Tensor) -> Tensor:
        return torch.where(torch.arange(len(encoded))[:, None] == 2, torch.nan, encoded) if call == 5 else encoded

    class Batches(Callback):
        def on_step_end(self, state: FitState) -> None:
            seen.append(state.step)

    seen: list[int] = []
    with pytest.raises(NonFiniteError, match=r"step 5, training examples \d+: the loss is not finite") as caught:
        _fit(tmp_path / "run", fault, Batches(), checkpoint_every_steps=1)
    assert seen == [1, 2, 3, 4]
    assert len(caught.value.examples) == 1
    assert _last_step(tmp_path / "run") == 4


def test_a_gradient_that_is_not_finite_stops_before_the_step_and_its_parameter_is_named(tmp_path: Path) -> None:
    def fault(call: int, encoded: Tensor) -> Tensor:
        return encoded + (encoded * 0).abs().sqrt() if call == 3 else encoded  # the root's slope at 0 is infinite

    class Keep(Callback):
        def on_step_end(self, state: FitState) -> None:
            weights.append(state.model.state_dict())

    weights: list[dict[str, Tensor]] = []
    with pytest.raises(NonFiniteError, match=r"step 3.*the gradient of embedding.* and 4 others is not finite") as caught:
        _fit(tmp_path / "run", fault, Keep(), checkpoint_every_steps=1)
    assert all(tensor.isfinite().all() for tensor in weights[-1].values())  # they are the model's own, and no copy
    assert len(caught.value.examples) == 8
    assert _last_step(tmp_path / "run") == 2


def test_features_that_are_not_finite_are_named_as_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(5, 3)).astype(np.float32), ("a", "b")[number % 2]) for number in range(24)]
    splits = Splits.from_pairs(pairs, validation=pairs[:4])
    trainer = Trainer(MeanPool(8), splits, config=toy_config(batch_size=24), callbacks=[], output=tmp_path / "run")
    data, _ = trainer.prepare()
    data.splits["train"].values[7 * 5 + 1, 2] = np.inf  # reading refuses it; a file that is changed later would not
    with pytest.raises(NonFiniteError, match=r"step 1, training examples 7: .*features of the data are not"):
        trainer.fit()


def test_a_weight_that_is_not_finite_is_named_as_the_cause(tmp_path: Path) -> None:
    encoder = LastStep(8)
    with torch.no_grad():
        encoder.projection.weight[1, 1] = torch.nan
    with pytest.raises(NonFiniteError, match=r"step 1.*the weight encoder\.projection\.weight is not"):
        Trainer(encoder, toy_splits(), config=toy_config(), callbacks=[], output=tmp_path / "run").fit()


def test_divergence_is_told_from_other_causes(tmp_path: Path) -> None:
    config = toy_config(lr=1e37, schedule="constant", clip_norm=None)
    with pytest.raises(NonFiniteError, match=r"training diverged \(a weight has grown to .*--lr"):
        Trainer(MeanPool(8), toy_splits(), config=config, callbacks=[], output=tmp_path / "run").fit()


def test_a_rollback_goes_on_from_the_checkpoint_with_half_the_learning_rate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Rates(Callback):
        def on_step_end(self, state: FitState) -> None:
            rates.append((state.step, state.learning_rate.value))

    rates: list[tuple[int, float]] = []
    result = _fit(
        tmp_path / "run",
        lambda call, encoded: encoded * torch.nan if call in (11, 13) else encoded,
        Rates(),
        schedule="constant",
        on_nan="rollback",
    )
    assert result.stop_reason == "all epochs done"
    # The epoch's end, step 8, has a checkpoint: calls 11 and 13 are steps 11 and 10 counted from there.
    halved = [(9, 0.01), (10, 0.01), (9, 0.005)] + [(step, 0.0025) for step in range(9, 17)]
    assert rates == [(step, 0.01) for step in range(1, 9)] + halved
    assert "rollback 1 of at most 3" in caplog.text
    assert "rollback 2 of at most 3" in caplog.text
    rows = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows == [8, 16]
    assert load_training(RunDirectory(result.run_dir).checkpoints.pointed("last") or Path()).values["rollbacks"] == 2


def test_rollbacks_come_to_an_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(NonFiniteError):
        _fit(tmp_path / "run", lambda _, encoded: encoded * torch.nan, on_nan="rollback", max_rollbacks=2)
    assert caplog.text.count("Going back") == 2
    assert _last_step(tmp_path / "run") == 0


def _out_of_memory(above: int) -> Callable[[int, Tensor], Tensor]:
    def fault(_call: int, encoded: Tensor) -> Tensor:
        if len(encoded) > above:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return encoded

    return fault


@pytest.mark.parametrize("accumulate", [1, 3])
def test_batches_are_cut_until_they_fit_and_the_result_stays_the_same(
    tmp_path: Path, accumulate: int, caplog: pytest.LogCaptureFixture
) -> None:
    ends = []
    for name, above in (("whole", 8), ("cut", 3)):
        config = toy_config(auto_batch=True, accumulate_batches=accumulate).updated(SILENT, source="test")
        torch.manual_seed(0)
        encoder = Faulty(8, _out_of_memory(above))
        result = Trainer(encoder, toy_splits(), config=config, callbacks=[], output=tmp_path / name).fit()
        rows = [json.loads(line) for line in (result.run_dir / "metrics.jsonl").read_text().splitlines()]
        ends.append((load_model_directory(result.run_dir / "model").weights, [row["train"] for row in rows]))
    for name, tensor in ends[0][0].items():
        assert torch.allclose(tensor, ends[1][0][name], atol=1e-5), name
    for one, other in zip(ends[0][1], ends[1][1], strict=True):
        assert other == pytest.approx(one, abs=1e-5)
        assert other["count"] == 64
    assert "each batch of 8 now passes in 4 parts" in caplog.text
    assert load_training(RunDirectory(tmp_path / "cut").checkpoints.pointed("last") or Path()).values["batch_parts"] == 4


def test_examples_are_counted_once_where_memory_runs_out_after_a_resumption_amid_a_step(tmp_path: Path) -> None:
    def fault(call: int, encoded: Tensor) -> Tensor:
        if call == 5:
            os.kill(os.getpid(), signal.SIGTERM)  # in the second batch of the second step
        return encoded

    changes = {"auto_batch": True, "accumulate_batches": 3, "epochs": 1}
    assert _fit(tmp_path / "run", fault, **changes).signal == signal.SIGTERM
    assert load_training(RunDirectory(tmp_path / "run").checkpoints.pointed("last") or Path()).values["batch_in_step"] == 2
    encoder = Faulty(8, _out_of_memory(4))
    Trainer.resume(tmp_path / "run", encoder=encoder, data=toy_splits(), callbacks=[]).fit()
    (row,) = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(row)["train"]["count"] == 64


def test_a_lack_of_memory_in_the_update_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(_optimizer: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    with pytest.raises(TrainingError, match="while updating the weights"):
        _fit(tmp_path / "run", lambda _, encoded: encoded, auto_batch=True)


def test_weights_that_an_update_has_ruined_take_no_checkpoints_place(tmp_path: Path) -> None:
    class Ruin(Callback):
        def on_step_end(self, state: FitState) -> None:
            if state.step == 8:  # the epoch's end: an evaluation and its checkpoint come next
                with torch.no_grad():
                    next(state.model.parameters()).fill_(torch.inf)

    with pytest.raises(NonFiniteError, match=r"step 8"):
        _fit(tmp_path / "run", lambda _, encoded: encoded, Ruin(), checkpoint_every_steps=7)
    assert _last_step(tmp_path / "run") == 7


def test_without_auto_batch_a_lack_of_memory_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"out of memory with 8 examples at a time \(CUDA out.*--auto-batch"):
        _fit(tmp_path / "run", _out_of_memory(4))
    assert _last_step(tmp_path / "run") == 0


def test_a_single_example_that_does_not_fit_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="out of memory with 1 examples at a time"):
        _fit(tmp_path / "run", _out_of_memory(0), auto_batch=True)


def test_any_other_runtime_error_passes_unchanged(tmp_path: Path) -> None:
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied (8x4 and 5x2)")

    def fault(_call: int, _encoded: Tensor) -> Tensor:
        raise error

    with pytest.raises(RuntimeError) as caught:
        _fit(tmp_path / "run", fault, auto_batch=True)
    assert caught.value is error


def _fit_in_little_memory(path: str, auto_batch: bool) -> int:
    import resource

    text = " ".join(["word"] * 400)
    pairs = [(f"{text} w{number}", ("a", "b")[number % 2]) for number in range(2048)]
    changes = {
        "data": {"max_length": None},
        "model": {"encoder": "mean-pool", "encoder_options": {}, "embedding_size": 64},
        "fit": {"batch_size": 2048, "epochs": 1, "auto_batch": auto_batch, "threads": 1, "eval_batch_size": 16},
    }
    config = Config().updated(changes, source="test")
    trainer = Trainer(None, Splits.from_pairs(pairs, validation=pairs[:4]), config=config, callbacks=[], output=path)
    trainer.prepare()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, -1))
    result = trainer.fit()
    return int(load_training(RunDirectory(result.run_dir).checkpoints.pointed("last") or Path()).values["batch_parts"])


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="memory is limited by what /proc says is in use")
def test_memory_that_really_runs_out_is_got_by_with(tmp_path: Path) -> None:
    assert in_process(_fit_in_little_memory, str(tmp_path / "run"), True, seconds=120) >= 2
    with pytest.raises(AssertionError, match=r"TrainingError: out of memory with 2048 examples at a time"):
        in_process(_fit_in_little_memory, str(tmp_path / "other"), False, seconds=120)


@pytest.mark.parametrize(
    "message",
    ["CUDA error: out of memory", "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"],
)
def test_a_lack_of_memory_is_known_by_its_words(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))
    assert not is_out_of_memory(ValueError(message))


def _fit_with_a_worker_that_dies(path: str, number: int) -> str:
    class Kill(Callback):
        def on_step_end(self, state: FitState) -> None:
            if state.step == 3:
                children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
                os.kill(int(children[0]), number)

    config = toy_config(num_workers=1, epochs=100)
    try:
        Trainer(None, toy_splits(2000), config=config, callbacks=[Kill()], output=path).fit()
    except TrainingError as error:
        return str(error)
    return "no error"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="child processes are found in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGBUS])
def test_a_dead_data_worker_ends_the_run_with_a_line(tmp_path: Path, number: signal.Signals) -> None:
    message = in_process(_fit_with_a_worker_that_dies, str(tmp_path / "run"), int(number), seconds=20)
    assert "DataLoader worker" in message
    assert "--num-workers 0" in message
    assert "\n" not in message
    _last_step(tmp_path / "run")


SMALL_SHM = "mount -t tmpfs -o size={size} tmpfs /dev/shm && {fill} && exec {python} -m seqcls fit {arguments}"
FILL = "(head -c 1M /dev/zero > /dev/shm/full; true) 2> /dev/null"


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="a small /dev/shm is mounted in a namespace, which root may do"
)
@pytest.mark.parametrize(("fill", "code"), [("true", 0), (FILL, 1)], ids=["small", "full"])
def test_workers_need_next_to_no_shared_memory_and_say_when_there_is_none(tmp_path: Path, fill: str, code: int) -> None:
    arguments = (
        f"--no-baseline --no-report --num-workers 2 --batch-size 512 --encoder mean-pool --epochs 1 --output {tmp_path}/run"
    )
    command = SMALL_SHM.format(size="64k", fill=fill, python=sys.executable, arguments=arguments)
    done = subprocess.run(["unshare", "-m", "sh", "-c", command], capture_output=True, text=True, timeout=60)
    if "unshare" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr}")
    assert done.returncode == code, done.stderr
    assert ("No space left on device; use --num-workers 0" in done.stderr) == bool(code)
    assert "Traceback" not in done.stderr


def test_a_device_that_is_there_but_does_not_work_is_one_line() -> None:
    class Broken(torch.nn.Module):
        def to(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("CUDA error: initialization error\nCUDA kernel errors might be asynchronously reported")

    with pytest.raises(DeviceError, match=r"cuda:0 cannot be used: CUDA error: initialization error; .*--device cpu$"):
        move_to(Broken(), torch.device("cuda:0"))
