"""Prediction by the tutorial's network with the same weights: many texts at once, and one after the other.

Ours takes texts and gives labels. Its peers take token ids, so that their figures have no tokenization in them. All read the
weights of one model, and single texts, which need no padding, get the same probabilities from each.

python -m benchmarks.prediction seqcls|plain_pytorch FOLDER measures one of them in this process.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
LENGTH = 200
TRAINING = "60s"  # so that probabilities are not all near a half


def compare(*, rounds: int, reviews: int, singles: int, peers_python: str) -> dict[str, Any]:
    """Return medians of texts a second and milliseconds a text, ratios of rounds, and the largest difference of outputs."""
    from seqcls.model.native import library as native

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _make(folder, reviews=reviews, singles=singles)
        ours = [sys.executable, "-m", "benchmarks.prediction", "seqcls", name]
        systems = {
            "seqcls": (ours, {}),
            **({"seqcls_without_amx": (ours, {"SEQCLS_NATIVE": "avx512"})} if "amx" in native.usable() else {}),
            "seqcls_without_compiled": (ours, {"SEQCLS_NATIVE": "0"}),
            "plain_pytorch": ([*ours[:3], "plain_pytorch", name], {}),
            "onnx_runtime": ([peers_python, str(HERE / "onnx_runtime.py"), name], {}),
        }
        rows: dict[str, list[dict[str, float]]] = {system: [] for system in systems}
        outputs: dict[str, NDArray[np.float32]] = {}
        for _ in range(rounds):
            for system, (command, environment) in systems.items():
                done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
                if done.returncode:
                    reason = (done.stderr.splitlines() or ["no reason given"])[-1]
                    print(f"{system} is not measured: {reason}", file=sys.stderr)
                    continue
                found = json.loads(done.stdout.splitlines()[-1])
                outputs[system] = np.array(found.pop("probabilities"))
                rows[system].append(found)
                print(json.dumps({"system": system, **{what: round(value, 2) for what, value in found.items()}}), flush=True)
    return _summary({system: found for system, found in rows.items() if found}, outputs)


def _summary(rows: dict[str, list[dict[str, float]]], outputs: dict[str, NDArray[np.float32]]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for system, found in rows.items():
        summary[system] = {what: round(statistics.median(row[what] for row in found), 2) for what in found[0]}
        summary[system]["largest_difference"] = float(np.abs(outputs[system] - outputs["seqcls"]).max())
    pairs = list(zip(rows["seqcls"], rows.get("plain_pytorch", []), strict=False))
    if pairs:
        summary["bulk_ratio_to_plain_pytorch"] = round(
            statistics.median(ours["texts_per_s"] / theirs["texts_per_s"] for ours, theirs in pairs), 2
        )
    return summary


def _make(folder: Path, *, reviews: int, singles: int) -> None:
    """Train the tutorial's model for a minute; write it and reviews, also for systems that know nothing of ours."""
    from seqcls import Classifier
    from seqcls.data.prepare import load_splits

    command = [
        sys.executable,
        "-m",
        "seqcls",
        "fit",
        "--recipe",
        "tutorial",
        "--no-baseline",
        "--no-report",
        "--max-time",
        TRAINING,
    ]
    subprocess.run([*command, "--quiet", "--output", str(folder / "model")], check=True)
    classifier = Classifier.from_pretrained(folder / "model")
    test = load_splits(classifier.config.data).test
    assert test is not None
    texts = [str(text) for text in test.texts[: max(reviews, singles)]]
    (folder / "texts.json").write_text(json.dumps({"bulk": texts[:reviews], "singles": texts[:singles]}))
    ids = np.zeros((len(texts), LENGTH), dtype=np.int64)
    sequences = classifier.encode(texts)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
    np.savez(folder / "ids.npz", bulk=ids[:reviews], singles=ids[:singles], lengths=sequences.lengths[:singles])
    np.savez(folder / "weights.npz", **_plain_weights(folder / "model"))  # type: ignore[arg-type]
    _export(folder)


def _plain_weights(model: Path) -> dict[str, NDArray[np.float32]]:
    """Return our weights by the names of `PlainBiLSTM`."""
    from safetensors.numpy import load_file

    [path] = (model / "model").glob("*.safetensors")
    named = {}
    for name, value in load_file(path).items():
        parts = name.split(".")
        if "layers" in parts:
            *_, layer, direction, weight = parts
            named[f"lstm.{weight[:-1]}{layer}{'_reverse' if direction == '1' else ''}"] = value
        else:
            named[name.replace("embedding.table", "embedding").replace("encoder.projection", "projection")] = value
    return named


def _plain_model(folder: Path) -> Any:
    import torch

    from benchmarks.plain_pytorch import PlainBiLSTM

    weights = {name: torch.from_numpy(array) for name, array in np.load(folder / "weights.npz", allow_pickle=False).items()}
    model = PlainBiLSTM(len(weights["embedding.weight"])).eval()
    model.load_state_dict(weights)
    return model


def _export(folder: Path) -> None:
    """Write model.onnx, of one sequence without padding."""
    import torch

    if find_spec("onnx") is None:
        print("model.onnx is not written: PyTorch's exporter needs `pip install onnx`", file=sys.stderr)
        return
    ids = torch.ones(1, 7, dtype=torch.int64)
    axes = {"ids": {1: "steps"}}
    torch.onnx.export(
        _plain_model(folder),
        (ids,),
        str(folder / "model.onnx"),
        input_names=["ids"],
        output_names=["logits"],
        dynamic_axes=axes,
        dynamo=False,
    )


def measure_ours(folder: Path) -> dict[str, Any]:
    """Load the model directory and predict, texts in, labels out."""
    from seqcls import Classifier

    texts = json.loads((folder / "texts.json").read_text())
    classifier = Classifier.from_pretrained(folder / "model")
    classifier.predict(texts["bulk"][:200])
    started = time.perf_counter()
    classifier.predict(texts["bulk"])
    speed = len(texts["bulk"]) / (time.perf_counter() - started)
    started = time.perf_counter()
    classifier.encode(texts["bulk"])
    tokenization = len(texts["bulk"]) / (time.perf_counter() - started)
    latencies = latency(lambda text: classifier.predict([text]), texts["singles"])
    probabilities = np.concatenate([classifier.predict_proba([text]) for text in texts["singles"]])
    bulk = classifier.predict_proba(texts["singles"])
    assert np.abs(bulk - probabilities).max() < 1e-5, "texts together get other probabilities than alone"
    return {
        "texts_per_s": speed,
        "tokenization_texts_per_s": tokenization,
        **latencies,
        "probabilities": bulk.tolist(),
    }


def measure_plain(folder: Path) -> dict[str, Any]:
    """Evaluate as the tutorial does, padded to one length in batches of 200; single texts without padding."""
    import torch

    data = {name: torch.from_numpy(array) for name, array in np.load(folder / "ids.npz", allow_pickle=False).items()}
    model = _plain_model(folder)
    singles = [row[:length].unsqueeze(0) for row, length in zip(data["singles"], data["lengths"].tolist(), strict=True)]
    with torch.no_grad():
        model(data["bulk"][:200])
        started = time.perf_counter()
        for start in range(0, len(data["bulk"]), 200):
            model(data["bulk"][start : start + 200]).argmax(dim=1).tolist()
        speed = len(data["bulk"]) / (time.perf_counter() - started)
        latencies = latency(lambda ids: model(ids).argmax(dim=1).tolist(), singles)
        probabilities = torch.cat([model(ids).softmax(dim=1) for ids in singles])
    return {"texts_per_s": speed, **latencies, "probabilities": probabilities.tolist()}


def latency(predict: Callable[[Any], object], inputs: Sequence[Any]) -> dict[str, float]:
    """Return milliseconds an input, one after the other, after twenty that are not counted."""
    for item in inputs[:20]:
        predict(item)
    seconds = []
    for item in inputs:
        started = time.perf_counter()
        predict(item)
        seconds.append(time.perf_counter() - started)
    return {"p50_ms": 1e3 * float(np.percentile(seconds, 50)), "p99_ms": 1e3 * float(np.percentile(seconds, 99))}


if __name__ == "__main__":
    measure = {"seqcls": measure_ours, "plain_pytorch": measure_plain}[sys.argv[1]]
    print(json.dumps(measure(Path(sys.argv[2]))))
