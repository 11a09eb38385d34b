"""What a run does when a step fails: goes back to a checkpoint, makes room in memory, or ends with a remedy."""

from __future__ import annotations

import contextlib
import gc
import logging
import math
from collections.abc import Callable, Iterator
from functools import partial

import torch

from seqcls.config.auto import chosen
from seqcls.data.batches import explain_dead_worker
from seqcls.data.resident import free_residents
from seqcls.errors import NonFiniteError, TrainingError
from seqcls.evaluation.scores import RunningScore
from seqcls.storage.run_directory import RunDirectory
from seqcls.system.memory import is_out_of_memory
from seqcls.system.processes import World
from seqcls.training.resume import restore
from seqcls.training.scoring import require_smaller_batches
from seqcls.training.state import FitState

ROLLBACK_FACTOR = 0.5

logger = logging.getLogger("seqcls")


@contextlib.contextmanager
def failing_together(world: World) -> Iterator[None]:
    """Raise a failure that a run may recover from, in any process, in all of them: they recover together.

    Raises:
        NonFiniteError, RuntimeError, MemoryError: The failure of this process, or one that stands for that of another.
    """
    failure = None
    try:
        yield
    except (RuntimeError, MemoryError, NonFiniteError) as error:
        if not isinstance(error, NonFiniteError) and not is_out_of_memory(error):
            raise
        failure = error
    try:
        world.meet(failure)
    finally:
        failure = None  # otherwise the error and this frame hold each other, and the tensors of the failed step


@contextlib.contextmanager
def out_of_memory_is_final(activity: str) -> Iterator[None]:
    """Turn a lack of memory into TrainingError: after this activity the step cannot be made again."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(f"out of memory while {activity} ({error}); use a smaller model") from error


class Recovery:
    """Recovers a run after a failed step, if the settings allow it."""

    def __init__(self, state: FitState, run: RunDirectory) -> None:
        self._state = state
        self._run = run

    def after(self, error: Exception) -> Callable[[], None]:
        """Return the recovery, to be called once nothing holds the tensors of the failed step any more.

        Raises:
            TrainingError: A data worker died, or memory does not suffice.
            Exception: The error itself, if there is no recovery.
        """
        fit = self._state.config.fit
        if isinstance(error, NonFiniteError):
            if fit.on_nan == "stop" or self._state.progress.rollbacks >= fit.max_rollbacks:
                raise error
            return partial(self._roll_back, str(error))
        if (dead_worker := explain_dead_worker(error)) is not None:
            raise dead_worker from error
        if not is_out_of_memory(error):
            raise error
        if self._state.world.any(free_residents()):
            return self._take_data_off_the_device
        size = math.ceil(chosen(fit.batch_size) / self._state.progress.batch_parts)
        require_smaller_batches(size, error, auto_batch=fit.auto_batch)
        return self._split_batches

    def _roll_back(self, reason: str) -> None:
        """Return to the last checkpoint with a lower learning rate."""
        state = self._state
        rollbacks, seconds = state.progress.rollbacks + 1, state.progress.seconds
        checkpoint = self._run.checkpoints.restorable()
        restore(state, checkpoint.model, checkpoint.training)
        progress = state.progress
        progress.lr_reduction *= ROLLBACK_FACTOR ** (rollbacks - progress.rollbacks)
        progress.rollbacks, progress.seconds = rollbacks, seconds
        if state.world.is_main:
            self._run.keep_metrics(progress.evaluations)
        logger.warning(
            "%s. Going back to step %d with half the learning rate; rollback %d of at most %d",
            reason,
            progress.step,
            rollbacks,
            state.config.fit.max_rollbacks,
        )

    def _take_data_off_the_device(self) -> None:
        """Begin the step again, with batches that are sent to the device one by one."""
        self._clear_step()
        logger.warning(
            "out of memory at step %d: the data no longer stay on the device; steps and gradients stay the same",
            self._state.step + 1,
        )

    def _split_batches(self) -> None:
        """Begin the step again, with each batch in twice as many parts."""
        self._clear_step()
        progress = self._state.progress
        progress.batch_parts *= 2
        logger.warning(
            "out of memory at step %d: each batch of %d now passes in %d parts; steps and gradients stay the same",
            progress.step + 1,
            chosen(self._state.config.fit.batch_size),
            progress.batch_parts,
        )

    def _clear_step(self) -> None:
        """Go back to the start of the step, and free the memory that it took."""
        state = self._state
        state.progress.batch_in_step = 0
        state.figures.pending = RunningScore(state.device)
        state.optimizer.zero_grad()
        gc.collect()  # errors and the frames they came through hold each other, and with them tensors
        if state.device.type == "cuda":
            torch.cuda.empty_cache()
