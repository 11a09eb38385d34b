"""Sequence encoders: padded batches of vectors in, one vector a sequence out. One file an encoder."""

from seqcls.encoders.base import Encoder

__all__ = ["Encoder"]
