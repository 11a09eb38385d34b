"""Batches and their order, which is a pure function of (seed, epoch), so that a run can resume anywhere."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seqcls.data.resident import resident
from seqcls.data.sequences import Sequences
from seqcls.errors import TrainingError
from seqcls.system.device import to_device

# Sequences are sorted by length within pools of this many batches: padding nearly vanishes, and the composition of batches
# still changes from epoch to epoch.
POOL_BATCHES = 50

_WITHOUT_WORKERS = "use --num-workers 0, which needs no other process"


class Bags(NamedTuple):
    """The n-grams of B texts.

    Attributes:
        ids: int64 [M], those of one text after the other.
        offsets: int64 [B], where those of each text begin.
    """

    ids: Tensor
    offsets: Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """A padded batch.

    Attributes:
        inputs: int64 [B, T] token ids, or float32 [B, T, D], 0 in the padding; T is the longest length of the batch.
        lengths: int64 [B], always on the CPU.
        labels: int64 [B], uint8 [B, K], or None where there are none.
        indices: int64 [B], the indices of the examples in their split; a NumPy array.
        ngrams: What the wide path reads; None if the data have no n-grams.
    """

    inputs: Tensor
    lengths: Tensor
    labels: Tensor | None
    indices: NDArray[np.int64]
    ngrams: Bags | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def model_inputs(self) -> tuple[Any, ...]:
        """The arguments of a network's ``forward``: inputs, lengths and, where there are any, n-grams."""
        return (self.inputs, self.lengths) if self.ngrams is None else (self.inputs, self.lengths, self.ngrams)

    def repeated(self, times: int) -> tuple[Tensor, NDArray[np.int64]]:
        """Return labels and indices, both [times * B], for the logits that several networks make of the batch."""
        assert self.labels is not None
        if times == 1:
            return self.labels, self.indices
        return torch.cat([self.labels] * times), np.tile(self.indices, times)

    def to(self, device: torch.device) -> Batch:
        """Copy inputs and labels to ``device`` without waiting for the copy."""
        if device.type == "cpu":
            return self
        labels = None if self.labels is None else to_device(self.labels, device)
        ngrams = _on(self.ngrams, device)
        return replace(self, inputs=to_device(self.inputs, device), labels=labels, ngrams=ngrams)


def training_order(
    lengths: NDArray[np.int64], *, batch_size: int, seed: int, epoch: int, bucket: bool = True
) -> list[NDArray[np.int64]]:
    """Return the batches of an epoch, each as the indices of its examples.

    Every example occurs once. With ``bucket``, a batch holds examples of similar length (Khomenko et al. 2016).
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    if bucket:
        pool = POOL_BATCHES * batch_size
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        order = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in pools])
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [batches[index] for index in rng.permutation(len(batches))]


def evaluation_order(
    lengths: NDArray[np.int64], *, batch_size: int, max_tokens: int | None = None
) -> list[NDArray[np.int64]]:
    """Return batches of examples sorted by length, the longest first, so that a lack of memory shows at once.

    Args:
        lengths: int64 [N].
        batch_size: Largest number of examples per batch.
        max_tokens: Largest number of tokens per batch, padding included; a longer sequence is a batch of its own.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        size = batch_size if max_tokens is None else min(batch_size, max(1, max_tokens // longest))
        batches.append(order[start : start + size])
        start += size
    return batches


def collate(sequences: Sequences, indices: NDArray[np.int64]) -> Batch:
    """Gather the sequences at ``indices`` into one padded batch."""
    return _as_batch(_gather(sequences, indices))


def _gather(sequences: Sequences, indices: NDArray[np.int64]) -> tuple[NDArray[Any] | None, ...]:
    """Return the inputs, lengths, labels, indices and n-grams of a batch, the latter as ids and offsets."""
    inputs, lengths = sequences.pad(indices)
    labels = None if sequences.labels is None else np.asarray(sequences.labels[indices])
    return inputs, lengths, labels, indices, *_gather_ngrams(sequences, indices)


def _gather_ngrams(sequences: Sequences, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64] | None, ...]:
    """Return the n-grams of a batch as int64 ids [M] and offsets [B]; None and None if there are none."""
    if sequences.ngrams is None:
        return None, None
    chosen = sequences.ngrams.take(indices)
    return chosen.values.astype(np.int64), chosen.offsets[:-1].copy()


def _as_batch(arrays: tuple[NDArray[Any] | None, ...]) -> Batch:
    inputs, lengths, labels, indices, ids, offsets = arrays
    assert indices is not None
    return Batch(
        torch.from_numpy(inputs),
        torch.from_numpy(lengths),
        None if labels is None else torch.from_numpy(labels),
        indices,
        _as_bags(ids, offsets),
    )


def _as_bags(ids: NDArray[Any] | None, offsets: NDArray[Any] | None) -> Bags | None:
    return None if ids is None else Bags(torch.from_numpy(ids), torch.from_numpy(offsets))


def batches(
    sequences: Sequences, order: Sequence[NDArray[np.int64]], device: torch.device, *, num_workers: int = 0
) -> Generator[Batch]:
    """Yield the batches of ``order`` on ``device``; with workers, that many other processes prepare them in advance.

    On a GPU the sequences stay on the device if they fit, and batches are gathered there; a single batch is just copied.

    Raises:
        TrainingError: A worker cannot be started.
    """
    if not num_workers:
        for indices in order:
            yield _batch(sequences, indices, device, may_stay=len(order) > 1)
        return
    try:
        context = multiprocessing.get_context("fork")  # other start methods would copy the data
        context.Event()  # the first thing that workers need; otherwise the loader would fail half built
    except (OSError, ValueError) as error:  # ValueError: the platform has no fork
        reason = error.strerror if isinstance(error, OSError) else error
        raise TrainingError(f"data workers cannot be started: {reason}; {_WITHOUT_WORKERS}") from error
    loader: DataLoader[Any] = DataLoader(
        _Gathered(sequences, order),
        batch_size=None,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        worker_init_fn=_belong_to_the_trainer,
        multiprocessing_context=context,
        generator=torch.Generator(),  # separate: the loader draws a number, which must not disturb the training
    )
    for arrays in loader:
        yield _as_batch(arrays).to(device)


def _batch(sequences: Sequences, indices: NDArray[np.int64], device: torch.device, *, may_stay: bool) -> Batch:
    # Looked up for each batch: a suspended generator would keep alive a copy that is to be freed.
    source = resident(sequences, device) if may_stay else None
    if source is None:
        return collate(sequences, indices).to(device)
    # The n-grams of a batch are few, and are gathered and copied each time.
    return Batch(*source.gather(indices), indices, _on(_as_bags(*_gather_ngrams(sequences, indices)), device))


class _Gathered(Dataset[Any]):
    """Batches as arrays, which go through a pipe; tensors would take shared memory, and hang when it is full."""

    def __init__(self, sequences: Sequences, order: Sequence[NDArray[np.int64]]) -> None:
        self._sequences, self._order = sequences, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> tuple[NDArray[Any] | None, ...]:
        return _gather(self._sequences, self._order[index])


def _as_it_is(arrays: Any) -> Any:
    return arrays


def _belong_to_the_trainer(_worker: int) -> None:
    # Ctrl-C and schedulers signal every process, but the trainer still needs batches to finish cleanly.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_trainer, daemon=True).start()


def _end_with_the_trainer() -> None:
    # PyTorch's own watchdog looks up the parent once the worker is ready: if the trainer was killed before that, the
    # watchdog mistakes the parent of orphans for the trainer, and waits forever.
    trainer = multiprocessing.parent_process()
    assert trainer is not None
    while os.getppid() == trainer.pid:
        time.sleep(1)
    os._exit(1)


def explain_dead_worker(error: BaseException) -> TrainingError | None:
    """Return the error to raise if ``error`` says that a data worker has died; otherwise None."""
    if "DataLoader worker" not in str(error):
        return None
    return TrainingError(f"{str(error).strip().splitlines()[-1]}; {_WITHOUT_WORKERS}")


def split_batch(batch: Batch, parts: int) -> list[Batch]:
    """Divide a batch into at most ``parts`` parts, each padded to its own longest sequence."""
    if parts == 1:
        return [batch]
    size = math.ceil(len(batch) / parts)
    return [_rows(batch, slice(start, start + size)) for start in range(0, len(batch), size)]


def _rows(batch: Batch, rows: slice) -> Batch:
    lengths = batch.lengths[rows]
    labels = None if batch.labels is None else batch.labels[rows]
    ngrams = None if batch.ngrams is None else _rows_of_bags(batch.ngrams, rows)
    return Batch(batch.inputs[rows, : int(lengths.max())], lengths, labels, batch.indices[rows], ngrams)


def _rows_of_bags(bags: Bags, rows: slice) -> Bags:
    bounds = [*bags.offsets.tolist(), len(bags.ids)]
    begin, end = bounds[rows.start], bounds[min(rows.stop, len(bags.offsets))]
    return Bags(bags.ids[begin:end], bags.offsets[rows] - begin)


def _on(bags: Bags | None, device: torch.device) -> Bags | None:
    return None if bags is None else Bags(*(to_device(part, device) for part in bags))
