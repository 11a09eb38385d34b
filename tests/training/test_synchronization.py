"""No training step waits for the device: it needs no value that is there, and sends none over in a way that waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from toy import toy_splits

from seqcls import Trainer, load_recipe, registry
from seqcls.config.settings import FitConfig, ModelConfig
from seqcls.data import resident
from seqcls.data.encoding import EncodedData
from seqcls.data.sequences import Sequences
from seqcls.data.tokenizer import TextTokenizer
from seqcls.evaluation.scores import RunningScore
from seqcls.model.build import build_model
from seqcls.training.callbacks.base import Callback
from seqcls.training.objective import Objective
from seqcls.training.state import FitState

META = torch.device("meta")
ENCODERS = [
    info.name for info in registry.encoders.plugins() if info.name not in ("linear", "numpy-simple-rnn")
]  # no steps; CPU alone
POOLINGS = ["last", "mean", "max", "mean+max", "attention"]
NOISE = {"dropout": 0.5, "variational": True, "weight_dropout": 0.5, "num_layers": 2, "bidirectional": True}
CASES: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in ENCODERS]
CASES += [("lstm", {"pooling": pooling, **NOISE}) for pooling in POOLINGS]


class NoWaiting(TorchDispatchMode):
    """Refuses copies from the CPU to the device that wait; to read a value of ``meta`` fails by itself."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and (args[0].device, result.device) == (torch.device("cpu"), META):
            assert kwargs.get("non_blocking"), "a copy that waits"
        return result


def _objective(labels: Tensor) -> Objective:
    """Return the loss of training with everything that it may hold, for three examples with such labels."""
    train = replace(Sequences.from_list([[2]] * 3, labels=np.zeros(labels.shape, labels.numpy().dtype)), weights=np.ones(3))
    data = EncodedData(TextTokenizer.fit(["a"], vocab_size=3), {"train": train}, ("a", "b", "c"))
    return Objective(FitConfig(class_weights="balanced", label_smoothing=0.1), data, META)


def _step(
    model: torch.nn.Module, inputs: Tensor, lengths: Tensor, labels: Tensor, running: RunningScore, objective: Objective
) -> None:
    indices = np.arange(3)
    logits = model(inputs, lengths)
    losses = objective.losses(logits.float(), labels)
    objective.share(losses, indices, objective.total_weight(indices)).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    running.update(logits, labels, losses.sum())


@pytest.mark.parametrize(("encoder", "options"), CASES)
def test_a_step_needs_no_value_of_the_device(encoder: str, options: dict[str, Any]) -> None:
    config = ModelConfig(encoder=encoder, encoder_options=options, word_dropout=0.1, output_dropout=0.1)
    model = build_model(config, vocab_size=20, num_classes=3).to(META).train()
    inputs = torch.empty(3, 5, dtype=torch.int64, device=META)
    running = RunningScore(META)
    for labels in (torch.zeros(3, dtype=torch.int64), torch.zeros(3, 3, dtype=torch.uint8)):
        objective, on_device = _objective(labels), labels.to(META)
        with NoWaiting():
            _step(model, inputs, torch.tensor([5, 1, 2]), on_device, running, objective)


def test_what_waits_would_be_seen() -> None:
    with NoWaiting():
        with pytest.raises(AssertionError, match="a copy that waits"):
            torch.ones(2).to(META)
        with pytest.raises((RuntimeError, NotImplementedError)):
            torch.ones(2, device=META).sum().item()


class _Strict(Callback):
    """Lets PyTorch refuse whatever waits, after the first look at the losses and before the second."""

    def on_step_end(self, state: FitState) -> None:
        if state.step in (2, 15):
            torch.cuda.set_sync_debug_mode("error" if state.step == 2 else "default")

    def close(self) -> None:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize(("encoder", "share"), [(name, resident.SHARE) for name in ENCODERS] + [("lstm", 0.0)])
def test_the_steps_of_a_run_do_not_wait_for_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str, share: float
) -> None:
    monkeypatch.setattr(resident, "SHARE", share)  # with none, batches are sent one by one
    noise = {"word_dropout": 0.1, "embedding_dropout": 0.1, "output_dropout": 0.1}
    changes = {
        "fit": {"device": "cuda", "epochs": 1, "batch_size": 8, "ema_decay": 0.9, "label_smoothing": 0.1},
        "model": noise,
    }
    config = load_recipe("default", encoder=encoder).updated(changes, source="test")
    splits = toy_splits(160)
    weighted = replace(splits, train=replace(splits.train, weights=np.arange(160) % 3))
    Trainer(None, weighted, config=config, callbacks=[_Strict()], output=tmp_path / "run").fit()
