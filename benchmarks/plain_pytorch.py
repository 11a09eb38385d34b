"""The peer: the tutorial's network and loop in plain PyTorch, on reviews padded to one length. Needs PyTorch alone.

python benchmarks/plain_pytorch.py REVIEWS.npz STEPS DEVICE BATCH_SIZE prints one JSON object; `benchmarks throughput` makes
the file.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


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


def now(device: torch.device) -> float:
    """Return the time, in seconds since 1970, when all that a device was asked to do is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.time()


def where(device: torch.device, began: float, ended: float) -> dict[str, Any]:
    """Return what tells the load of a GPU between two times: which it is, and the times; nothing for a CPU."""
    if device.type != "cuda":
        return {}
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", "")  # older versions of PyTorch do not say
    return {"gpu": str(uuid), "began": began, "ended": ended}


def train(inputs: Tensor, labels: Tensor, *, steps: int, batch_size: int, vocab_size: int) -> dict[str, Any]:
    """Train for ``steps`` batches and return reviews a second; the first five steps are not counted."""
    model = PlainBiLSTM(vocab_size).to(inputs.device).train()
    optimizer = torch.optim.Adam(model.parameters())
    order = torch.randperm(len(inputs))
    began = 0.0
    for step in range(steps + 5):
        if step == 5:
            began = now(inputs.device)
        start = step * batch_size % (len(order) - batch_size)
        chosen = order[start : start + batch_size]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs[chosen]), labels[chosen])
        loss.backward()
        optimizer.step()
        loss.item()
    ended = now(inputs.device)
    return {"train": batch_size * steps / (ended - began), **where(inputs.device, began, ended)}


def evaluation_speed(inputs: Tensor, labels: Tensor, *, vocab_size: int) -> float:
    """Evaluate in batches of 200 and return reviews a second."""
    model = PlainBiLSTM(vocab_size).to(inputs.device).eval()
    correct = 0
    with torch.no_grad():
        model(inputs[:200])
        began = now(inputs.device)
        for start in range(0, len(inputs), 200):
            logits = model(inputs[start : start + 200])
            correct += int((logits.argmax(dim=1) == labels[start : start + 200]).sum())
    return len(inputs) / (now(inputs.device) - began)


if __name__ == "__main__":
    _, path, steps, device, batch_size = sys.argv
    data = {
        name: torch.from_numpy(array.astype("int64")).to(device) for name, array in np.load(path, allow_pickle=False).items()
    }
    size = int(data["vocab_size"])
    found = train(data["train"], data["train_labels"], steps=int(steps), batch_size=int(batch_size), vocab_size=size)
    print(json.dumps({**found, "evaluate": evaluation_speed(data["test"], data["test_labels"], vocab_size=size)}))
