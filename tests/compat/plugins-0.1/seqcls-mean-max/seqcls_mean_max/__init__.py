"""Plugins for seqcls: the encoder `mean-max` and the data set `tab-separated`."""
