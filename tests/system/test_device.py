from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from seqcls.config.settings import ModelConfig
from seqcls.errors import DeviceError
from seqcls.model.build import build_model
from seqcls.system.device import autocast, resolve_device, set_threads, to_device
from seqcls.system.randomness import seed_everything


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without accelerator, whatever this one is; returned so that a test can add one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    return monkeypatch


def _add_cuda(machine: pytest.MonkeyPatch, count: int) -> None:
    machine.setattr(torch.cuda, "is_available", lambda: True)
    machine.setattr(torch.cuda, "device_count", lambda: count)


def test_auto_takes_the_best_device_there_is(machine: pytest.MonkeyPatch) -> None:
    assert resolve_device() == torch.device("cpu")
    machine.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("mps")
    _add_cuda(machine, 1)
    assert resolve_device("auto") == torch.device("cuda")


def test_a_device_that_is_there_is_taken_by_its_name(machine: pytest.MonkeyPatch) -> None:
    _add_cuda(machine, 2)
    for name in ("cpu", "cuda", "cuda:0", "cuda:1"):
        assert resolve_device(name) == torch.device(name)


@pytest.mark.parametrize(
    "name", ["gpu", "", "CPU", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "mps:0", "meta", "cuda:" + "9" * 5000]
)
def test_an_unknown_device_is_refused_with_the_known_ones(machine: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(DeviceError, match=rf"'{name}'; use auto, cpu, cuda, cuda:N or mps"):
        resolve_device(name)


@pytest.mark.parametrize(("name", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2), ("mps", 2)])
def test_a_device_that_is_not_there_is_refused_with_a_remedy(machine: pytest.MonkeyPatch, name: str, count: int) -> None:
    if count:
        _add_cuda(machine, count)
    with pytest.raises(DeviceError, match=rf"device {name} is not available.*--device auto"):
        resolve_device(name)


def test_a_build_without_cuda_is_told_from_a_machine_without_it(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(torch.version, "cuda", None)
    with pytest.raises(DeviceError, match="no CUDA support"):
        resolve_device("cuda")
    machine.setattr(torch.version, "cuda", "12.4")
    with pytest.raises(DeviceError, match="0 CUDA devices found"):
        resolve_device("cuda")


def test_bfloat16_on_the_cpu_is_near_float32_and_keeps_float32_gradients() -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig(encoder="lstm", embedding_size=8), vocab_size=20, num_classes=3)
    model.eval()
    inputs, lengths = torch.randint(2, 20, (4, 5)), torch.tensor([5, 5, 5, 5])
    with autocast(torch.device("cpu"), "fp32"):
        exact = model(inputs, lengths)
    with autocast(torch.device("cpu"), "bf16"):
        rounded = model(inputs, lengths)
    assert (exact.dtype, rounded.dtype) == (torch.float32, torch.bfloat16)
    assert not torch.equal(rounded.float(), exact)
    # bfloat16 has 8 bits of precision, so that a rounding is off by up to 2^-9; a few dozen of them lie on the way.
    assert torch.allclose(rounded.float(), exact, atol=0.03)
    rounded.float().sum().backward()
    assert {parameter.grad.dtype for parameter in model.parameters() if parameter.grad is not None} == {torch.float32}


@pytest.mark.parametrize("kind", ["mps", "cuda"])
def test_bfloat16_is_refused_where_the_hardware_lacks_it(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with pytest.raises(DeviceError, match=f"{kind} has no bfloat16 arithmetic; use --precision fp32"):
        autocast(torch.device(kind), "bf16")


def test_a_tensor_is_sent_only_where_it_is_not() -> None:
    tensor = torch.ones(2)
    assert to_device(tensor, torch.device("cpu")) is tensor
    assert to_device(tensor, torch.device("meta")).is_meta


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_tensor_arrives_on_a_gpu_whole() -> None:
    tensor = torch.arange(100_000)
    assert torch.equal(to_device(tensor, torch.device("cuda")).cpu(), tensor)


def _draw() -> list[float]:
    return [random.random(), float(np.random.random()), float(torch.rand(()))]


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**64 - 1])
def test_a_seed_sets_every_generator(seed: int) -> None:
    seed_everything(seed)
    first = _draw()
    between = _draw()
    seed_everything(seed)
    assert _draw() == first != between
    seed_everything(seed ^ 1)
    assert all(one != other for one, other in zip(_draw(), first, strict=True))


def test_threads_are_set_only_if_given() -> None:
    before = torch.get_num_threads()
    try:
        set_threads(before + 1)
        assert torch.get_num_threads() == before + 1
        set_threads(None)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
