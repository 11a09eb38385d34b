"""Writing a trained model as one ONNX file, checked against PyTorch before it is kept. Needs the extra `onnx`."""

from __future__ import annotations

import base64
import copy
import dataclasses
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqcls.data.batches import Bags
from seqcls.data.encoding import NGRAMS_FILE
from seqcls.data.prepare import SPLITS
from seqcls.errors import CheckpointError, DataError, MissingExtraError, OutputExistsError, SeqclsError, UsageError
from seqcls.evaluation.predictions import Predictions
from seqcls.evaluation.scores import Score
from seqcls.inference.classifier import Classifier
from seqcls.inference.labelled import labelled_pairs
from seqcls.inference.portable.onnx_classifier import OnnxClassifier
from seqcls.inference.portable.onnx_file import CONFIG, NGRAMS, PRECISION, TOKENIZER
from seqcls.storage.locate import resolve_model_path
from seqcls.storage.model_directory import load_model_directory, model_files
from seqcls.system.files import replace_file
from seqcls.system.untrusted import read_verified

if TYPE_CHECKING:
    import onnx

    from seqcls.model.network import Network

TOLERANCE = 1e-5
"""How far a logit may be from PyTorch's in float64: absolutely up to 1, relatively above."""
ROUNDING = 10
"""How many times as far as PyTorch's own in float32 it may be, where that is more: recurrent layers add up rounding errors.

A wrong graph is off by far more."""

_CHECKS = 200
_MOST_STEPS = 200


@dataclass(frozen=True)
class Int8Comparison:
    """The effect of rounding the weights to 8 bits, on the validation split of the model's data.

    Attributes:
        float32: Loss and accuracy of the model in float32.
        int8: Loss and accuracy of the ONNX file.
        largest_difference: The largest difference between two probabilities.
    """

    float32: Score
    int8: Score
    largest_difference: float

    @property
    def accuracy_loss(self) -> float:
        """How much lower the accuracy is in 8 bits; negative if it is higher."""
        return self.float32.accuracy - self.int8.accuracy


@dataclass(frozen=True)
class OnnxExport:
    """An ONNX file that was written.

    Attributes:
        path: The file.
        bytes: Its size.
        model_bytes: The size of model.safetensors.
        checks: The number of random batches on which the file was compared with PyTorch.
        largest_difference: The largest difference between a logit and PyTorch's in float64.
        int8: The effect of rounding to 8 bits; None for a file in float32, or if the data were not available.
        reason: Why that effect was not measured.
    """

    path: Path
    bytes: int
    model_bytes: int
    checks: int
    largest_difference: float
    int8: Int8Comparison | None = None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what `seqcls export --json` prints."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values |= {"onnx": str(values.pop("path")), "int8": None}
        if self.int8 is not None:
            values["int8"] = {
                "validation": {"float32": self.int8.float32.as_dict(), "int8": self.int8.int8.as_dict()},
                "accuracy_loss": self.int8.accuracy_loss,
                "largest_difference": self.int8.largest_difference,
            }
        return values


def export_onnx(model: str | Path, path: str | Path, *, int8: bool = False) -> OnnxExport:
    """Write a trained model as one ONNX file, for `OnnxClassifier` and `seqcls predict FILE.onnx`.

    The graph takes batches of any size and length. It is kept only if ONNX Runtime returns PyTorch's logits, to within
    `TOLERANCE` or what rounding costs (`ROUNDING`), for 200 batches of random sequences, lengths and paddings.

    Args:
        model: A model or run directory.
        path: The file to write, NAME.onnx, which must not exist.
        int8: Round the weights of embeddings, products and LSTMs to 8 bits, and measure what that costs on the validation
            split of the data that the model was trained on.

    Raises:
        UsageError: The encoder or embedding has no ONNX form, or the name of the file does not end in .onnx.
        OutputExistsError: The file exists.
        CheckpointError: The model cannot be read, the file cannot be written, or the two disagree.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    path = Path(path)
    _check_output(path)
    folder = resolve_model_path(Path(model))
    contents = read_verified(folder, model_files(folder))
    classifier = Classifier(load_model_directory(folder), device="cpu")
    proto = _to_onnx(classifier, contents)
    data = proto.SerializeToString()
    difference = _check(classifier, OnnxClassifier(data, path))
    comparison, reason = None, None
    if int8:
        data = _quantized(proto).SerializeToString()
        try:
            comparison = _compare(classifier, OnnxClassifier(data, path))
        except DataError as error:
            reason = str(error)
    try:
        replace_file(path, data)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}; choose another --output") from error
    return OnnxExport(
        path=path,
        bytes=len(data),
        model_bytes=len(contents["model.safetensors"]),
        checks=_CHECKS,
        largest_difference=difference,
        int8=comparison,
        reason=reason,
    )


def _check_output(path: Path) -> None:
    """Check the path and the installed packages before anything takes time."""
    if path.suffix.lower() != ".onnx":
        raise UsageError(f"{path} does not end in .onnx, by which `seqcls predict` recognizes the file")
    if path.exists() or path.is_symlink():
        raise OutputExistsError(f"{path} exists; choose another --output, or remove it")
    for package in ("onnx", "onnxruntime"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "onnx")


def _to_onnx(classifier: Classifier, contents: dict[str, bytes]) -> onnx.ModelProto:
    from onnx import helper

    from seqcls.inference.portable.onnx_network import build_graph

    saved = classifier._saved
    weights = {name: tensor.numpy() for name, tensor in saved.weights.items()}
    ngrams = saved.preprocessor.ngrams
    num_words = 0 if ngrams is None else ngrams.num_words
    proto = build_graph(weights, saved.plugins, saved.config.model.model_dump(), num_words=num_words)
    proto.producer_name = "seqcls"
    props = {
        CONFIG: contents["config.json"].decode(),
        TOKENIZER: contents["tokenizer.json"].decode(),
        PRECISION: "float32",
    }
    if ngrams is not None:
        props[NGRAMS] = base64.b64encode(contents[NGRAMS_FILE]).decode()
    helper.set_model_props(proto, props)
    return proto


def _check(classifier: Classifier, exported: OnnxClassifier) -> float:
    """Return the largest difference between two logits over random batches; CheckpointError if it is not tolerable."""
    rng = np.random.default_rng(0)
    batches = [_random_batch(rng, classifier) for _ in range(_CHECKS)]
    precise = copy.deepcopy(classifier._model).double()
    # One after the other: the threads of either wait actively for a while, on the cores that the other needs.
    with torch.inference_mode():
        exact = [_torch_logits(precise, batch) for batch in batches]
        rounded = [_torch_logits(classifier._model, batch) for batch in batches]
    own_error = max(float(np.abs(ours - logits).max()) for ours, logits in zip(rounded, exact, strict=True))
    largest = 0.0
    for number, (batch, expected) in enumerate(zip(batches, exact, strict=True)):
        lengths, difference = batch[1], np.abs(exported._run(*batch) - expected)
        allowed = np.maximum(TOLERANCE * np.maximum(1, np.abs(expected)), ROUNDING * own_error)
        if not (difference <= allowed).all():
            raise CheckpointError(
                f"the ONNX file was not kept: in random batch {number}, of lengths {lengths.tolist()}, a logit differs from "
                f"PyTorch's by {difference.max():.2g}, which is more than {allowed.min():.2g}; please report this"
            )
        largest = max(largest, float(difference.max()))
    return largest


def _torch_logits(model: Network, batch: tuple[NDArray[Any], ...]) -> NDArray[Any]:
    """Return the logits of a network in the precision of its weights."""
    inputs, lengths, *ngrams = map(torch.from_numpy, batch)
    bags = [Bags(rows[rows >= 0], (rows >= 0).sum(dim=1).cumsum(0) - (rows >= 0).sum(dim=1)) for rows in ngrams]
    if inputs.is_floating_point():
        inputs = inputs.to(next(model.parameters()).dtype)
    return np.asarray(model(inputs, lengths, *bags).numpy())


def _random_batch(rng: np.random.Generator, classifier: Classifier) -> tuple[NDArray[Any], ...]:
    """Return up to 8 sequences of up to 200 steps, with up to 8 steps of padding after the longest, and random n-grams."""
    ngrams = classifier.preprocessor.ngrams
    inputs, lengths = _random_sequences(rng, classifier)
    if ngrams is None:
        return inputs, lengths
    number = min(len(ngrams), 200)
    rows = np.stack([np.sort(rng.choice(len(ngrams), number, replace=False)) for _ in lengths])
    is_left_out = np.arange(number) >= rng.integers(0, number + 1, size=(len(lengths), 1))
    return inputs, lengths, np.where(is_left_out, -1, rows)


def _random_sequences(rng: np.random.Generator, classifier: Classifier) -> tuple[NDArray[Any], NDArray[np.int64]]:
    most = min(classifier.config.data.max_length or _MOST_STEPS, _MOST_STEPS)
    lengths = rng.integers(1, rng.integers(1, most + 1) + 1, size=rng.integers(1, 9))
    steps = int(lengths.max() + rng.integers(0, 9))
    size = classifier.preprocessor.input_size
    if classifier.preprocessor.kind == "features":  # padding may hold anything
        return rng.normal(size=(len(lengths), steps, size)).astype(np.float32), lengths
    shape = (len(lengths), steps)
    if rng.random() < 0.5:
        ids = rng.integers(1, max(size, 2), size=shape)
    else:  # as in texts, whose words have ids in the order of their frequency (Zipf's law)
        ids = np.minimum(size ** rng.random(size=shape), max(size - 1, 1)).astype(np.int64)
    return np.where(np.arange(steps) < lengths[:, None], ids, 0), lengths


def _quantized(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with weights of 8 bits; activations are rounded when they are computed."""
    import onnx
    from onnx import helper
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().addFilter(_is_not_advice)
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            quantize_dynamic(proto, file, weight_type=QuantType.QInt8, extra_options={"EnableSubgraph": False})
            quantized = onnx.load_model(file)
    finally:
        logging.getLogger().removeFilter(_is_not_advice)
    props = {entry.key: entry.value for entry in proto.metadata_props}
    del quantized.metadata_props[:]
    helper.set_model_props(quantized, {**props, PRECISION: "int8"})
    return quantized


def _is_not_advice(record: logging.LogRecord) -> bool:
    # Through the root logger, ONNX Runtime recommends optimizing the graph first; in ours there is nothing to fold.
    return "pre-processing before quantization" not in record.getMessage()


def _compare(classifier: Classifier, exported: OnnxClassifier) -> Int8Comparison:
    """Compare on the validation split; DataError if that is not available."""
    saved = classifier._saved
    if saved.config.data.dataset == SPLITS:
        raise DataError("the model was trained on splits given as objects")
    try:
        pairs = list(labelled_pairs(saved, saved.config.data, "validation"))
    except DataError:
        raise
    except SeqclsError as error:
        raise DataError(str(error)) from error
    ours = classifier.predictions(pairs)
    theirs = dataclasses.replace(ours, logits=_logits(exported, [sequence for sequence, _ in pairs]))
    return Int8Comparison(ours.score, theirs.score, _largest(ours, theirs))


def _logits(exported: OnnxClassifier, sequences: Sequence[Any]) -> NDArray[np.float64]:
    return exported.predict_logits(sequences).astype(np.float64)


def _largest(ours: Predictions, theirs: Predictions) -> float:
    return float(np.abs(ours.probabilities - theirs.probabilities).max())
