"""Optimizers, and the learning rate as a pure function of the step, so that a resumed run follows the same course."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from seqcls.config.auto import chosen
from seqcls.config.settings import FitConfig
from seqcls.errors import CheckpointError
from seqcls.system.sparse import coalesced, values_of

ModelT = TypeVar("ModelT", bound=nn.Module)

# One-cycle (Smith & Topin 2019, as fastai sets it) starts at 1/25 of the peak.
ONE_CYCLE_START = 1 / 25
PLATEAU_FACTOR = 0.5
WORTH_THREADS = 1 << 15  # values of a parameter, from which on PyTorch's other operations use several threads


def build_optimizer(
    model: nn.Module, config: FitConfig, device: torch.device, *, tables: Collection[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """Build Adam or AdamW over all parameters; fused, one pass over memory per step, where the device has that.

    Args:
        model: The model.
        config: The settings.
        device: Where the model is.
        tables: Parameters that `LazyTables` updates.
    """
    optimizer_class: type[torch.optim.Adam] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    # Where only the wide path decides, there is nothing to optimize, and PyTorch wants a parameter all the same.
    return optimizer_class(
        list(model.parameters()) or [nn.Parameter(torch.empty(0))],
        lr=chosen(config.lr),
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=_is_fused_faster(model, device, {id(table) for table in tables}) or None,
    )


def _is_fused_faster(model: nn.Module, device: torch.device, tables: Collection[int]) -> bool:
    if device.type == "cpu" and torch.__version__ >= "2.4":  # compared as versions
        # The fused step wakes all threads for each parameter. For small ones this takes longer than all else in a step
        # where other programs keep the cores busy.
        sizes = [parameter.numel() for parameter in model.parameters() if id(parameter) not in tables]
        return max(sizes, default=0) >= WORTH_THREADS
    return device.type == "cuda"


def schedule_factor(schedule: str, *, step: int, total_steps: int, warmup: float) -> float:
    """Return the factor on the learning rate for the update that follows ``step`` updates.

    Linear and cosine rise linearly from 0 to 1 over the first ``warmup`` share of the run, then fall to 0. One-cycle rises
    and falls along half cosines, from 1/25 to 1 and to 0. Constant and plateau are 1.
    """
    if schedule in ("constant", "plateau"):
        return 1.0
    warmup_steps = round(warmup * total_steps)
    if step < warmup_steps:
        risen = (step + 1) / warmup_steps
        return risen if schedule != "one-cycle" else _half_cosine(ONE_CYCLE_START, 1.0, risen)
    fallen = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return 1.0 - fallen if schedule == "linear" else _half_cosine(1.0, 0.0, fallen)


class LearningRate:
    """Sets an optimizer's learning rate before each update: a function of the step and of a reduction."""

    def __init__(self, optimizer: torch.optim.Optimizer, config: FitConfig, *, total_steps: int) -> None:
        self._optimizer = optimizer
        self._config = config
        self._total_steps = total_steps

    @property
    def value(self) -> float:
        """The learning rate that was set last."""
        return float(self._optimizer.param_groups[0]["lr"])

    def set_for(self, step: int, *, reduction: float = 1.0) -> None:
        """Set the learning rate for the update that follows ``step`` updates; ``reduction`` is a factor on it."""
        config = self._config
        factor = schedule_factor(config.schedule, step=step, total_steps=self._total_steps, warmup=config.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = chosen(config.lr) * factor * reduction


def reduced(reduction: float, schedule: str, *, improved: bool) -> float:
    """Return the reduction of the learning rate after an evaluation: "plateau" halves it unless that was the best so far."""
    return reduction * PLATEAU_FACTOR if schedule == "plateau" and not improved else reduction


@torch.no_grad()
def clip_gradients(model: nn.Module, max_norm: float) -> Tensor:
    """Scale the gradients of a model so that their common norm is at most ``max_norm``; return the norm before that, []."""
    holders = []  # tensors whose gradients are those values of the model's that are not known to be zero
    for parameter in model.parameters():
        holder: Tensor = parameter
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = coalesced(parameter.grad)
            holder = values_of(parameter.grad).detach()
            holder.grad = values_of(parameter.grad)
        holders.append(holder)
    return torch.nn.utils.clip_grad_norm_(holders, max_norm)


def copy_for_average(model: ModelT) -> ModelT:
    """Return a copy of a model, for `update_average` to keep its averaged weights in."""
    averaged = copy.deepcopy(model)
    for module in averaged.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()  # cuDNN wants a layer's weights in one piece, as the copy's are not
    return averaged


@torch.no_grad()
def update_average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """Move averaged weights towards those of a model by the share 1 - ``decay``; copy tensors that are not floats.

    ``torch.optim.swa_utils.AveragedModel`` does the same, but counts its updates on the CPU and waits for the device to
    send it the number, each time.
    """
    pairs = list(zip(_tensors(averaged), _tensors(model), strict=True))
    floats = [(old, new) for old, new in pairs if old.is_floating_point()]
    torch._foreach_lerp_([old for old, _ in floats], [new for _, new in floats], 1 - decay)
    for old, new in pairs:
        if not old.is_floating_point():
            old.copy_(new)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state as named tensors, "PARAMETER_NUMBER.NAME"."""
    return {
        f"{number}.{name}": torch.as_tensor(value).detach().cpu().clone()
        for number, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Load what `optimizer_tensors` returned.

    Raises:
        CheckpointError: A tensor belongs to no parameter, or is neither a single number nor of its shape.
    """
    shapes = [parameter.shape for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".", 1)
        if int(number) >= len(shapes) or (tensor.ndim and tensor.shape != shapes[int(number)]):
            raise CheckpointError(
                f"the optimizer's {key} has shape {list(tensor.shape)}, which fits no parameter of that number; "
                "the training state belongs to a different model"
            )
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _half_cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
