"""The metrics that Prometheus reads from /metrics, in a registry of their own."""

from __future__ import annotations

from collections.abc import Callable, Collection

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_TEXTS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of requests and batches, and the state of the queues.

    Args:
        paths: The paths that are counted separately. All others count as "other", so that nobody can fill the memory with
            names.
    """

    def __init__(self, paths: Collection[str]) -> None:
        self._paths = frozenset(paths)
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter("seqcls_requests", "Requests.", ["path", "status"], registry=self._registry)
        self._seconds = Histogram(
            "seqcls_request_seconds",
            "From the first byte to the answer.",
            ["path"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batches = Histogram(
            "seqcls_batch_texts", "Texts computed at once.", ["queue"], buckets=_TEXTS, registry=self._registry
        )
        self._waiting = Gauge("seqcls_queue_texts", "Texts that are waiting.", ["queue"], registry=self._registry)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request; status 499 means that the client left."""
        known = path if path in self._paths else "other"
        self._requests.labels(known, str(status)).inc()
        self._seconds.labels(known).observe(seconds)

    def batch(self, queue: str) -> Callable[[int], None]:
        """Return the function that counts the batches of a queue."""
        return self._batches.labels(queue).observe

    def watch_queue(self, queue: str, size: Callable[[], int]) -> None:
        """Let the gauge of a queue call ``size``."""
        self._waiting.labels(queue).set_function(size)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)
