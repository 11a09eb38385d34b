"""Adam for lookup tables at the cost of the rows that a batch reads: the other rows wait until they are read again.

While a row is not read, its gradient is zero, and Adam moves it by what is left of its momentum. With m and v, Adam's
averages of the row's gradient and squared gradient after step s, learning rates η, decay rates β1 and β2, and ρ = β1 / √β2,
the steps s + 1 to t subtract from it (Kingma & Ba 2015, algorithm 1, with all gradients zero)

    m / (√v + ε) · Σ_{s < i <= t} η_i √(1 - β2^i) / (1 - β1^i) ρ^(i-s),

and leave m β1^(t-s) and v β2^(t-s). The sum is one number for all rows that wait since step s. So a row can make all its
moves at once, just before it is read, as in delayed regularization (Lipton & Elkan 2015). The result is that of Adam over
the whole table, but for rounding, and for ε, which counts as if √v stayed what it was. `torch.optim.SparseAdam` instead
leaves the momentum of waiting rows unused and their averages undecayed.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqcls.config.settings import FitConfig
from seqcls.model.tables import LookupTable
from seqcls.system.sparse import LOOKUPS, distinct, rows_of

# A table of fewer values, or of fewer rows per id that an update reads, is passed over as a whole in less time.
LARGE = 1 << 18
ROWS_PER_READ = 4
# Moves by less than this share of the first one are left out.
_NEGLIGIBLE = 1e-12
_PART = 1 << 18  # values that are moved at a time when all rows are
_FEW = 256


def choose_tables(model: nn.Module, fit: FitConfig, device: torch.device, *, reads: float) -> dict[str, nn.Parameter]:
    """Return the tables, by name, whose rows shall wait.

    These are the weights of ``nn.Embedding`` and ``nn.EmbeddingBag`` with ``sparse=True`` and, on a CPU, of `LookupTable`
    modules that are large enough. There are none where the moves of a waiting row have no simple sum: with the weight decay
    of "adam", which is part of the gradient; for β1² close to β2 or above it; and where weights are averaged.

    Args:
        model: The model.
        fit: The settings.
        device: Where the model is.
        reads: About how many ids each update reads.
    """
    beta1, beta2 = fit.betas
    is_coupled = fit.optimizer == "adam" and fit.weight_decay > 0
    if is_coupled or fit.ema_decay is not None or beta1 * beta1 >= 0.98 * beta2:
        return {}
    tables, owners = {}, [id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False)]
    for name, module in model.named_modules():
        if not isinstance(module, LOOKUPS) or not isinstance(module.weight, nn.Parameter):
            continue
        weight = module.weight
        is_large = weight.numel() >= LARGE and len(weight) >= ROWS_PER_READ * reads
        is_chosen = module.sparse or (isinstance(module, LookupTable) and device.type == "cpu" and is_large)
        if is_chosen and weight.requires_grad and owners.count(id(weight)) == 1:
            tables[f"{name}.weight".lstrip(".")] = weight
    return tables


class LazyTables:
    """The tables of a model whose rows wait; in training, rows make the moves that they missed before they are read.

    Args:
        model: The model; its modules are set to make sparse gradients for ``tables``, and for no other weights.
        tables: The tables by name, as `choose_tables` returns them.
        optimizer: Adam or AdamW over all of its parameters. It holds Adam's averages of the tables as well.
        fit: The settings.
    """

    def __init__(
        self,
        model: nn.Module,
        tables: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        fit: FitConfig,
    ) -> None:
        self._parameters, self._optimizer, self._fit = dict(model.named_parameters()), optimizer, fit
        self._tables = {name: _Table(weight, optimizer, fit) for name, weight in tables.items()}
        by_weight = {id(table.weight): table for table in self._tables.values()}
        for module in model.modules():
            if isinstance(module, LOOKUPS):
                table = by_weight.get(id(module.weight))
                module.sparse = table is not None
                if table is not None:
                    module.register_forward_pre_hook(_catching_up(table), with_kwargs=True)

    def step(self) -> None:
        """Update the rows that have a gradient, and take the gradients away: the optimizer's step is for all else."""
        for table in self._tables.values():
            table.step()

    def settle(self) -> None:
        """Let all rows make the moves that they missed."""
        for table in self._tables.values():
            table.settle()

    def settled(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a model's state dict with all rows where they will be once they are settled, which changes nothing here."""
        waiting = {name: table for name, table in self._tables.items() if table.is_waiting}
        return {**weights, **{name: table.settled() for name, table in waiting.items()}}

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint needs to go on where rows wait: none, if all are settled.

        Besides the weights as they are, "weights.NAME", these are the tensors "waiting.WHAT.NAME".
        """
        found: dict[str, Tensor] = {}
        for name, table in self._tables.items():
            if table.is_waiting:
                found[f"weights.{name}"] = table.weight.detach().cpu().clone()
                found |= {f"waiting.{what}.{name}": tensor for what, tensor in table.tensors().items()}
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Load what `tensors` returned as "waiting.WHAT.NAME", once weights and optimizer are restored.

        A table that is no longer lazy, as on another device, is settled at once.

        Args:
            tensors: By WHAT.NAME.

        Raises:
            ValueError: The tensors do not fit the model.
        """
        waiting: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            what, _, name = key.partition(".")
            waiting.setdefault(name, {})[what] = tensor
        if not waiting.keys() <= self._parameters.keys():
            raise ValueError(f"no table is called {', '.join(waiting.keys() - self._parameters.keys())}")
        for name, table in self._tables.items():
            table.restore(waiting.pop(name, {}))
        for name, found in waiting.items():
            table = _Table(self._parameters[name], self._optimizer, self._fit)
            table.restore(found)
            table.settle()


def _catching_up(table: _Table) -> Callable[..., None]:
    reference = weakref.ref(table)  # a copy of the model, which has this hook as well, needs no table

    def catch_up(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        table = reference()
        if table is not None and torch.is_grad_enabled():
            table.catch_up(args[0] if args else kwargs["input"])

    return catch_up


class _Table:
    """One table, and the moves that its rows have missed.

    Attributes:
        weight: float [R, D].
    """

    def __init__(self, weight: nn.Parameter, optimizer: torch.optim.Optimizer, fit: FitConfig) -> None:
        self.weight = weight
        self._optimizer = optimizer
        self._beta1, self._beta2 = fit.betas
        self._decay = fit.weight_decay
        rho = self._beta1 / math.sqrt(self._beta2)
        count = 1 if rho == 0 else math.ceil(math.log(_NEGLIGIBLE) / math.log(rho))
        self._powers = rho ** np.arange(count, 0, -1)
        self._step = 0
        self._forget()

    def _forget(self) -> None:
        """Start to collect missed moves: there are none."""
        self._settled_at = self._step
        self._steps = torch.full((len(self.weight),), self._step, device=self.weight.device)  # that each row has come to
        # For rows that have waited since so many steps after the settlement: the sum of the moves that they missed, without
        # m / (√v + ε), and the factor of weight decay.
        self._moves, self._shrinks = np.zeros(0), np.ones(0)
        self._make_room(_FEW)

    @property
    def is_waiting(self) -> bool:
        """Whether rows may have moves to make."""
        return self._step > self._settled_at

    def step(self) -> None:
        """Make a step of Adam with the rows that have a gradient, and take it away; the other rows wait."""
        if self.weight.grad is None:
            return
        rows, gradient = rows_of(self.weight.grad)
        self.weight.grad = None
        state = self._optimizer.state[self.weight]
        if not state:
            averages = {name: torch.zeros_like(self.weight, requires_grad=False) for name in ("exp_avg", "exp_avg_sq")}
            state.update(step=torch.zeros(()), **averages)
        self.catch_up(rows)  # those that only other processes have read
        lr = float(self._optimizer.param_groups[0]["lr"])
        self._step += 1
        state["step"].fill_(self._step)
        self._note_move(lr)
        self._update(rows, gradient, lr)

    @torch.no_grad()
    def _update(self, rows: Tensor, gradient: Tensor, lr: float) -> None:
        """Update rows [N] by their gradient [N, D] as Adam or AdamW does."""
        weight, average, square = (tensor.index_select(0, rows) for tensor in self._tensors)  # [N, D] each
        average.lerp_(gradient, 1 - self._beta1)
        square.mul_(self._beta2).addcmul_(gradient, gradient, value=1 - self._beta2)
        scale = _root(square).div_(math.sqrt(1 - self._beta2**self._step)).add_(self._eps)
        if self._decay:
            weight.mul_(1 - lr * self._decay)
        weight.addcdiv_(average, scale, value=-lr / (1 - self._beta1**self._step))
        self._put(rows, weight, average, square)

    def _note_move(self, lr: float) -> None:
        """Add the move of the step that begins to those that waiting rows have missed."""
        count = self._step - self._settled_at
        if count == len(self._moves):
            self._make_room(2 * count)
        if self._decay:
            self._moves[:count] *= 1 - lr * self._decay
            self._shrinks[:count] *= 1 - lr * self._decay
        recent = min(count, len(self._powers))
        move = lr * math.sqrt(1 - self._beta2**self._step) / (1 - self._beta1**self._step)
        self._moves[count - recent : count] += move * self._powers[-recent:]

    def _make_room(self, count: int) -> None:
        """Provide for rows that wait for fewer than ``count`` steps."""
        spare = count - len(self._moves)
        self._moves = np.concatenate([self._moves, np.zeros(spare)])
        self._shrinks = np.concatenate([self._shrinks, np.ones(spare)])
        # What is left of Adam's averages, by the number of steps that a row has waited.
        self._fades = [np.power(beta, np.arange(count), dtype=np.float64) for beta in (self._beta1, self._beta2)]

    @torch.no_grad()
    def catch_up(self, ids: Tensor) -> None:
        """Let rows make the moves that they missed; ``ids`` are integers, among which rows may repeat."""
        ids = ids.flatten()
        late = ids[self._steps[ids] < self._step]
        if len(late):
            rows = distinct(late, len(self.weight))
            moved = [tensor.index_select(0, rows) for tensor in self._tensors]
            self._move(*moved, steps=self._steps[rows])
            self._put(rows, *moved)

    @torch.no_grad()
    def settle(self) -> None:
        """Let all rows make the moves that they missed."""
        if self.is_waiting:
            for part in self._parts():
                self._move(*(tensor[part] for tensor in self._tensors), steps=self._steps[part])
            self._forget()

    @torch.no_grad()
    def settled(self) -> Tensor:
        """Return a copy of the weight in which all rows have made the moves that they missed."""
        moved: Tensor = self.weight.detach().clone()
        for part in self._parts():
            averages = (tensor[part].clone() for tensor in self._tensors[1:])
            self._move(moved[part], *averages, steps=self._steps[part])
        return moved

    def tensors(self) -> dict[str, Tensor]:
        """Return what `restore` needs, besides the weight and the optimizer's state, where rows wait."""
        count = self._step - self._settled_at + 1
        waited = {"moves": self._moves, "shrinks": self._shrinks}
        return {"steps": self._steps.cpu().clone()} | {what: torch.tensor(a[:count]) for what, a in waited.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up the state of the optimizer and, unless all rows are settled, what `tensors` returned."""
        self._step = int(self._optimizer.state[self.weight].get("step", 0))
        self._forget()
        if tensors:
            steps, moves, shrinks = (tensors[what] for what in ("steps", "moves", "shrinks"))
            first = self._step - len(moves) + 1
            if steps.shape != self._steps.shape or moves.shape != shrinks.shape or moves.ndim != 1 or first < 0:
                raise ValueError("the steps that rows of a table wait for are not those of this table")
            if steps.dtype != torch.int64 or bool(((steps < first) | (steps > self._step)).any()):
                raise ValueError("rows of a table wait for steps that were not made")
            self._settled_at = first
            self._steps.copy_(steps)
            self._moves, self._shrinks = moves.double().numpy(), shrinks.double().numpy()
            self._make_room(2 * len(moves))

    @property
    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        state = self._optimizer.state[self.weight]
        # .data: rows that autograd has read are not changed, so that it need not know of the others.
        return self.weight.data, state["exp_avg"], state["exp_avg_sq"]

    def _put(self, rows: Tensor, *values: Tensor) -> None:
        for tensor, rows_of_it in zip(self._tensors, values, strict=True):
            tensor.index_copy_(0, rows, rows_of_it)
        self._steps.index_fill_(0, rows, self._step)

    def _parts(self) -> Iterator[slice]:
        size = max(1, _PART // self.weight.shape[1])
        return (slice(start, start + size) for start in range(0, len(self.weight), size))

    def _move(self, weight: Tensor, average: Tensor, square: Tensor, *, steps: Tensor) -> None:
        """Move rows [N, D] in place from the steps that they have come to, int64 [N], to the current one.

        Only operations that are rounded exactly: a row gets the same bits in each process, whatever other rows are there.
        """
        slots, gaps = steps - self._settled_at, self._step - steps
        if self._decay:
            weight.mul_(_take(self._shrinks, slots, weight))
        eps = self._eps * math.sqrt(1 - self._beta2**self._step)
        weight.sub_(average.div(_root(square).add_(eps)).mul_(_take(self._moves, slots, weight)))
        average.mul_(_take(self._fades[0], gaps, weight))
        square.mul_(_take(self._fades[1], gaps, weight))

    @property
    def _eps(self) -> float:
        return float(self._optimizer.param_groups[0]["eps"])


def _root(values: Tensor) -> Tensor:
    if values.device.type != "cpu":
        return values.sqrt()
    # PyTorch wakes all threads for a few thousand roots: where other programs keep the cores busy, this takes longer than
    # the rest of a step.
    return torch.from_numpy(np.sqrt(values.numpy()))


def _take(values: NDArray[np.float64], slots: Tensor, like: Tensor) -> Tensor:
    """Return the values at slots [N] as [N, 1]."""
    found = torch.from_numpy(values).to(like.device).index_select(0, slots)
    return found.to(like.dtype).unsqueeze(1)
