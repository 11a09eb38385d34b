"""The peer in prediction: the same network and weights in ONNX Runtime. Needs `pip install onnxruntime` alone.

python benchmarks/onnx_runtime.py FOLDER prints one JSON object; `benchmarks prediction` makes the folder.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime


def main(folder: Path) -> None:
    """Predict single texts without padding, and many of them so, one after the other: the file has a batch of one."""
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    data = np.load(folder / "ids.npz", allow_pickle=False)
    singles = [row[None, :length] for row, length in zip(data["singles"], data["lengths"], strict=True)]
    for ids in singles[:20]:
        session.run(None, {"ids": ids})
    seconds, logits = [], []
    for ids in singles:
        started = time.perf_counter()
        [output] = session.run(None, {"ids": ids})
        output.argmax(axis=1).tolist()
        seconds.append(time.perf_counter() - started)
        logits.append(output[0])
    powers = np.exp(np.array(logits))
    found = {"texts_per_s": len(seconds) / sum(seconds)}
    found |= {f"p{percent}_ms": 1e3 * float(np.percentile(seconds, percent)) for percent in (50, 99)}
    print(json.dumps({**found, "probabilities": (powers / powers.sum(axis=1, keepdims=True)).tolist()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
