"""The peer: the tutorial's network and loop in plain PyTorch, on reviews padded to one length."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqcls.sequences import Sequences


class PlainBiLSTM(nn.Module):
    """Two bidirectional layers, a projection of every step, the mean over all steps, padding included."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 128)
        self.lstm = nn.LSTM(128, 128, num_layers=2, dropout=0.2, bidirectional=True, batch_first=True)
        self.projection = nn.Linear(256, 128)
        self.head = nn.Linear(128, 2)
        self.dropout = nn.Dropout(0.2)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits [B, 2] of ids [B, T]."""
        states, _ = self.lstm(self.dropout(self.embedding(inputs)))
        return self.head(F.relu(self.projection(states)).mean(dim=1))


def pad(sequences: Sequences, length: int) -> tuple[Tensor, Tensor]:
    """Return ids int64 [N, length] and labels int64 [N]."""
    inputs = torch.zeros(len(sequences), length, dtype=torch.int64)
    for row, ids in enumerate(sequences):
        inputs[row, : len(ids)] = torch.from_numpy(ids[:length].astype("int64"))
    assert sequences.labels is not None
    return inputs, torch.from_numpy(sequences.labels.copy())


def training_speed(sequences: Sequences, *, steps: int, vocab_size: int, length: int = 200) -> float:
    """Train for ``steps`` batches of 64 and return reviews a second; the first five steps are not counted."""
    inputs, labels = pad(sequences, length)
    model = PlainBiLSTM(vocab_size).train()
    optimizer = torch.optim.Adam(model.parameters())
    order = torch.randperm(len(inputs))
    started = 0.0
    for step in range(steps + 5):
        if step == 5:
            started = time.perf_counter()
        chosen = order[step * 64 : (step + 1) * 64]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs[chosen]), labels[chosen])
        loss.backward()
        optimizer.step()
        loss.item()
    return 64 * steps / (time.perf_counter() - started)


def evaluation_speed(sequences: Sequences, *, vocab_size: int, length: int = 200) -> float:
    """Evaluate in batches of 200 and return reviews a second."""
    inputs, labels = pad(sequences, length)
    model = PlainBiLSTM(vocab_size).eval()
    correct = 0
    with torch.no_grad():
        model(inputs[:200])
        started = time.perf_counter()
        for start in range(0, len(inputs), 200):
            logits = model(inputs[start : start + 200])
            correct += int((logits.argmax(dim=1) == labels[start : start + 200]).sum())
    return len(inputs) / (time.perf_counter() - started)
