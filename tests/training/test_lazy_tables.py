"""Tables whose rows wait: the same numbers as Adam over all rows, whatever the run does meanwhile."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import Log, assert_same_end, in_process, train
from torch import Tensor, nn
from toy import toy_config, toy_splits

from seqcls import Trainer
from seqcls.config.settings import FitConfig
from seqcls.errors import NonFiniteError
from seqcls.model.tables import LookupTable
from seqcls.storage.model_directory import load_model_directory
from seqcls.storage.run_directory import RunDirectory
from seqcls.storage.snapshot import load_training
from seqcls.system.sparse import from_rows, rows_of
from seqcls.training import lazy_tables as lazy_tables_module
from seqcls.training.finite import explain_gradient
from seqcls.training.lazy_tables import LARGE, LazyTables, choose_tables
from seqcls.training.optimizer import build_optimizer, clip_gradients, optimizer_tensors, restore_optimizer

CPU = torch.device("cpu")
ROWS, SIZE = 60, 3


class Learner:
    """A table that is trained, by rows or whole, on ids that are given."""

    def __init__(self, *, sparse: bool, dtype: torch.dtype = torch.float64, eps: float = 1e-14, **fit: Any) -> None:
        generator = torch.Generator().manual_seed(0)
        self.table = nn.Embedding(ROWS, SIZE, sparse=sparse).to(dtype)
        self.table.weight.data = torch.randn(ROWS, SIZE, generator=generator, dtype=dtype)
        self.fit = FitConfig.model_validate({"lr": 0.01, **fit})
        tables = choose_tables(self.table, self.fit, CPU, reads=1)
        self.optimizer = build_optimizer(self.table, self.fit, CPU, tables=tables.values())
        self.optimizer.param_groups[0]["eps"] = eps
        self.tables = LazyTables(self.table, tables, self.optimizer, self.fit)

    def loss(self, ids: Tensor) -> Tensor:
        # Linear: gradients that depend on weights would turn rounding into chaos once they vanish.
        generator = torch.Generator().manual_seed(int(ids.sum()))
        return (self.table(ids) * torch.randn(len(ids), SIZE, generator=generator, dtype=self.table.weight.dtype)).sum()

    def train(self, ids: Iterator[Tensor] | list[Tensor]) -> Tensor:
        for step, some in enumerate(ids):
            self.optimizer.param_groups[0]["lr"] = 0.01 * (1 + step % 5)
            self.loss(some).backward()
            self.tables.step()
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.tables.settle()
        return self.table.weight.detach().clone()


def _rare_and_frequent(steps: int, *, count: int = 5, seed: int = 1) -> list[Tensor]:
    """Ids that repeat within and between steps; of the rows with high numbers, many wait for a hundred steps or for ever."""
    generator = torch.Generator().manual_seed(seed)
    return [(torch.rand(count, generator=generator) ** 3 * ROWS).long() for _ in range(steps)]


@pytest.mark.parametrize("betas", [(0.9, 0.98), (0.9, 0.999), (0.0, 0.9)], ids=str)
@pytest.mark.parametrize(("optimizer", "weight_decay"), [("adam", 0.0), ("adamw", 0.0), ("adamw", 0.3)])
def test_rows_that_wait_end_where_adam_over_all_rows_takes_them(
    optimizer: str, weight_decay: float, betas: tuple[float, float]
) -> None:
    settings = {"optimizer": optimizer, "weight_decay": weight_decay, "betas": betas}
    lazy, dense = (Learner(sparse=sparse, **settings) for sparse in (True, False))
    ids = _rare_and_frequent(700)  # more steps than there is room for at first
    torch.testing.assert_close(lazy.train(ids), dense.train(ids), rtol=0, atol=1e-9)
    for name, tensor in optimizer_tensors(dense.optimizer).items():
        torch.testing.assert_close(optimizer_tensors(lazy.optimizer)[name], tensor, rtol=1e-6, atol=1e-12)


def test_in_single_precision_and_with_the_usual_epsilon_rows_end_nearby() -> None:
    lazy, dense = (Learner(sparse=sparse, dtype=torch.float32, eps=1e-8) for sparse in (True, False))
    ids = _rare_and_frequent(300)
    torch.testing.assert_close(lazy.train(ids), dense.train(ids), rtol=0, atol=1e-5)


def test_a_table_that_every_step_reads_whole_is_that_of_dense_adam() -> None:
    lazy, dense = (Learner(sparse=sparse, dtype=torch.float32) for sparse in (True, False))
    ids = [torch.randperm(ROWS, generator=torch.Generator().manual_seed(step)) for step in range(100)]
    torch.testing.assert_close(lazy.train(ids), dense.train(ids), rtol=0, atol=1e-6)


def test_rows_that_every_step_reads_are_those_of_sparse_adam() -> None:
    ids = [torch.tensor([3, 7, 7, 1])] * 50
    learner = Learner(sparse=True, betas=(0.9, 0.98))
    other = Learner(sparse=True, betas=(0.9, 0.98))
    optimizer = torch.optim.SparseAdam([other.table.weight], betas=(0.9, 0.98))
    for step, some in enumerate(ids):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 + step % 5)
        other.loss(some).backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.testing.assert_close(learner.train(ids), other.table.weight.detach(), rtol=0, atol=1e-6)


def test_rows_read_twice_in_a_step_or_without_the_module_count_as_in_dense_adam() -> None:
    ends = []
    for sparse in (True, False):
        learner = Learner(sparse=sparse)
        for some in _rare_and_frequent(40):
            loss = (learner.table(some) - 1).square().sum() + (learner.table(some.flip(0)[:2]) + 1).square().sum()
            loss.backward()
            learner.train([some])  # adds to the gradient before the step
        learner.tables.settle()
        learner.table.weight.sum().backward()  # every row has a gradient
        learner.tables.step()
        learner.optimizer.step()
        ends.append(learner.table.weight.detach().clone())
    torch.testing.assert_close(*ends, rtol=0, atol=1e-6)


def test_settling_in_between_changes_no_more_than_rounding() -> None:
    often, once = Learner(sparse=True), Learner(sparse=True)
    ids = _rare_and_frequent(90)
    for start in range(0, 90, 5):  # a multiple of the period of the learning rate
        often.train(ids[start : start + 5])
    torch.testing.assert_close(often.table.weight.detach(), once.train(ids), rtol=0, atol=1e-9)


def test_settled_weights_are_those_after_settling() -> None:
    learner = Learner(sparse=True)
    learner.train(_rare_and_frequent(20))
    before = [tensor.clone() for tensor in learner.tables.settled(learner.table.state_dict()).values()]
    learner.table(torch.tensor([0])).sum().backward()
    learner.tables.step()
    waiting = copy.deepcopy(learner.table.state_dict())
    settled = learner.tables.settled(learner.table.state_dict())
    assert torch.equal(learner.table.weight, waiting["weight"])  # nothing has moved
    assert not torch.equal(settled["weight"], waiting["weight"])
    learner.tables.settle()
    assert torch.equal(settled["weight"], learner.table.weight)
    assert not torch.equal(before[0], settled["weight"])


def _waiting(tables: LazyTables) -> dict[str, Tensor]:
    return {key.removeprefix("waiting."): value for key, value in tables.tensors().items() if key.startswith("waiting.")}


@pytest.mark.parametrize("sparse", [True, False])
def test_a_restored_table_goes_on_where_it_was(sparse: bool) -> None:
    ids, settings = _rare_and_frequent(60), {"optimizer": "adamw", "weight_decay": 0.1}
    whole = Learner(sparse=True, **settings)
    for step, some in enumerate(ids[:30]):  # without settling
        whole.optimizer.param_groups[0]["lr"] = 0.01 * (1 + step % 5)
        whole.loss(some).backward()
        whole.tables.step()
    saved, state, waiting = (
        copy.deepcopy(whole.table.state_dict()),
        optimizer_tensors(whole.optimizer),
        _waiting(whole.tables),
    )
    expected = whole.train(ids[30:])

    rest = Learner(sparse=sparse, **settings)
    rest.table.load_state_dict(saved)
    restore_optimizer(rest.optimizer, state)
    rest.tables.restore(waiting)
    found = rest.train(ids[30:])
    if sparse:
        assert torch.equal(found, expected)
    else:  # as on another device: the rows were settled when they were restored
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


def test_a_run_of_dense_updates_goes_on_with_lazy_ones() -> None:
    ids = _rare_and_frequent(60)
    dense = Learner(sparse=False)
    dense.train(ids[:30])
    lazy = Learner(sparse=True)
    lazy.table.load_state_dict(copy.deepcopy(dense.table.state_dict()))
    restore_optimizer(lazy.optimizer, optimizer_tensors(dense.optimizer))
    lazy.tables.restore({})
    torch.testing.assert_close(lazy.train(ids[30:]), dense.train(ids[30:]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"steps.weight": torch.zeros(ROWS - 1, dtype=torch.int64)},
        {"steps.weight": torch.full((ROWS,), 99)},
        {"steps.weight": torch.full((ROWS,), -1)},
        {"steps.weight": torch.zeros(ROWS)},
        {"moves.weight": torch.zeros(2, 2)},
        {"moves.weight": torch.zeros(50), "shrinks.weight": torch.ones(50)},
        {"shrinks.weight": torch.ones(1)},
        {"steps.other": torch.zeros(ROWS, dtype=torch.int64)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_waiting_rows_of_another_table_are_refused(change: dict[str, Tensor]) -> None:
    learner = Learner(sparse=True)
    learner.table(torch.tensor([1])).sum().backward()
    learner.tables.step()
    waiting = _waiting(learner.tables)
    assert set(waiting) == {"steps.weight", "moves.weight", "shrinks.weight"}
    with pytest.raises(ValueError, match="table"):
        learner.tables.restore(waiting | change)


def _chosen(model: nn.Module, *, reads: float = 1, device: torch.device = CPU, **fit: Any) -> set[str]:
    return set(choose_tables(model, FitConfig.model_validate(fit), device, reads=reads))


def test_tables_are_chosen_where_waiting_is_exact_and_pays() -> None:
    model = nn.ModuleDict(
        {
            "ours": LookupTable(LARGE // 8, 8),
            "small": LookupTable(LARGE // 8 - 1, 8),
            "plain": nn.Embedding(LARGE // 8, 8),
            "sparse": nn.Embedding(5, 2, sparse=True),
            "bag": nn.EmbeddingBag(5, 2, mode="sum", sparse=True),
            "frozen": nn.Embedding(5, 2, sparse=True).requires_grad_(False),
            "shared": nn.Embedding(5, 2, sparse=True),
            "linear": nn.Linear(2, 5, bias=False),
        }
    )
    model["linear"].weight = model["shared"].weight
    always = {"sparse.weight", "bag.weight"}
    assert _chosen(model) == always | {"ours.weight"}
    assert _chosen(model, reads=LARGE // 8) == always  # most rows are read anyway
    assert _chosen(model, device=torch.device("cuda")) == always
    assert _chosen(model, optimizer="adamw", weight_decay=0.1) == always | {"ours.weight"}
    for settings in ({"weight_decay": 0.1}, {"ema_decay": 0.9}, {"betas": (0.9, 0.8)}, {"betas": (0.0, 0.0)}):
        assert _chosen(model, **settings) == set()


def test_modules_whose_tables_are_not_chosen_have_dense_gradients() -> None:
    bag = nn.EmbeddingBag(5, 2, mode="sum", sparse=True)
    fit = FitConfig(lr=0.01, weight_decay=0.1)
    optimizer = build_optimizer(bag, fit, CPU)
    LazyTables(bag, choose_tables(bag, fit, CPU, reads=1), optimizer, fit)
    bag(torch.tensor([[1, 2]])).sum().backward()
    optimizer.step()  # which refuses sparse gradients
    assert bag.weight.grad is not None
    assert not bag.weight.grad.is_sparse


def _gradients(*, sparse: bool) -> nn.ModuleList:
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Embedding(20, 4, sparse=sparse), nn.Linear(4, 2)])
    model[1](model[0](torch.tensor([3, 3, 9, 3]))).square().sum().backward()
    return model


@pytest.mark.parametrize("limit", [0.1, 1e9])
def test_the_norm_of_sparse_gradients_is_that_of_dense_ones(limit: float) -> None:
    models = [_gradients(sparse=sparse) for sparse in (True, False)]
    norms = [clip_gradients(model, limit) for model in models]
    torch.testing.assert_close(*norms)
    for one, other in zip(*(list(model.parameters()) for model in models), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad.to_dense(), other.grad)


def test_a_sparse_gradient_that_is_not_finite_is_named() -> None:
    model = _gradients(sparse=True)
    assert model[0].weight.grad is not None
    rows, values = rows_of(model[0].weight.grad)
    assert rows.tolist() == [3, 9]
    model[0].weight.grad = from_rows(rows, values / 0, model[0].weight)
    error = explain_gradient(1, [0], model)
    assert isinstance(error, NonFiniteError)
    assert "0.weight" in str(error)


# Runs. The words and bigrams of the toy are few, and the table of bigrams is large: its rows wait.
BIGRAMS = {
    "encoder": "mean-pool",
    "embedding": "ngram-hash",
    "embedding_options": {"buckets": LARGE // 8},
    "encoder_options": {},
}
FIT = {"epochs": 2, "batch_size": 4, "accumulate_batches": 3, "eval_every_steps": 4, "lr": 0.02}


def _config(**fit: Any) -> dict[str, Any]:
    config = toy_config(**FIT, **fit).model_dump()
    config["model"] |= BIGRAMS
    return config


def test_a_run_is_that_of_dense_updates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for name, large in (("lazy", LARGE), ("dense", LARGE * 100)):
        monkeypatch.setattr(lazy_tables_module, "LARGE", large)
        config = toy_config(**FIT).updated({"model": BIGRAMS}, source="test").replace(encoder_options={})
        trainer = Trainer(toy_splits(), config=config, callbacks=[], output=tmp_path / name)
        assert trainer.fit().validation is not None
        results.append(load_model_directory(tmp_path / name / "model").weights)
    assert results[0].keys() == results[1].keys()
    for name, tensor in results[0].items():
        torch.testing.assert_close(tensor, results[1][name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_a_run_is_resumed_to_the_same_bits(tmp_path: Path, optimizer: str) -> None:
    config = _config(optimizer=optimizer, weight_decay=0.1 if optimizer == "adamw" else 0.0)
    whole, _ = in_process(train, str(tmp_path / "whole"), config)
    steps = []
    # Within a step, between evaluations, in one and after one.
    for place in ("batch 2", "step 2", "batch 4", "evaluating 1", "step 1", "evaluation 1", None):
        done, _ = in_process(train, str(tmp_path / "cut"), config, place)
        steps += done
    assert steps == whole
    assert_same_end(tmp_path / "whole", tmp_path / "cut")


def test_a_checkpoint_within_an_epoch_has_every_row_up_to_date(tmp_path: Path) -> None:
    in_process(train, str(tmp_path / "run"), _config(), "step 3")
    last = RunDirectory(tmp_path / "run").checkpoints.pointed("last")
    assert last is not None
    training, saved = load_training(last), load_model_directory(last).weights
    waiting = training.named("weights.")
    assert waiting.keys() == {"embedding.ngram_table.weight"}
    (name,) = waiting
    rows = (training.tensors[f"waiting.steps.{name}"] < 3) & training.tensors["optimizer.1.exp_avg"].any(dim=1)
    assert rows.any()
    assert not torch.equal(waiting[name][rows], saved[name][rows])
    assert torch.equal(waiting[name][~rows], saved[name][~rows])
    assert Log().steps == []
