"""Data sets: named sources of labelled sequences. One file a data set; the base class is `seqcls.Dataset`."""
