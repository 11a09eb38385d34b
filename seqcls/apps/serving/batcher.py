"""Micro-batching: a thread that answers queued requests, many in one call. It knows nothing of HTTP."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

AnswerT = TypeVar("AnswerT")


class BusyError(Exception):
    """The queue is full."""


@dataclass(eq=False)
class _Job(Generic[AnswerT]):
    model: str
    texts: Sequence[str]
    future: Future[list[AnswerT]] = field(default_factory=Future)


class Batcher(Generic[AnswerT]):
    """Answers texts in a thread of its own, so that the caller's event loop stays free.

    While one batch is computed, the next one gathers. A batch waits for more texts for at most ``linger`` seconds, and not
    at all once it is full. A job that is cancelled while it waits is not computed.

    Args:
        answer: Called in the thread with the name of a model and texts; returns one answer per text, in the same order.
        capacity: The number of texts that may wait.
        at_once: The number of texts that fill a batch; a larger job is a batch of its own.
        linger: The seconds that a batch waits for more texts.
        observe: Called with the number of texts of each batch.
    """

    def __init__(
        self,
        answer: Callable[[str, list[str]], list[AnswerT]],
        *,
        capacity: int,
        at_once: int,
        linger: float = 0.0,
        observe: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._answer = answer
        self._capacity = capacity
        self._at_once = at_once
        self._linger = linger
        self._observe = observe
        self._jobs: deque[_Job[AnswerT]] = deque()
        self._waiting = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="seqcls-batcher", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of texts that are waiting."""
        return self._waiting

    def submit(self, model: str, texts: Sequence[str]) -> Future[list[AnswerT]]:
        """Queue texts for a model; the future receives the answers, or the error that ``answer`` raised.

        Raises:
            BusyError: More than ``capacity`` texts would wait, or the batcher is closed.
        """
        job = _Job[AnswerT](model, texts)
        with self._changed:
            if self._closed or self._waiting + len(texts) > self._capacity:
                raise BusyError
            self._jobs.append(job)
            self._waiting += len(texts)
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Answer what is queued, accept no more, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (jobs := self._take()) is not None:
            for model in dict.fromkeys(job.model for job in jobs):
                self._do(model, [job for job in jobs if job.model == model])

    def _take(self) -> list[_Job[AnswerT]] | None:
        """Return the next jobs, without those that were cancelled; None after the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if not self._jobs:
                return None
            self._changed.wait_for(lambda: self._waiting >= self._at_once or self._closed, timeout=self._linger)
            taken: list[_Job[AnswerT]] = []
            room = self._at_once
            while self._jobs and (not taken or len(self._jobs[0].texts) <= room):
                job = self._jobs.popleft()
                self._waiting -= len(job.texts)
                if job.future.set_running_or_notify_cancel():
                    taken.append(job)
                    room -= len(job.texts)
            return taken

    def _do(self, model: str, jobs: list[_Job[AnswerT]]) -> None:
        texts = [text for job in jobs for text in job.texts]
        try:
            answers = self._answer(model, texts)
        except Exception as error:
            if len(jobs) > 1:  # one faulty request must not fail the others
                for job in jobs:
                    self._do(model, [job])
            else:
                jobs[0].future.set_exception(error)
            return
        self._observe(len(texts))
        start = 0
        for job in jobs:
            job.future.set_result(answers[start : start + len(job.texts)])
            start += len(job.texts)
