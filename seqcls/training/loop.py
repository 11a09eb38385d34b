"""The training loop: for each epoch, for each batch: forward, loss, backward, clip, step, hooks."""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import signal
import time
from collections.abc import Callable, Generator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from seqcls.data.batches import Batch, batches, explain_dead_worker, split_batch, training_order
from seqcls.data.encoding import EncodedData
from seqcls.data.resident import free_residents
from seqcls.errors import NonFiniteError, TrainingError
from seqcls.evaluation.scores import RunningScore, sum_losses
from seqcls.model.forward import StoppedError
from seqcls.storage.run_directory import RunDirectory
from seqcls.system.device import autocast
from seqcls.system.memory import is_out_of_memory
from seqcls.training.callbacks.base import Callback
from seqcls.training.failures import SLOWER, explain_gradient, explain_loss
from seqcls.training.optimizer import class_weights, update_average
from seqcls.training.scoring import Scorer, require_smaller_batches
from seqcls.training.state import Evaluation, FitState
from seqcls.training.stopping import Signals, TimeLimit

# On an accelerator the loop runs ahead of the device; it looks at the losses this seldom, since each look waits.
STEPS_BETWEEN_LOOKS = 20
COMPLETED = "all epochs done"
ROLLBACK_FACTOR = 0.5
# Of the time that is left, at most this share of the limit is kept for scoring the test split.
TEST_SHARE = 0.25

logger = logging.getLogger("seqcls")


class Loop:
    """Trains from where a state stands until all epochs are done, or until it is asked to stop.

    Args:
        state: Where the run stands; it changes with every step.
        data: The encoded splits.
        run: Where the run goes back to when a loss is not finite.
        scorer: What scores the validation split.
        callbacks: Hooks, called in their order.
        signals: Those that ask the run to end.
        limit: The time by which the process is to have ended.

    Attributes:
        is_cut_short: Whether it was the time limit that ended the loop.
    """

    def __init__(
        self,
        state: FitState,
        data: EncodedData,
        *,
        run: RunDirectory,
        scorer: Scorer,
        callbacks: Sequence[Callback],
        signals: Signals,
        limit: TimeLimit,
    ) -> None:
        self._state = state
        self._data = data
        self._run = run
        self._scorer = scorer
        self._callbacks = callbacks
        self._signals = signals
        self._limit = limit
        self.is_cut_short = False
        self._config = state.config.fit
        self._device = state.device
        self._autocast = autocast(state.device, self._config.precision)
        labels, setting = data.splits["train"].labels, self._config.class_weights
        self._weights = None  # of each label in the loss, float32 [C]
        if setting is not None and labels is not None:
            weights = torch.from_numpy(class_weights(setting, labels, data.label_names))
            self._weights = weights.to(state.device, torch.float32)

    def train(self) -> None:
        """Run the epochs that are left."""
        state = self._state
        recover: Callable[[], None]
        while (state.epoch < self._config.epochs or state.evaluation_due) and not self._must_all_stop():
            try:
                if state.evaluation_due:  # the run was stopped before it, or in it
                    self._evaluate()
                else:
                    self._run_epoch()
                continue
            except NonFiniteError as error:
                if self._config.on_nan == "stop" or state.rollbacks >= self._config.max_rollbacks:
                    raise
                recover = partial(self._roll_back, str(error))
            except (RuntimeError, MemoryError) as error:
                if (dead_worker := explain_dead_worker(error)) is not None:
                    raise dead_worker from error
                if not is_out_of_memory(error):
                    raise
                recover = self._take_data_off_the_device
                if not state.world.any(free_residents()):
                    size = math.ceil(self._config.batch_size / state.batch_parts)
                    require_smaller_batches(size, error, auto_batch=self._config.auto_batch)
                    recover = self._split_batches
            recover()  # outside of the except clauses: nothing holds the failed step's tensors any more
        state.stop(COMPLETED)

    def _run_epoch(self) -> None:
        """Train from the state's place in the epoch to the epoch's end, or until it is asked to stop."""
        state, config = self._state, self._config
        train = self._data.splits["train"]
        order = training_order(
            train.lengths, batch_size=config.batch_size, seed=config.seed, epoch=state.epoch, bucket=config.bucket_by_length
        )
        size = config.accumulate_batches
        windows = [order[start : start + size] for start in range(0, len(order), size)]
        remaining = [state.world.share(indices) for indices in order[self._batches_done() :]]
        remaining = [indices for indices in remaining if len(indices)]
        state.model.train()
        with contextlib.closing(batches(train, remaining, self._device, num_workers=config.num_workers)) as loader:
            for window in windows[state.step_in_epoch :]:
                if not self._train_step(window, loader):
                    return
                for callback in self._callbacks:
                    callback.on_step_end(state)
                if state.evaluation_due:
                    self._evaluate()
                if self._must_all_stop():
                    return

    def _batches_done(self) -> int:
        return self._state.step_in_epoch * self._config.accumulate_batches + self._state.batch_in_step

    def _train_step(self, window: Sequence[NDArray[np.int64]], loader: Generator[Batch]) -> bool:
        """Update the weights once from the examples of a window of batches; return False if stopped amid it."""
        state, started = self._state, time.monotonic()
        count, failure = sum(len(indices) for indices in window), None
        for indices in window[state.batch_in_step :]:
            try:
                if len(state.world.share(indices)):
                    self._add_gradient(next(loader), count)
            except (RuntimeError, MemoryError, NonFiniteError) as error:
                state.step_running = RunningScore(self._device)  # the step may be tried again
                if not isinstance(error, NonFiniteError) and not is_out_of_memory(error):
                    raise
                failure = error
                break
            state.batch_in_step += 1
            # Several processes stop together, after a step.
            if state.batch_in_step < len(window) and state.world.size == 1 and self._must_stop():
                state.training_seconds += time.monotonic() - started
                return False
        try:
            state.world.meet(failure)
        finally:
            failure = None  # else it and this frame hold each other, and the tensors of the failed step
        self._update(np.concatenate(window))
        state.examples += count
        state.training_seconds += time.monotonic() - started
        every = self._config.eval_every_steps
        state.evaluation_due = state.step_in_epoch == state.steps_per_epoch or bool(every and state.step % every == 0)
        return True

    def _add_gradient(self, batch: Batch, count: int) -> None:
        """Add the gradient of a batch's summed loss, divided by the ``count`` examples of its step."""
        state = self._state
        for part in split_batch(batch, state.batch_parts):
            assert part.labels is not None
            with self._autocast:
                logits = state.model(part.inputs, part.lengths)
            loss = sum_losses(logits.float(), part.labels, self._weights)
            if self._device.type != "cpu":
                state.watch(loss, part.indices)
            elif not loss.isfinite():
                raise explain_loss(state.step + 1, part, logits, state.model)
            (loss / count).backward()
            state.step_running.update(logits, part.labels, loss)

    def _update(self, indices: NDArray[np.int64]) -> None:
        """Update the weights from the gradients, which were made from the examples at ``indices``."""
        state = self._state
        try:
            state.world.add_gradients(state.model)
            # With no limit given the norm is taken all the same: it shows a gradient that is not finite.
            norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), self._config.clip_norm or math.inf)
        except (RuntimeError, MemoryError) as error:
            if state.world.size == 1 or not is_out_of_memory(error):
                raise
            # The others know nothing of it: what the processes do together from here on would not match.
            raise TrainingError(f"out of memory while adding up gradients ({error}); use a smaller model") from error
        if self._device.type != "cpu":
            state.watch(norm, indices)
            if state.step % STEPS_BETWEEN_LOOKS == 0:
                state.check_finite()
        elif not norm.isfinite():
            raise explain_gradient(state.step + 1, indices.tolist(), state.model)
        state.learning_rate.set_for(state.step)
        try:
            state.optimizer.step()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            # Some weights may have been updated: the step cannot be made again.
            raise TrainingError(f"out of memory while updating the weights ({error}); use a smaller model") from error
        state.optimizer.zero_grad()
        state.step, state.step_in_epoch, state.batch_in_step = state.step + 1, state.step_in_epoch + 1, 0
        state.indices, state.gradient_norm = indices, norm
        state.running.add(state.step_running)
        state.last_step, state.step_running = state.step_running, RunningScore(self._device)
        if state.averaged is not None and self._config.ema_decay is not None:
            # The average begins with the weights of the first update, not with the initial ones.
            update_average(state.averaged, state.model, self._config.ema_decay if state.step > 1 else 0.0)

    def _evaluate(self) -> None:
        """Score the validation split, unless the run is to end before that is done: then it stays due."""
        state, started = self._state, time.monotonic()
        state.check_finite()
        state.training_seconds += time.monotonic() - started  # an accelerator still had steps to do
        if state.step_in_epoch == state.steps_per_epoch:
            state.epoch, state.step_in_epoch = state.epoch + 1, 0
        try:
            validation = self._scorer.score(state.evaluated_model, "validation", must_stop=self._must_leave)
        except StoppedError:
            return
        if not math.isfinite(validation.loss):
            found = f"the validation loss is not finite: training diverged; {SLOWER}"
            raise NonFiniteError(state.step, state.indices.tolist(), found)
        since = state.evaluated_at
        speed = (state.examples - since[0]) / max(state.training_seconds - since[1], 1e-9)
        evaluation = Evaluation(
            step=state.step,
            epoch=state.epoch,
            train=state.of_all(state.running).compute(),
            validation=validation,
            lr=state.learning_rate.value,
            seconds=state.seconds,
            examples_per_second=speed,
        )
        state.running = RunningScore(self._device)
        improved = state.note_evaluation(evaluation)
        for callback in self._callbacks:
            callback.on_evaluation(state, evaluation, improved=improved)

    def _must_stop(self) -> bool:
        """Return whether the loop is to end; it is where saving and scoring would not end within the time limit."""
        limit, state = self._limit, self._state
        if limit.seconds is not None:
            needed = 2 * state.save_seconds + min(self.test_seconds(), TEST_SHARE * limit.seconds)
            if state.stop_reason is None and not limit.leaves(needed):
                self.is_cut_short = True
                state.stop(f"the time limit of {limit} is reached")
        return state.stop_reason is not None

    def _must_all_stop(self) -> bool:
        """Return whether one of the processes must stop: then all do, after the same step, and know why."""
        state = self._state
        must_stop, number, is_cut_short = state.world.largest(
            self._must_stop(), self._signals.received or 0, self.is_cut_short
        )
        if must_stop:
            self._signals.received, self.is_cut_short = number or None, bool(is_cut_short)
            state.stop(f"interrupted by {signal.Signals(number).name}" if number else "another process was asked to stop")
        return bool(must_stop)

    def _must_leave(self) -> bool:
        """Return whether not even a running evaluation may be ended; a callback's wish to stop lets it."""
        return self._signals.received is not None or (self._limit.seconds is not None and self._must_stop())

    def test_seconds(self) -> float:
        """Return about how long it would take to score the test split; at most as long as to train on it."""
        split = self._data.splits.get("test")
        if split is None:
            return 0.0
        trained = self._state.training_seconds / max(self._state.examples, 1)
        return len(split) * (trained if self._scorer.seconds_an_example is None else self._scorer.seconds_an_example)

    def _roll_back(self, reason: str) -> None:
        """Return to the last checkpoint with a lower learning rate."""
        state, rollbacks, seconds = self._state, self._state.rollbacks + 1, self._state.earlier_seconds
        found = self._run.checkpoints.restorable()
        state.restore(found.model, found.training)
        state.learning_rate.reduction *= ROLLBACK_FACTOR ** (rollbacks - state.rollbacks)
        state.rollbacks, state.earlier_seconds = rollbacks, seconds
        if state.world.is_main:
            self._run.keep_metrics(state.evaluations)
        logger.warning(
            "%s. Going back to step %d with half the learning rate; rollback %d of at most %d",
            reason,
            state.step,
            rollbacks,
            self._config.max_rollbacks,
        )

    def _take_data_off_the_device(self) -> None:
        """Begin the running step again, with batches that are sent to the device one by one."""
        self._clear_step()
        logger.warning(
            "out of memory at step %d: the data no longer stay on the device; steps and gradients stay the same",
            self._state.step + 1,
        )

    def _split_batches(self) -> None:
        """Let batches pass in twice as many parts, from the start of the running step."""
        state = self._state
        self._clear_step()
        state.batch_parts *= 2
        logger.warning(
            "out of memory at step %d: each batch of %d now passes in %d parts; steps and gradients stay the same",
            state.step + 1,
            self._config.batch_size,
            state.batch_parts,
        )

    def _clear_step(self) -> None:
        """Go back to the start of the running step, and free the memory that it took."""
        self._state.batch_in_step = 0
        self._state.optimizer.zero_grad()
        gc.collect()  # errors and the frames they came through hold each other, and with them tensors
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
