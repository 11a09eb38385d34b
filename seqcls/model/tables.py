"""Tables that are read by lookups alone."""

from __future__ import annotations

from torch import nn


class LookupTable(nn.Embedding):
    """An ``nn.Embedding`` whose weight is read by calling it, and in no other way.

    Training on a CPU then updates only the rows that a batch reads, where the table is large; see `training.lazy_tables`.
    """
