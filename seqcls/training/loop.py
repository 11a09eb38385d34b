"""The training loop: for each epoch, for each batch: forward, loss, backward, clip, step, hooks."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray

from seqcls.config.auto import chosen
from seqcls.data.batches import Batch, batches, split_batch, training_order
from seqcls.data.encoding import EncodedData
from seqcls.errors import NonFiniteError
from seqcls.evaluation.scores import Evaluation
from seqcls.model.forward import StoppedError
from seqcls.system.device import autocast
from seqcls.training.callbacks.base import Callback
from seqcls.training.failures import Recovery, failing_together, out_of_memory_is_final
from seqcls.training.finite import LOWER_RATE
from seqcls.training.objective import Objective
from seqcls.training.optimizer import clip_gradients, update_average
from seqcls.training.scoring import Scorer
from seqcls.training.state import FitState, sum_over_processes
from seqcls.training.stopping import Stopping

COMPLETED = "all epochs done"


class Loop:
    """Trains from where a state stands until all epochs are done, or until it is asked to stop.

    Args:
        state: The state of the run, which changes with every step.
        data: The encoded splits.
        hooks: The callbacks.
        scorer: Scores the validation split.
        stopping: Decides whether to end early.
        recovery: Decides how to go on after a failed step.
    """

    def __init__(
        self,
        state: FitState,
        data: EncodedData,
        *,
        hooks: Callback,
        scorer: Scorer,
        stopping: Stopping,
        recovery: Recovery,
    ) -> None:
        self._state = state
        self._data = data
        self._hooks = hooks
        self._scorer = scorer
        self._stopping = stopping
        self._recovery = recovery
        self._config = state.config.fit
        self._autocast = autocast(state.device, self._config.precision)
        self._objective = Objective(self._config, data, state.device)

    def train(self) -> None:
        """Run the epochs that are left.

        Raises:
            TrainingError: A step failed, and neither settings nor memory allow another try.
        """
        state = self._state
        if not state.total_steps and not state.progress.evaluations:  # the wide path is fitted already
            state.progress.evaluation_due = True
        while (state.has_steps_left or state.progress.evaluation_due) and not self._stopping.must_all_stop():
            try:
                if state.progress.evaluation_due:  # the run was stopped before the evaluation, or during it
                    self._evaluate()
                else:
                    self._run_epoch()
                continue
            except (NonFiniteError, RuntimeError, MemoryError) as error:
                recover = self._recovery.after(error)
            recover()  # outside of the except clause: nothing holds the failed step's tensors any more
        state.stop(COMPLETED if self._config.max_steps is None else "all steps done")

    def _run_epoch(self) -> None:
        """Train from the position in the epoch to its end, or until the loop must stop."""
        state, config, progress = self._state, self._config, self._state.progress
        train, window_size = self._data.splits["train"], self._config.accumulate_batches
        order = training_order(
            train.lengths,
            batch_size=chosen(config.batch_size),
            seed=config.seed,
            epoch=progress.epoch,
            bucket=config.bucket_by_length,
        )
        windows = [order[start : start + window_size] for start in range(0, len(order), window_size)]
        batches_done = progress.step_in_epoch * window_size + progress.batch_in_step
        shares = [state.world.share(indices) for indices in order[batches_done:]]
        shares = [indices for indices in shares if len(indices)]
        state.model.train()
        with contextlib.closing(batches(train, shares, state.device, num_workers=config.num_workers)) as loader:
            for window in windows[progress.step_in_epoch :]:
                if not self._train_step(window, loader):
                    return
                self._hooks.on_step_end(state)
                if state.progress.evaluation_due:
                    self._evaluate()
                if not state.has_steps_left or self._stopping.must_all_stop():
                    return

    def _train_step(self, window: Sequence[NDArray[np.int64]], loader: Generator[Batch]) -> bool:
        """Update the weights once, from the mean loss over a window of batches; return False if stopped within it."""
        state, learner, progress, started = self._state, self._state.learner, self._state.progress, time.monotonic()
        model, world, step, objective = learner.model, state.world, progress.step + 1, self._objective
        indices = np.concatenate(window)
        total_weight = objective.total_weight(indices)
        with failing_together(world):
            for batch_indices in window[progress.batch_in_step :]:
                if len(world.share(batch_indices)):
                    for part in split_batch(next(loader), progress.batch_parts):
                        with self._autocast:
                            logits = model(*part.model_inputs)  # [K * B, C], of the K networks of an ensemble
                        labels, part_indices = part.repeated(len(model.members))
                        losses = objective.losses(logits.float(), labels)  # [K * B]
                        loss = objective.share(losses, part_indices, total_weight)  # [], the sum over the networks
                        state.watch.see_loss(step, loss, part, logits, model)
                        loss.backward()
                        state.figures.pending.update(logits, labels, losses.sum())
                progress.batch_in_step += 1
                # Several processes stop together, after a step.
                if progress.batch_in_step < len(window) and world.size == 1 and self._stopping.must_stop():
                    progress.training_seconds += time.monotonic() - started
                    return False
        # One process that lacks memory here would leave the others waiting. Alone, it can make the step again.
        with contextlib.nullcontext() if world.size == 1 else out_of_memory_is_final("adding up gradients"):
            world.add_gradients(model)
            # Without a limit the norm is computed all the same: it shows a gradient that is not finite.
            # Each network of an ensemble has its own gradient, so that theirs together are longer.
            norm = clip_gradients(model, (self._config.clip_norm or math.inf) * math.sqrt(len(model.members)))
        state.watch.see_gradient(step, norm, indices, model)
        learner.learning_rate.set_for(progress.step, reduction=progress.lr_reduction)
        with out_of_memory_is_final("updating the weights"):  # some of them may have been updated
            learner.tables.step()
            learner.optimizer.step()
        learner.optimizer.zero_grad()
        if learner.averaged is not None and self._config.ema_decay is not None:
            # The average begins with the weights of the first update, not with the initial ones.
            update_average(learner.averaged, model, self._config.ema_decay if progress.step else 0.0)
        state.note_step(indices, norm, seconds=time.monotonic() - started)
        return True

    def _evaluate(self) -> None:
        """Score the validation split, if there is one; if the run must end before that is done, the evaluation stays due."""
        state, progress, started = self._state, self._state.progress, time.monotonic()
        state.watch.check()
        state.learner.tables.settle()
        progress.training_seconds += time.monotonic() - started  # an accelerator still had steps to do
        if progress.step_in_epoch == state.steps_per_epoch:
            progress.epoch, progress.step_in_epoch = progress.epoch + 1, 0
        if "validation" not in self._data.splits:
            state.note_no_evaluation()
            return
        try:
            validation = self._scorer.score(state.evaluated_model, "validation", must_stop=self._stopping.must_leave)
        except StoppedError:
            return
        if not math.isfinite(validation.loss):
            cause = f"the validation loss is not finite: training diverged; {LOWER_RATE}"
            raise NonFiniteError(state.step, state.indices.tolist(), cause)
        examples, seconds = progress.evaluated_at
        speed = (progress.examples - examples) / max(progress.training_seconds - seconds, 1e-9)
        evaluation = Evaluation(
            step=progress.step,
            epoch=progress.epoch,
            train=sum_over_processes(state.running, state.world, state.device).compute(),
            validation=validation,
            lr=state.learning_rate.value,
            seconds=state.seconds,
            examples_per_second=speed,
        )
        improved = state.note_evaluation(evaluation)
        self._hooks.on_evaluation(state, evaluation, improved=improved)
