"""The examples in the docstrings of encoders, embeddings, and what encoders are built from."""

from __future__ import annotations

import doctest
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from seqcls import Encoder, Pool, length_mask, registry

ENCODERS = map(registry.encoders.get, registry.encoders.builtins)
EMBEDDINGS = map(registry.embeddings.get, ["word", "ngram-hash", "features"])
DOCUMENTED = [*ENCODERS, *EMBEDDINGS, Encoder, Pool, length_mask]


@pytest.mark.parametrize("documented", DOCUMENTED, ids=lambda documented: documented.__name__)
def test_an_example_gives_what_it_shows(documented: Any) -> None:
    names = {**vars(sys.modules[documented.__module__]), "torch": torch, "Tensor": Tensor, "Pool": Pool}
    examples = doctest.DocTestFinder(recurse=False).find(documented, documented.__name__, globs=names)
    assert any(test.examples for test in examples)
    runner = doctest.DocTestRunner()
    for test in examples:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
