"""Sparse gradients of tables, float [R, D]: which rows they have, and the values of those rows, float [N, D]."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

LOOKUPS = (nn.Embedding, nn.EmbeddingBag)
_FEW_PER_ID = 64  # rows of a table, per id, up to which a pass over all of them takes less time than sorting the ids


def sparse_tables(model: nn.Module) -> list[Tensor]:
    """Return the weights whose gradients are sparse: those of lookups with ``sparse=True``."""
    lookups = (module for module in model.modules() if isinstance(module, LOOKUPS) and module.sparse)
    return [lookup.weight for lookup in lookups if lookup.weight.requires_grad]


def distinct(ids: Tensor, count: int) -> Tensor:
    """Return the different ids, int64 [U], in ascending order, of ids [N] below ``count``."""
    if ids.device.type != "cpu" or count > _FEW_PER_ID * len(ids):
        found: Tensor = ids.unique()
        return found.long()
    is_there = np.zeros(count, dtype=np.bool_)  # faster than sorting
    is_there[ids.numpy()] = True
    rows: Tensor = torch.from_numpy(np.flatnonzero(is_there))
    return rows


def rows_of(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of a gradient, int64 [U], ascending and all different, and their values [U, D].

    Values of a row that occurs several times are added up in the order in which they are there, so that sums of sums are
    the same bits, as a resumed run needs; ``Tensor.coalesce`` promises no order. A dense gradient has all rows.
    """
    if not gradient.is_sparse:
        return torch.arange(len(gradient), device=gradient.device), gradient
    if gradient.is_coalesced():
        return gradient.indices()[0], gradient.values()
    ids, values = gradient._indices()[0], gradient._values()
    rows = distinct(ids, len(gradient))
    place = _places(ids, rows, len(gradient))
    return rows, torch.ops.aten.embedding_dense_backward(values, place, len(rows), -1, False)


def coalesced(gradient: Tensor) -> Tensor:
    """Return a sparse gradient in which each row occurs once; see `rows_of`."""
    return gradient if gradient.is_coalesced() else _known(*rows_of(gradient), gradient)


def from_rows(rows: Tensor, values: Tensor, like: Tensor) -> Tensor:
    """Return a sparse gradient for the table ``like`` from what `rows_of` returned, for one or several processes.

    Raises:
        RuntimeError: The rows or values do not fit the table.
    """
    return coalesced(torch.sparse_coo_tensor(rows.unsqueeze(0), values, like.shape, check_invariants=True))


def values_of(gradient: Tensor) -> Tensor:
    """Return the values of a dense gradient, or those of the rows of a coalesced one; they share its memory."""
    return gradient.values() if gradient.is_sparse else gradient


def _known(rows: Tensor, values: Tensor, like: Tensor) -> Tensor:
    return torch.sparse_coo_tensor(rows.unsqueeze(0), values, like.shape, is_coalesced=True, check_invariants=False)


def _places(ids: Tensor, rows: Tensor, count: int) -> Tensor:
    """Return the places of ids [N] among rows [U], which are ascending and below ``count``."""
    if count > _FEW_PER_ID * len(ids):
        # NumPy wakes no other thread for it.
        is_here = ids.device.type == "cpu"
        return torch.from_numpy(np.searchsorted(rows.numpy(), ids.numpy())) if is_here else torch.searchsorted(rows, ids)
    places = torch.empty(count, dtype=torch.int64, device=rows.device)
    places[rows] = torch.arange(len(rows), device=rows.device)
    return places[ids]
