"""Data sets: named sources of labelled sequences. One file a data set."""

from seqcls.datasets.base import Dataset, Split, Splits

__all__ = ["Dataset", "Split", "Splits"]
