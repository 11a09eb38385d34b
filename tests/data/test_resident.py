from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from toy import toy_config, toy_splits

from seqcls import Trainer
from seqcls.data import batches as batching
from seqcls.data import resident
from seqcls.data.batches import batches, collate
from seqcls.data.resident import Resident, free_residents
from seqcls.data.sequences import Sequences
from seqcls.evaluation.scores import sum_losses
from seqcls.model import forward as inference
from seqcls.storage.model_directory import load_model_directory
from seqcls.training import failures
from seqcls.training import loop as loop_module
from seqcls.training.scoring import Scorer

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A pretended GPU of 1,000 bytes, whose memory is the CPU's; change what it says, and see what was copied there."""
    pretended: dict[str, Any] = {"free": 1000, "error": None, "copied": []}

    def copy(sequences: Sequences, device: torch.device) -> Resident:
        pretended["copied"].append(device)
        if pretended["error"]:
            raise pretended["error"]
        return Resident(sequences, CPU)

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (pretended["free"], 10**9))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(resident, "Resident", copy)
    return pretended


def _sequences(lengths: list[int], kind: str, labels: str | None) -> Sequences:
    rng = np.random.default_rng(sum(lengths))
    total, count = sum(lengths), len(lengths)
    values: NDArray[Any] = rng.integers(1, 2**31, total, dtype=np.int32)
    if kind == "features":
        values = rng.normal(size=(total, 3)).astype(np.float32)
        values[::5] = np.nan
    wanted: dict[str | None, Any] = {None: None, "one": rng.integers(0, 3, count)}
    wanted["several"] = rng.integers(0, 2, (count, 4)).astype(np.uint8)
    return Sequences(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), wanted[labels])


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    chosen=st.lists(st.integers(0, 11), min_size=1, max_size=15),
    kind=st.sampled_from(["ids", "features"]),
    labels=st.sampled_from([None, "one", "several"]),
)
def test_what_is_gathered_is_what_is_collated(lengths: list[int], chosen: list[int], kind: str, labels: str | None) -> None:
    sequences = _sequences(lengths, kind, labels)
    indices = np.array([place % len(lengths) for place in chosen])
    expected = collate(sequences, indices)
    inputs, batch_lengths, batch_labels = Resident(sequences, CPU).gather(indices)
    pairs = [(inputs, expected.inputs), (batch_lengths, expected.lengths)]
    if batch_labels is None or expected.labels is None:
        assert batch_labels is expected.labels
    else:
        pairs.append((batch_labels, expected.labels))
    for found, wanted in pairs:
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        np.testing.assert_array_equal(found.numpy(), wanted.numpy())


def test_a_mapped_file_is_copied_in_pieces_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "_PIECE", 8)
    made = _sequences([3, 4, 1], "ids", "several")
    made.save(tmp_path / "x.safetensors")
    copied = Resident(Sequences.load(tmp_path / "x.safetensors"), CPU)
    assert copied.values.tolist() == [*made.values.tolist(), 0]
    assert copied.labels is not None
    assert made.labels is not None
    assert copied.labels.tolist() == made.labels.tolist()


def test_features_copied_in_a_prediction_serve_training() -> None:
    sequences = _sequences([2, 3], "features", "one")
    sequences.values[np.isnan(sequences.values)] = 1
    with torch.inference_mode():
        copied = Resident(sequences, CPU)
    inputs, _, labels = copied.gather(np.array([0, 1]))
    assert labels is not None
    layer = torch.nn.Linear(3, 3)
    sum_losses(layer(inputs).sum(dim=1), labels).backward()
    assert layer.weight.grad is not None


def test_gathering_reads_no_value_of_the_device() -> None:
    inputs, lengths, labels = Resident(_sequences([2, 5], "ids", "one"), torch.device("meta")).gather(np.array([1, 0]))
    assert (inputs.shape, lengths.tolist(), labels is not None and labels.shape) == ((2, 5), [5, 2], (2,))


def test_sequences_are_copied_once_and_freed_with_their_copy(gpu: dict[str, Any]) -> None:
    sequences = _sequences([2, 5, 1], "ids", "one")
    order = [np.array([2, 0]), np.array([1])]
    for device in (CUDA, CUDA, torch.device("cuda:3")):
        for batch, indices in zip(batches(sequences, order, device), order, strict=True):
            assert batch.inputs.tolist() == collate(sequences, indices).inputs.tolist()
            assert batch.indices is indices
    assert gpu["copied"] == [torch.device("cuda:3")]
    copy, values = weakref.ref(resident.resident(sequences, CUDA)), weakref.ref(sequences)  # type: ignore[arg-type]
    del sequences
    gc.collect()
    assert (copy(), values()) == (None, None)


def test_a_single_batch_goes_over_as_it_is(gpu: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching.Batch, "to", lambda batch, _device: batch)
    list(batches(_sequences([2, 5], "ids", None), [np.array([0, 1])], CUDA))
    assert gpu["copied"] == []


@pytest.mark.parametrize(("free", "fits"), [(4 * (4 * 10 + 8 * 2), True), (4 * (4 * 10 + 8 * 2) - 1, False)])
def test_what_takes_a_quarter_of_the_free_memory_stays_and_no_more(gpu: dict[str, Any], free: int, fits: bool) -> None:
    gpu["free"] = free
    sequences = _sequences([4, 6], "ids", "one")
    assert (resident.resident(sequences, CUDA) is not None) == fits
    gpu["free"] = 10**6
    assert (resident.resident(sequences, CUDA) is not None) == fits  # it is decided once


@pytest.mark.parametrize("device", ["cpu", "mps", "meta"])
def test_elsewhere_nothing_stays(gpu: dict[str, Any], device: str) -> None:
    assert resident.resident(_sequences([1], "ids", None), torch.device(device)) is None
    assert gpu["copied"] == []


def test_where_the_copy_finds_no_memory_batches_go_over_one_by_one(gpu: dict[str, Any]) -> None:
    sequences = _sequences([1], "ids", None)
    gpu["error"] = torch.cuda.OutOfMemoryError("CUDA out of memory")
    assert resident.resident(sequences, CUDA) is None
    assert resident.resident(sequences, CUDA) is None
    assert len(gpu["copied"]) == 1
    gpu["error"] = RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="illegal"):
        resident.resident(_sequences([1], "ids", None), CUDA)


def test_what_was_freed_does_not_come_back(gpu: dict[str, Any]) -> None:
    assert not free_residents()
    sequences = _sequences([1], "ids", None)
    copy = weakref.ref(resident.resident(sequences, CUDA))  # type: ignore[arg-type]
    assert free_residents()
    gc.collect()
    assert copy() is None
    assert not free_residents()
    assert resident.resident(sequences, CUDA) is None


def _weights(path: Path, **settings: Any) -> dict[str, torch.Tensor]:
    Trainer(None, toy_splits(), config=toy_config(epochs=1, **settings), callbacks=[], output=path).fit()
    return load_model_directory(path / "model").weights


def _stay(monkeypatch: pytest.MonkeyPatch) -> list[Sequences]:
    """Let data stay on the CPU as they would on a GPU."""
    stayed: list[Sequences] = []

    def copy(sequences: Sequences, _device: torch.device) -> Resident:
        stayed.append(sequences)
        return Resident(sequences, CPU)

    monkeypatch.setattr(batching, "resident", copy)
    return stayed


def test_a_run_on_data_that_stay_gives_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _weights(tmp_path / "without", eval_batch_size=4)
    stayed = _stay(monkeypatch)
    found = _weights(tmp_path / "with", eval_batch_size=4)
    assert len(stayed) >= 3  # training, validation, test
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_where_memory_runs_out_the_data_leave_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = _weights(tmp_path / "without")
    original, answers, calls = loop_module.split_batch, [True], 0

    def failing(batch: Any, parts: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return original(batch, parts)

    monkeypatch.setattr(loop_module, "split_batch", failing)
    monkeypatch.setattr(failures, "free_residents", lambda: bool(answers) and answers.pop())
    found = _weights(tmp_path / "with")  # without auto_batch, which cutting batches would need
    assert "out of memory at step 4: the data no longer stay on the device" in caplog.text
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_where_memory_runs_out_in_scoring_the_data_leave_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors, answers = [torch.cuda.OutOfMemoryError("CUDA out of memory")], [True]

    def failing(*arguments: Any, **settings: Any) -> Any:
        if errors:
            raise errors.pop()
        return batches(*arguments, **settings)

    trainer = Trainer(None, toy_splits(), config=toy_config(), callbacks=[], output=tmp_path / "run")
    data, model = trainer.prepare()
    monkeypatch.setattr(inference, "batches", failing)
    monkeypatch.setattr(resident, "free_residents", lambda: bool(answers) and answers.pop())
    scorer = Scorer(toy_config().fit, data, CPU, trainer._world)
    assert scorer.score(model, "validation").count == 16
    assert "the data no longer stay on the device" in caplog.text


def test_batches_on_their_way_hold_no_copy_that_is_freed(gpu: dict[str, Any]) -> None:
    sequences = _sequences([2, 5, 1], "ids", "one")
    running = batches(sequences, [np.array([0]), np.array([1]), np.array([2])], CUDA)
    next(running)
    copy = weakref.ref(resident.resident(sequences, CUDA))  # type: ignore[arg-type]
    assert copy() is not None
    assert free_residents()
    gc.collect()
    assert copy() is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("kind", ["ids", "features"])
def test_batches_on_a_gpu_are_those_of_the_cpu(kind: str) -> None:
    sequences = _sequences([3, 1, 7, 2], kind, "one")
    order = [np.array([3, 0]), np.array([1, 2])]
    assert resident.resident(sequences, CUDA) is not None
    for batch, indices in zip(batches(sequences, order, CUDA), order, strict=True):
        expected = collate(sequences, indices)
        assert batch.inputs.is_cuda
        np.testing.assert_array_equal(batch.inputs.cpu().numpy(), expected.inputs.numpy())
        assert batch.lengths.tolist() == expected.lengths.tolist()
        assert batch.labels is not None
        assert expected.labels is not None
        assert batch.labels.tolist() == expected.labels.tolist()
