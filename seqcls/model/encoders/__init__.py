"""Sequence encoders: padded batches of vectors in, one vector per sequence out. One file per encoder.

The base class is `seqcls.Encoder`; it is not imported here, so that the NumPy arithmetic loads without torch.
"""
