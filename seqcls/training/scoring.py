"""Scoring splits during a run: in smaller batches where memory does not suffice, and keeping track of the time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from seqcls.config.settings import FitConfig
from seqcls.data.encoding import EncodedData
from seqcls.errors import TrainingError
from seqcls.evaluation.scores import Score, score_logits
from seqcls.model.forward import StoppedError, never, predict_logits
from seqcls.model.network import Network
from seqcls.system.memory import is_out_of_memory
from seqcls.system.processes import World

logger = logging.getLogger("seqcls")


class Scorer:
    """Scores the labelled splits of the data; each process of a run scores its share."""

    def __init__(self, config: FitConfig, data: EncodedData, device: torch.device, world: World) -> None:
        self._seconds_per_example: float | None = None  # in the last whole pass over a split
        self._config = config
        self._data = data
        self._device = device
        self._world = world
        self._batch_size = config.eval_batch_size

    def score(
        self,
        model: Network,
        split: str,
        thresholds: Tensor | None = None,
        temperature: float = 1.0,
        *,
        must_stop: Callable[[], bool] = never,
    ) -> Score:
        """Return the figures of a split.

        Raises:
            StoppedError: ``must_stop``, which is called before each batch, returned True in some process.
        """
        logits, labels = self.logits(model, split, must_stop=must_stop)
        return score_logits(logits, labels, thresholds, temperature=temperature)

    def logits(self, model: Network, split: str, *, must_stop: Callable[[], bool] = never) -> tuple[Tensor, Tensor]:
        """Return the logits of a split, float32 [N, C], and its labels, on the CPU; raises like `score`."""
        sequences, started = self._data.splits[split], time.monotonic()
        try:
            logits: Tensor | None = self._logits_of_share(model, split, must_stop)
            self._seconds_per_example = (time.monotonic() - started) / max(1, len(sequences))
        except StoppedError:
            logits = None
        if self._world.any(logits is None) or logits is None:
            raise StoppedError
        return self._world.gather_rows(logits, len(sequences)), torch.from_numpy(np.array(sequences.labels))

    def expected_seconds(self, split: str, *, per_example: float) -> float:
        """Return about how long scoring a split takes; 0 if there is no such split.

        Args:
            split: The name of the split.
            per_example: Seconds per example to assume before the first pass over any split.
        """
        if split not in self._data.splits:
            return 0.0
        known = self._seconds_per_example
        return len(self._data.splits[split]) * (per_example if known is None else known)

    def _logits_of_share(self, model: Network, split: str, must_stop: Callable[[], bool]) -> Tensor:
        sequences = self._data.splits[split]
        indices = self._world.share(np.arange(len(sequences)))
        if not len(indices):
            return torch.zeros(0, len(self._data.label_names))
        while True:
            try:
                return predict_logits(
                    model,
                    sequences,
                    device=self._device,
                    batch_size=self._batch_size,
                    precision=self._config.precision,
                    must_stop=must_stop,
                    indices=indices,
                )
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                require_smaller_batches(self._batch_size, error, auto_batch=self._config.auto_batch)
            self._batch_size //= 2
            logger.warning("out of memory while scoring %s: continuing with batches of %d", split, self._batch_size)


def require_smaller_batches(size: int, error: BaseException, *, auto_batch: bool) -> None:
    """Raise TrainingError unless batches of ``size``, which did not fit into memory, can and may be split."""
    reason = f"out of memory with {size} examples at a time ({str(error).splitlines()[0]:.200})"
    if size == 1:
        raise TrainingError(f"{reason}; use a lower --max-length or a smaller model") from error
    if not auto_batch:
        raise TrainingError(f"{reason}; use --auto-batch, or a lower --batch-size or --max-length") from error
