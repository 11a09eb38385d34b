from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqcls.data.batches import Batch, collate, evaluation_order, split_batch, training_order
from seqcls.data.sequences import Sequences


@given(
    count=st.integers(1, 300),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 9),
    epoch=st.integers(0, 9),
    bucket=st.booleans(),
)
def test_an_epoch_holds_every_example_once(count: int, batch_size: int, seed: int, epoch: int, bucket: bool) -> None:
    lengths = np.random.default_rng(0).integers(1, 50, count)
    order = training_order(lengths, batch_size=batch_size, seed=seed, epoch=epoch, bucket=bucket)
    assert sorted(np.concatenate(order).tolist()) == list(range(count))
    assert sum(len(batch) < batch_size for batch in order) <= 1
    again = training_order(lengths, batch_size=batch_size, seed=seed, epoch=epoch, bucket=bucket)
    assert all(np.array_equal(one, other) for one, other in zip(order, again, strict=True))


def test_the_order_is_the_same_on_every_machine() -> None:
    # Six sequences sorted by length are 1 2 | 0 4 | 3 5; the order of the three batches is NumPy's, whose stream under one
    # seed is stable. A resumed run depends on it.
    order = training_order(np.array([3, 1, 2, 5, 4, 6]), batch_size=2, seed=7, epoch=1)
    assert [batch.tolist() for batch in order] == [[3, 5], [1, 2], [0, 4]]


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}])
def test_another_seed_or_epoch_gives_another_order(other: dict[str, int]) -> None:
    lengths = np.arange(1, 101)
    orders = [
        training_order(lengths, batch_size=10, **settings)
        for settings in ({"seed": 0, "epoch": 0}, {"seed": 0, "epoch": 0} | other)
    ]
    assert [batch.tolist() for batch in orders[0]] != [batch.tolist() for batch in orders[1]]


def test_buckets_hold_much_less_padding() -> None:
    lengths = np.random.default_rng(0).integers(10, 400, 6400)

    def padding(bucket: bool) -> float:
        order = training_order(lengths, batch_size=64, seed=0, epoch=0, bucket=bucket)
        padded = sum(len(batch) * lengths[batch].max() for batch in order)
        return padded / lengths.sum() - 1

    assert padding(bucket=True) < 0.05 < 0.5 < padding(bucket=False)


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=80), batch_size=st.integers(1, 16), limit=st.integers(1, 200)
)
def test_evaluation_batches_are_sorted_whole_and_bounded(lengths: list[int], batch_size: int, limit: int) -> None:
    sizes = np.array(lengths)
    order = evaluation_order(sizes, batch_size=batch_size, max_tokens=limit)
    assert sorted(np.concatenate(order).tolist()) == list(range(len(lengths)))
    assert np.all(np.diff(sizes[np.concatenate(order)]) <= 0)
    for batch in order:
        assert len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * sizes[batch].max() <= limit


def test_a_batch_is_padded_with_zeros_to_its_longest_sequence() -> None:
    sequences = Sequences.from_list([[5, 6], [7], [8, 9, 10]], labels=[1, 0, 1])
    batch = collate(sequences, np.array([1, 0]))
    assert batch.inputs.tolist() == [[7, 0], [5, 6]]
    assert batch.inputs.dtype == torch.int64
    assert batch.lengths.tolist() == [1, 2]
    assert batch.labels is not None
    assert batch.labels.tolist() == [0, 1]
    assert batch.to(torch.device("meta")).lengths.device.type == "cpu"


def test_a_batch_is_cut_into_parts_without_their_padding() -> None:
    lengths = torch.tensor([5, 3, 2, 1, 1])
    batch = Batch(torch.arange(25).view(5, 5), lengths, torch.arange(5), np.arange(10, 15))
    parts = split_batch(batch, 2)
    assert [part.inputs.shape for part in parts] == [(3, 5), (2, 1)]
    assert torch.equal(torch.cat([part.labels for part in parts if part.labels is not None]), torch.arange(5))
    assert np.concatenate([part.indices for part in parts]).tolist() == [10, 11, 12, 13, 14]
    assert len(split_batch(batch, 8)) == 5
