"""Conformance tests for plugins, and the templates that start one. Public: `check_encoder` and `check_dataset`."""

from seqcls.testing.dataset_laws import check_dataset
from seqcls.testing.encoder_laws import check_encoder

__all__ = ["check_dataset", "check_encoder"]
