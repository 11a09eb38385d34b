"""Saving the state of a run in a checkpoint, restoring it, and the changes of settings that a resumed run allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from seqcls.config.auto import chosen
from seqcls.config.settings import Config, resumable_settings
from seqcls.errors import CheckpointError, ConfigError
from seqcls.evaluation.scores import Evaluation, RunningScore
from seqcls.storage.rebuild import SavedModel
from seqcls.storage.schemas import Progress
from seqcls.storage.snapshot import TrainingSnapshot
from seqcls.system.randomness import RandomState, rank_seed, seed_everything
from seqcls.system.sparse import from_rows, rows_of
from seqcls.system.untrusted import check_form
from seqcls.training.environment import describe_environment
from seqcls.training.optimizer import optimizer_tensors, restore_optimizer
from seqcls.training.state import FitState, sum_over_processes


def snapshot(state: FitState) -> TrainingSnapshot:
    """Return all that a run needs, besides the evaluated weights, to go on from here; called by all processes."""
    learner, setup, world, device = state.learner, state.setup, state.world, state.device
    tensors = {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(learner.optimizer).items()}
    if learner.averaged is not None:
        tensors |= {f"weights.{name}": tensor.detach().cpu() for name, tensor in learner.model.state_dict().items()}
    tensors |= learner.tables.tensors()
    if state.progress.batch_in_step:
        tensors |= _gradients(learner.model)
    random_state = RandomState.capture(device)
    tensors |= random_state.tensors
    for rank, data in enumerate(world.gather(random_state.to_bytes())):
        if rank:
            tensors[_random_state_of(rank)] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    values = {
        **asdict(state.progress),
        **random_state.values,
        "seconds": state.seconds,
        "best": None if state.best is None else state.best.as_dict(),
        "running": sum_over_processes(state.figures.running, world, device).as_dict(),
        "step_running": sum_over_processes(state.figures.pending, world, device).as_dict(),
        "steps_per_epoch": setup.steps_per_epoch,
        "data_digest": setup.data_digest,
        "environment": describe_environment(device, world.size),
    }
    return TrainingSnapshot(tensors, values)


def restore(state: FitState, saved: SavedModel, snapshot: TrainingSnapshot) -> None:
    """Restore a state from ``snapshot``; ``saved`` is the model saved with it.

    Raises:
        CheckpointError: The snapshot belongs to other data, or lacks something.
    """
    if snapshot.values.get("data_digest") != state.setup.data_digest:
        raise CheckpointError(
            f"{saved.path} belongs to a run on other training or validation data, or with other class weights "
            f"({snapshot.values.get('steps_per_epoch')} steps per epoch, here {state.steps_per_epoch}); "
            "resume a run with the data and weights it was started with"
        )
    try:
        _restore(state, saved, snapshot)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"the training state in {saved.path} cannot be used: {error!r:.200}") from error


def _restore(state: FitState, saved: SavedModel, snapshot: TrainingSnapshot) -> None:
    learner, world, values = state.learner, state.world, snapshot.values
    state.progress = check_form(values, Progress, saved.path)
    state.best = None if values["best"] is None else check_form(values["best"], Evaluation, saved.path)
    saved.load_into(state.evaluated_model)
    if learner.averaged is not None:
        saved.load_into(learner.averaged)
    learner.model.load_state_dict(snapshot.named("weights."), strict=learner.averaged is not None)
    restore_optimizer(learner.optimizer, snapshot.named("optimizer."))
    learner.tables.restore(snapshot.named("waiting."))
    learner.learning_rate.set_for(max(0, state.step - 1), reduction=state.progress.lr_reduction)
    # Gradients and figures are sums over the processes: one process starts with all of it, the others with nothing.
    gradients, rows = (snapshot.named(prefix) if world.is_main else {} for prefix in ("gradient.", "rows."))
    for name, parameter in learner.model.named_parameters():
        gradient = gradients.get(name)
        if gradient is not None and name in rows:
            gradient = from_rows(rows[name], gradient, parameter)
        parameter.grad = None if gradient is None else gradient.to(state.device)
    if world.is_main:
        state.figures.running = RunningScore.from_dict(values["running"], state.device)
        state.figures.pending = RunningScore.from_dict(values["step_running"], state.device)
    else:
        state.figures.running, state.figures.pending = RunningScore(state.device), RunningScore(state.device)
    state.watch.forget()
    _restore_random_state(state, snapshot)


def _gradients(model: nn.Module) -> dict[str, Tensor]:
    """Return the gradients as "gradient.NAME"; of a sparse one, these are the values of the rows in "rows.NAME"."""
    tensors = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and parameter.grad.is_sparse:
            tensors[f"rows.{name}"], tensors[f"gradient.{name}"] = (part.cpu() for part in rows_of(parameter.grad))
        elif parameter.grad is not None:
            tensors[f"gradient.{name}"] = parameter.grad.detach().cpu()
    return tensors


def _restore_random_state(state: FitState, snapshot: TrainingSnapshot) -> None:
    rank = state.world.rank
    if rank == 0:
        RandomState(snapshot.tensors, snapshot.values).restore(state.device)
    elif _random_state_of(rank) in snapshot.tensors:
        RandomState.from_bytes(snapshot.tensors[_random_state_of(rank)].numpy().tobytes()).restore(state.device)
    else:  # the run had fewer processes when it was saved
        seed_everything(rank_seed(state.config.fit.seed, rank, state.step))


def _random_state_of(rank: int) -> str:
    """Return the name of the tensor that holds the random state of a process other than the first."""
    return f"rng.rank{rank}"


def changed_settings(old: Config, changes: Mapping[str, Any], settings: Mapping[str, Any]) -> Config:
    """Return the settings of a run with changes to them, which may extend the run, not alter it.

    Options of callbacks that no longer run are dropped.

    Args:
        old: The settings of the run.
        changes: Changes by section, {"fit": {"epochs": 12}}.
        settings: Changes by name, {"epochs": 12}.

    "auto" means the value that the run has: it was chosen when the run began.

    Raises:
        ConfigError: A setting is unknown, or a change would alter the run.
    """
    new = _with_values_of(old, old.updated(changes, source="resume").replace(**settings))
    dropped = [
        name
        for name, values in new.fit.callback_options.items()
        if name not in new.fit.callbacks and old.fit.callback_options.get(name) == values
    ]
    options = {name: values for name, values in new.fit.callback_options.items() if name not in dropped}
    new = new.replace(callback_options=options)
    _check_extends(old, new)
    return new


def _with_values_of(old: Config, new: Config) -> Config:
    """Return ``new`` with the values of ``old`` in the place of "auto"."""
    values = old.model_dump()
    kept = {name: values[section][key] for name in new.open_settings() for section, _, key in [name.partition(".")]}
    return new.with_chosen(kept).marked({*new.chosen, *(name for name in kept if name in old.chosen)})


def _check_extends(old: Config, new: Config) -> None:
    """Raise ConfigError if ``new`` alters a run of ``old`` rather than extending it."""
    extending, new_values = resumable_settings(), new.model_dump()
    changed = [
        f"{section}.{name}"
        for section, values in old.model_dump().items()
        for name, value in values.items()
        if new_values[section][name] != value and name not in extending
    ]
    epochs, new_epochs = chosen(old.fit.epochs), chosen(new.fit.epochs)
    if new_epochs < epochs:
        raise ConfigError(f"a run of {epochs} epochs cannot be resumed for {new_epochs}; give as many, or more")
    if changed:
        raise ConfigError(
            f"a resumed run keeps its settings, but {', '.join(changed)} would change; "
            f"start a new run, or change only {', '.join(sorted(extending))}"
        )
