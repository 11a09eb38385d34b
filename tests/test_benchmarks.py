"""The measurements on a GPU, as far as they go without one."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import accuracy, gpu_load, throughput_gpu

MEASURED = {"train": 100.0, "evaluate": 300.0, "utilization": 50.0}


def _throughput(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> dict[str, Any]:
    """Return what the command gives to the measurement, and to which."""
    given: dict[str, Any] = {}
    for module in ("throughput", "throughput_gpu"):
        monkeypatch.setattr(
            f"benchmarks.{module}.compare", lambda module=module, **settings: given.update(settings, to=module) or {}
        )
    monkeypatch.setattr(sys, "argv", ["benchmarks", "throughput", *words])
    command.main()
    return given


def test_throughput_on_the_cpu_is_of_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    given = _throughput(monkeypatch, ["--peers-python", "python"])
    assert given == {
        "to": "throughput",
        "rounds": 3,
        "reviews": 4000,
        "steps": 60,
        "batch_size": 64,
        "peers_python": "python",
    }


def test_throughput_on_a_gpu_is_of_several_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    given = _throughput(monkeypatch, ["--device", "cuda"])
    sizes = (64, 128, 256, 512, 1024, 2048)
    assert given == {
        "to": "throughput_gpu",
        "rounds": 3,
        "reviews": 4000,
        "steps": 200,
        "device": "cuda",
        "batch_sizes": sizes,
    }
    given = _throughput(monkeypatch, ["--device", "cuda", "--batch-sizes", "64", "96", "--steps", "9"])
    assert (given["batch_sizes"], given["steps"]) == ([64, 96], 9)


def test_each_system_is_measured_at_each_size_in_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[list[str]] = []

    def run(_name: str, command: list[str]) -> dict[str, Any] | None:
        commands.append(command)
        where = {"gpu": "aa-bb", "began": 0.0, "ended": 1.0}
        return None if command[-1] == "128" else {"train": 10.0, "evaluate": 30.0, **where}

    monkeypatch.setattr(throughput_gpu, "run", run)
    monkeypatch.setattr(throughput_gpu, "write_reviews", lambda path, reviews: 159.4)
    monkeypatch.setattr(gpu_load, "COMMAND", ["no-such-command"])
    found = throughput_gpu.compare(rounds=1, steps=9, reviews=200, device="cuda", batch_sizes=[64, 128])
    assert [(command[-5].endswith("pytorch.py"), command[-3:]) for command in commands] == [
        (is_peer, ["9", "cuda", size]) for size in ("64", "128") for is_peer in (False, True)
    ]
    assert found["at_64"]["ratio"] == 1.0
    assert found["seqcls"] == {64: {"train": 10.0, "evaluate": 30.0, "utilization": None}, 128: None}
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 2
    assert "utilization by seqcls is not measured" in output.err


def test_a_size_that_does_not_fit_is_not_measured_and_each_systems_best_is_compared() -> None:
    ours = {64: [MEASURED, {**MEASURED, "train": 200.0, "utilization": None}], 128: [{**MEASURED, "train": 450.0}]}
    theirs: dict[int, list[dict[str, Any]]] = {64: [MEASURED], 128: []}
    found = throughput_gpu.summary({"seqcls": ours, "plain_pytorch": theirs})
    assert found["seqcls"][64] == {"train": 150.0, "evaluate": 300.0, "utilization": 50.0}
    assert found["plain_pytorch"][128] is None
    assert found["at_64"]["ratio"] == 1.5
    assert found["at_best"]["ratio"] == 4.5
    assert [found["at_best"][name]["batch_size"] for name in ("seqcls", "plain_pytorch")] == [128, 64]
    nothing = throughput_gpu.summary({"seqcls": {128: []}, "plain_pytorch": {128: [MEASURED]}})
    assert (nothing["at_64"]["ratio"], nothing["at_best"]["ratio"], nothing["at_best"]["seqcls"]) == (None, None, None)


def test_utilization_is_the_mean_of_one_gpu_between_two_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["GPU-aa-bb, 40", "GPU-cc-dd, 99", "GPU-aa-bb, [N/A]", "GPU-aa-bb, 60"]
    script = tmp_path / "nvidia-smi"
    script.write_text("\n".join([f"#!{sys.executable}", "import time", f"print({chr(10).join(lines)!r})", "time.sleep(60)"]))
    script.chmod(0o755)
    monkeypatch.setattr(gpu_load, "COMMAND", [str(script)])
    began = time.time()
    with gpu_load.GpuLoad() as load:
        while load.mean("cc-dd", began, time.time()) is None or load.mean("aa-bb", began, time.time()) != 50:
            assert time.time() < began + 30
    assert load.mean("aa-bb", began, time.time()) == 50
    assert load.mean("aa-bb", 0, began) is None
    assert load.mean("", began, time.time()) is None


def test_without_nvidia_smi_utilization_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_load, "COMMAND", ["no-such-command"])
    with gpu_load.GpuLoad() as load:
        pass
    assert load.mean("aa-bb", 0, time.time()) is None


def test_times_to_an_accuracy_say_what_ran_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "_ours", lambda system, folder, device: [(10.0, 0.87)])
    monkeypatch.setattr(accuracy, "_peer", lambda system, folder, python, device: [(20.0, 0.86)])
    settings: dict[str, Any] = {"rounds": 1, "peers_python": "python"}
    rows = accuracy.compare(only=["mean-pool", "plain_pytorch", "fasttext"], device="cuda", **settings)
    assert [row["device"] for row in rows] == ["cuda", "cuda", "cpu"]
    assert [row["86%"] for row in rows] == [10.0, 20.0, 20.0]
    assert "device" not in accuracy.compare(only=["mean-pool"], **settings)[0]
    assert accuracy.as_markdown(rows).splitlines()[0].startswith("| device | system |")


def test_a_system_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        sys, "argv", ["benchmarks", "accuracy", "--only", "mean-pool", "--rounds", "1", "--device", "no-such"]
    )
    monkeypatch.setattr(accuracy, "OURS", {"mean-pool": ["--dataset", "reviews"]})
    command.main()
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "mean-pool is not measured\n")
