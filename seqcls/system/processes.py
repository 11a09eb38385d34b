"""Communication between the processes that train one model, as torchrun starts them; a single process has none.

DistributedDataParallel is not used: it averages the gradients of the processes, which is wrong when their shares of a batch
differ in size, and it synchronizes at every backward pass, while accumulation needs it once per step. Here the gradients of
summed losses are added (Goyal et al. 2017, section 3), so that two processes give what one gives with the same batch.
"""

from __future__ import annotations

import atexit
import json
import os
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqcls.errors import NonFiniteError, TrainingError
from seqcls.system.sparse import from_rows, rows_of, sparse_tables

# A process that dies is noticed at once; this is for one that hangs. It must exceed the time that saving takes.
_TIMEOUT = timedelta(minutes=10)
_MEETING_SECONDS = 120.0
_FAILED = "failed"
# Tensors of the last messages. A thread of PyTorch releases its references late. If it held the last one, it would need
# the GIL, which `destroy_process_group` of torch 2.3 holds while it waits for that thread: neither would end.
_sent: deque[list[Tensor]] = deque(maxlen=4)


class World:
    """The processes of a run, seen from one of them. This class is for a single process.

    All processes call the same methods in the same order, and get the same results.

    Attributes:
        rank: Number of this process, from 0; only rank 0 writes files and reports.
        size: Number of processes.
        local_rank: The rank among the processes on this machine; None for a single process.
    """

    rank = 0
    size = 1
    local_rank: int | None = None

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def share(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return this process's share of the examples at ``indices``, int64 [N]; it may be empty."""
        return indices[self.rank :: self.size]

    def largest(self, *values: int) -> list[int]:
        """Return the largest of each value over the processes."""
        return [int(value) for value in values]

    def any(self, value: bool) -> bool:
        """Return whether ``value`` is true in at least one process."""
        return bool(self.largest(value)[0])

    def add(self, values: Tensor) -> Tensor:
        """Return the sums over the processes."""
        return values

    def add_gradients(self, model: nn.Module) -> None:
        """Replace each gradient by its sum over the processes; one that no process has stays None."""

    def gather(self, data: bytes) -> list[bytes]:
        """Return the data of all processes, in the order of their ranks."""
        return [data]

    def gather_rows(self, rows: Tensor, count: int) -> Tensor:
        """Return [N, C], put together from the rows of the processes' `share` of ``count`` = N examples."""
        del count
        return rows

    def broadcast(self, model: nn.Module) -> None:
        """Copy the weights of rank 0 to all processes."""

    def meet(self, failure: Exception | None) -> None:
        """Raise the failure of any process in all of them, so that all recover in the same way."""
        if failure is not None:
            raise failure

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Run the block in rank 0 first, and then in the others."""
        yield

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Tell the other processes why an exception ends the block in this one."""
        yield


@cache
def world() -> World:
    """Return the processes of this run, as the environment describes them; the first call connects to them.

    Raises:
        TrainingError: The other processes cannot be reached.
    """
    size = os.environ.get("WORLD_SIZE") or "1"
    if size == "1":
        return World()
    import torch.distributed as dist

    # Its default arguments hold the group that there is at its import; a thread of a group that is never freed aborts the
    # process, at times, when Python ends. An optimizer imports it.
    import torch.distributed.nn
    from torch.distributed.rendezvous import rendezvous

    try:
        store, rank, count = next(rendezvous("env://", timeout=timedelta(seconds=_MEETING_SECONDS)))
        store = _fresh(store, rank, count)
        # The figures are on the CPU also where the gradients are on a GPU.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=_TIMEOUT)
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TrainingError(
            f"WORLD_SIZE is {size}, but the {size} processes cannot meet: {reason}; start them by torchrun, "
            "or unset WORLD_SIZE to train with one"
        ) from error
    atexit.register(_leave)
    return _Group(store, rank, count)


def _fresh(store: Any, rank: int, size: int) -> Any:
    """Return a part of the store that these processes agree on: torchrun gives them that of those that failed before."""
    from torch.distributed.distributed_c10d import PrefixStore

    name = uuid.uuid4().hex
    if rank:
        store.set(f"seqcls/hello/{rank}", name)
        _wait_until(lambda: store.check([f"seqcls/welcome/{name}"]), "the process of rank 0 did not come")
        name = store.get(f"seqcls/welcome/{name}").decode()
        store.set(f"seqcls/{name}/here/{rank}", "")
    else:
        for other in range(1, size):

            def is_here(hello: str = f"seqcls/hello/{other}", answer: str = f"seqcls/{name}/here/{other}") -> bool:
                if store.check([hello]):  # it may be that of an earlier process, to which the answer does no harm
                    store.set(f"seqcls/welcome/{store.get(hello).decode()}", name)
                return bool(store.check([answer]))

            _wait_until(is_here, f"the process of rank {other} did not come")
    return PrefixStore(f"seqcls/{name}", store)


def _wait_until(condition: Callable[[], bool], failure: str) -> None:
    """Poll in Python, where a signal can end the wait."""
    end = time.monotonic() + _MEETING_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"{failure} within {_MEETING_SECONDS:.0f} s")
        time.sleep(0.02)


def _leave() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


class _Group(World):
    """Several processes, connected by torch.distributed."""

    def __init__(self, store: Any, rank: int, size: int) -> None:
        import torch.distributed as dist

        self._dist = dist
        self._store = store
        self._meetings = 0
        self.rank, self.size = rank, size
        self.local_rank = int(os.environ.get("LOCAL_RANK") or 0)  # unset: one process per machine or pod

    def largest(self, *values: int) -> list[int]:
        found = torch.tensor(values, dtype=torch.int64)
        _sent.append([found])
        with self._talking():
            self._dist.all_reduce(found, op=self._dist.ReduceOp.MAX)
        return [int(value) for value in found.tolist()]

    def add(self, values: Tensor) -> Tensor:
        total = values.clone()
        _sent.append([total])
        with self._talking():
            self._dist.all_reduce(total)
        return total

    def add_gradients(self, model: nn.Module) -> None:
        tables = sparse_tables(model)
        if tables:
            self._add_rows(tables)
        others = {id(table) for table in tables}
        parameters = [p for p in model.parameters() if p.requires_grad and id(p) not in others]
        if parameters:
            self._add_dense(parameters)

    def _add_rows(self, tables: list[Tensor]) -> None:
        """Replace the gradients of tables by sparse ones with the rows of all processes, in the order of their ranks."""
        parts = [None if table.grad is None else rows_of(table.grad) for table in tables]
        counts = torch.tensor([-1 if part is None else len(part[0]) for part in parts])
        lengths = self._gather_all(counts, [len(tables)] * self.size).view(self.size, -1).T.tolist()  # [tables, size]
        for table, part, lengths_of_it in zip(tables, parts, lengths, strict=True):
            if max(lengths_of_it) < 0:
                continue
            none = torch.zeros(0, dtype=torch.int64, device=table.device)
            rows, values = part or (none, table.detach()[none])
            rows, values = self._gather_all(rows, lengths_of_it), self._gather_all(values, lengths_of_it)
            table.grad = from_rows(rows, values, like=table)

    def _gather_all(self, mine: Tensor, lengths: list[int]) -> Tensor:
        """Return the tensors [lengths[rank], ...] of all processes, one after the other."""
        padded = mine.new_zeros(max(lengths), *mine.shape[1:])
        padded[: len(mine)] = mine
        found = [torch.empty_like(padded) for _ in range(self.size)]
        _sent.append([padded, *found])
        with self._talking():
            self._dist.all_gather(found, padded)
        return torch.cat([part[: max(0, length)] for part, length in zip(found, lengths, strict=True)])

    def _add_dense(self, parameters: list[nn.Parameter]) -> None:
        dtype = torch.float64 if any(p.dtype == torch.float64 for p in parameters) else torch.float32
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        has_one = torch.tensor([p.grad is not None for p in parameters], device=parts[0].device)
        # One message, which ends with the number of processes that have each gradient.
        *sums, counts = self.add(torch.cat([part.to(dtype).flatten() for part in [*parts, has_one]])).split(
            [part.numel() for part in [*parts, has_one]]
        )
        for parameter, total, count in zip(parameters, sums, counts.tolist(), strict=True):
            parameter.grad = total.view_as(parameter).to(parameter.dtype) if count else None

    def gather(self, data: bytes) -> list[bytes]:
        (longest,) = self.largest(len(data))
        mine = torch.zeros(8 + longest, dtype=torch.uint8)
        mine[: 8 + len(data)] = torch.from_numpy(np.frombuffer(len(data).to_bytes(8, "little") + data, np.uint8).copy())
        found = [torch.empty_like(mine) for _ in range(self.size)]
        _sent.append([mine, *found])
        with self._talking():
            self._dist.all_gather(found, mine)
        messages = [tensor.numpy().tobytes() for tensor in found]
        return [message[8 : 8 + int.from_bytes(message[:8], "little")] for message in messages]

    def gather_rows(self, rows: Tensor, count: int) -> Tensor:
        height = -(-count // self.size)
        mine = torch.zeros(height, rows.shape[1], dtype=rows.dtype)
        mine[: len(rows)] = rows
        found = [torch.empty_like(mine) for _ in range(self.size)]
        _sent.append([mine, *found])
        with self._talking():
            self._dist.all_gather(found, mine)
        return torch.stack(found, dim=1).flatten(0, 1)[:count]  # example i is row i // size of process i % size

    def broadcast(self, model: nn.Module) -> None:
        with self._talking(), torch.no_grad():
            for tensor in model.state_dict().values():
                self._dist.broadcast(tensor, src=0)

    def meet(self, failure: Exception | None) -> None:
        if not self.any(failure is not None):
            return
        found = [json.loads(message) for message in self.gather(json.dumps(_describe(failure)).encode())]
        rank, first = next((rank, description) for rank, description in enumerate(found) if description is not None)
        if rank == self.rank:
            assert failure is not None
            raise failure
        raise NonFiniteError(*first) if isinstance(first, list) else MemoryError(f"rank {rank}: {first}")

    @contextmanager
    def main_first(self) -> Iterator[None]:
        self._meetings += 1
        done = f"done-{self._meetings}"
        with self._talking():
            while not self.is_main and not self._store.check([done]):  # for hours, if it takes hours to encode the data
                if self._store.check([_FAILED]):
                    raise RuntimeError("it failed")
                time.sleep(0.05)
        yield
        if self.is_main:
            self._store.set(done, "")

    @contextmanager
    def reporting(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            words = str(error) or type(error).__name__
            try:
                if not self._store.check([_FAILED]):
                    self._store.set(_FAILED, f"rank {self.rank} failed: {words}"[:2000])
            except RuntimeError:  # no process is left to tell
                pass
            raise

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Turn the loss of another process into a TrainingError with the reason that it gave."""
        try:
            yield
        except RuntimeError as error:
            reason = self._reason() or (
                f"another process was killed or cannot be reached ({str(error).strip().splitlines()[0]:.200})"
            )
            raise TrainingError(
                f"rank {self.rank} stops, since {reason}. The last checkpoint is whole; seqcls fit --resume goes on from it"
            ) from error

    def _reason(self) -> str | None:
        """Return what a process that failed has reported, which may come a moment after its connection has closed."""
        end = time.monotonic() + 3
        try:
            while not self._store.check([_FAILED]):
                if time.monotonic() > end:
                    return None
                time.sleep(0.05)
            return str(self._store.get(_FAILED).decode(errors="replace"))
        except RuntimeError:  # the store went with the process that kept it
            return None


def _describe(failure: Exception | None) -> list[Any] | str | None:
    if isinstance(failure, NonFiniteError):
        return [failure.step, list(failure.examples), failure.cause]
    return None if failure is None else str(failure)
