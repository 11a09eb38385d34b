"""A network is built without memory first, so that its size is known before it is allocated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from toy import toy_splits

from seqcls import Classifier, Trainer, load_recipe
from seqcls.storage.model_directory import load_model_directory

ENCODERS = [
    *("numpy-simple-rnn", "torch-rnn", "lstm", "gru", "min-gru", "mean-pool", "cnn", "transformer", "bilstm"),
    "bilstm-mean-pool",
]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_is_built_without_memory_first(encoder: str, tmp_path: Path) -> None:
    options = {"hidden_size": 16} if encoder == "transformer" else {}
    base = load_recipe("default", encoder=encoder).updated({"model": {"encoder_options": options}}, source="test")
    changes = {"fit": {"epochs": 1, "device": "cpu"}, "model": {"embedding_size": 8}, "data": {"vocab_size": 100}}
    result = Trainer(
        None, toy_splits(), config=base.updated(changes, source="test"), callbacks=[], output=tmp_path / "run"
    ).fit()
    assert result.model_dir is not None
    saved = load_model_directory(result.model_dir)
    state = torch.get_rng_state()
    saved._check_size(None)
    assert torch.equal(torch.get_rng_state(), state)
    texts = ["superb film", "awful meal", ""]
    assert np.isfinite(Classifier(saved, device="cpu").predict_proba(texts)).all()
