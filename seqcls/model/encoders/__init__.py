"""Sequence encoders: padded batches of vectors in, one vector a sequence out. One file an encoder.

The base class is `seqcls.Encoder`; it is not imported here, so that the NumPy arithmetic loads without torch.
"""
