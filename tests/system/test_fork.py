"""Processes that are forked after a prediction, as servers and multiprocessing do, predict too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy import toy_splits

from seqcls import Trainer

CODE = """
import multiprocessing, os, signal, sys
import numpy as np, torch
from seqcls import Classifier

torch.set_num_threads(2)
classifier = Classifier.from_pretrained(sys.argv[1], device="cpu")
texts = [f"a superb room number {number}, and an awful meal " * 10 for number in range(256)]
expected = classifier.predict_proba(texts)  # starts OpenMP's threads

def child():
    signal.alarm(120)  # a child that waits for threads that are not there is ended
    return classifier.predict_proba(texts)

with multiprocessing.get_context("fork").Pool(2) as pool:
    for found in (result.get(150) for result in [pool.apply_async(child) for _ in range(2)]):
        np.testing.assert_allclose(found, expected, atol=1e-5)
assert torch.get_num_threads() == 2  # the parent keeps its own
np.testing.assert_allclose(classifier.predict_proba(texts), expected, atol=1e-5)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("encoder", ["lstm", "bilstm", "cnn", "mean-pool"])
def test_children_predict_after_their_parent_did(tmp_path: Path, encoder: str) -> None:
    Trainer(toy_splits(), encoder=encoder, epochs=1, device="cpu", callbacks=[], output=tmp_path / "run").fit()
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "run")], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
