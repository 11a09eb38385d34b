"""What a report is made from: the files of the run, and what its model says of a split."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqcls import registry
from seqcls.apps.check.checks import quick_findings
from seqcls.apps.check.findings import Finding
from seqcls.apps.report.figures import worst, wrongness
from seqcls.config.data_paths import dataset_of_path, is_data_path
from seqcls.config.settings import Config
from seqcls.config.values import OptionValue
from seqcls.data.datasets.base import Dataset
from seqcls.data.encoding import parse_preprocessor
from seqcls.data.prepare import SPLITS, build_dataset, load_splits
from seqcls.data.rules import UNK_ID
from seqcls.data.splits import Split, Splits
from seqcls.errors import CheckpointError, DataError, SeqclsError
from seqcls.evaluation.predictions import Predictions
from seqcls.inference.classifier import Classifier
from seqcls.inference.explanation import Explanation, strongest
from seqcls.model.encoders.base import Encoder
from seqcls.storage.model_directory import SavedModel, load_model_directory, load_training
from seqcls.storage.run_directory import RunDirectory, resolve_model_path
from seqcls.storage.schemas import BaselineFigures, EvaluationRow

MOST_EXAMPLES = 50_000
"""Of a larger split the model is asked about a sample: a report is to take seconds."""
MISTAKES = 10
"""The number of mistakes that are shown."""

_WORDS = 6  # of a mistake that are named

logger = logging.getLogger("seqcls")


@dataclass(frozen=True)
class Mistake:
    """An example that the model got wrong.

    Attributes:
        number: Its place in the split, from 1.
        true: The names of its labels.
        said: The names of those that the model gave.
        explanation: Why the model gave the label; where a text may have several, about the one that it got most wrong.
        words: The tokens that contribute most to it, each with what it adds to the log-odds.
    """

    number: int
    true: tuple[str, ...]
    said: tuple[str, ...]
    explanation: Explanation
    words: Sequence[tuple[str, float]]


@dataclass(frozen=True, eq=False)
class Answers:
    """What the model says of a split.

    Attributes:
        split: Its name.
        total: The number of its examples, of which ``predictions`` may be a sample.
        predictions: What the model says.
        lengths: int64 [N], tokens of each text before it is cut, or steps.
        unknown_rates: float64 [N], the share of a text's tokens that the model does not know; None for numbers.
        mistakes: The worst.
    """

    split: str
    total: int
    predictions: Predictions
    lengths: NDArray[np.int64]
    unknown_rates: NDArray[np.float64] | None
    mistakes: Sequence[Mistake]


@dataclass(frozen=True, eq=False)
class Subject:
    """All that a report tells.

    Attributes:
        name: That of the directory.
        model: The model directory, read.
        parameters: The number of weights.
        megabytes: The size of the model directory.
        evaluations: The log of evaluations; empty for a model directory.
        baseline: The linear baseline's figures, if it was trained.
        environment: What the last checkpoint says of where it was trained; empty for a model directory.
        label_sizes: Of each split, the number of examples of each label; empty if the data cannot be read.
        findings: What is wrong with the data.
        answers: None if the data cannot be read.
        notes: What is missing, and why.
    """

    name: str
    model: SavedModel
    parameters: int
    megabytes: float
    evaluations: Sequence[EvaluationRow]
    baseline: BaselineFigures | None
    environment: Mapping[str, Any]
    label_sizes: Mapping[str, Sequence[int]]
    findings: Sequence[Finding]
    answers: Answers | None
    notes: Sequence[str]

    @property
    def is_text(self) -> bool:
        """Whether the model reads texts, and not sequences of numbers."""
        return self.model.preprocessor.kind == "text"


def collect(
    path: Path,
    *,
    data: str | Dataset | Splits | None,
    options: Mapping[str, OptionValue],
    split: str | None,
    device: str,
    encoder: Encoder | None,
    loaded: Splits | None,
) -> Subject:
    """Read a run or model directory, and ask the model; arguments and errors are those of `write_report`."""
    place = resolve_model_path(path)
    saved = load_model_directory(place)
    classifier = Classifier(saved, device=device, encoder=encoder)
    run = RunDirectory(path)
    is_run = run.pointer_file.is_file()
    notes = _notes_on(run) if is_run else ["This is a model directory: how the training went is known to its run directory."]
    environment: Mapping[str, Any] = {}
    if is_run:
        try:
            environment = _environment(run)
        except CheckpointError as error:
            notes.append(f"Where it was trained is not known: {error}")
    findings, sizes, answers = [], {}, None
    is_own = data is None and not options
    try:
        loaded = loaded or _load(saved.config, data, options)
        splits = load_splits(saved.config.data, loaded)
    except SeqclsError as error:
        if not is_own:
            raise
        notes.append(f"The data set cannot be read, so that all that needs it is left out: {error}")
        logger.warning("the report lacks what needs the data set: %s", error)
    else:
        findings = quick_findings(loaded) if loaded.train.kind == "text" else []
        sizes = {name: _counts(found) for name, found in splits.labelled().items()}
        name = _choose(splits, split, notes)
        try:
            answers = _ask(classifier, saved, splits, name, is_own=is_own)
        except DataError as error:  # the data have changed
            if not is_own:
                raise
            logger.warning("the report does not judge the model: %s", error)
            notes.append(f"The model cannot be judged by the data set as it is now: {error}")
        else:
            if answers.total > len(answers.predictions.labels):
                notes.append(
                    f"Of the {answers.total:,} examples of {name}, the model was asked about a random {MOST_EXAMPLES:,}."
                )
    return Subject(
        name=path.resolve().name,
        model=saved,
        parameters=classifier.num_parameters,
        megabytes=sum(file.stat().st_size for file in place.iterdir() if file.is_file()) / 1e6,
        evaluations=run.evaluations() if is_run else [],
        baseline=run.baseline() if is_run else None,
        environment=environment,
        label_sizes=sizes,
        findings=findings,
        answers=answers,
        notes=notes,
    )


def _notes_on(run: RunDirectory) -> list[str]:
    if run.model.is_dir():
        return []
    found = "of its best checkpoint so far" if run.evaluations() else "of the weights that it began with"
    return [f"The run has not ended: the figures are those {found}."]


def _environment(run: RunDirectory) -> Mapping[str, Any]:
    last = run.pointed("last")
    assert last is not None
    found: Mapping[str, Any] = load_training(last).values["environment"]
    return found


def _load(config: Config, data: str | Dataset | Splits | None, options: Mapping[str, OptionValue]) -> Splits:
    """Return the data set of the run, or the one that takes its place, with the options of the run where they fit it."""
    if isinstance(data, Splits):
        return data
    if isinstance(data, Dataset):
        return data.load()
    if data is None and config.data.dataset == SPLITS:
        raise DataError("the run was given its splits as objects; `seqcls.write_report` takes them as data")
    if data is not None:
        name = dataset_of_path(data) if is_data_path(data) else registry.datasets.resolve(data)
        kept = config.data.dataset_options if name == config.data.dataset else {}
        config = config.replace(dataset=data, dataset_options=kept)
    return build_dataset(config.updated({"data": {"dataset_options": dict(options)}}, source="data").data).load()


def _counts(split: Split) -> list[int]:
    """Return the number of examples of each label."""
    labels = split.labels
    assert labels is not None
    counts: list[int] = (labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels)).tolist()
    return counts


def _choose(splits: Splits, wanted: str | None, notes: list[str]) -> str:
    there = splits.labelled()
    if wanted is not None:
        if wanted not in there:
            raise DataError(f"the data has no {wanted} split; it has {', '.join(there)}")
        return wanted
    if "test" in there:
        return "test"
    notes.append(
        "The data have no test split: the figures are those of validation, by which the checkpoint was chosen and "
        "calibrated, so that they are a little too good."
    )
    return "validation"


def _ask(classifier: Classifier, saved: SavedModel, splits: Splits, name: str, *, is_own: bool) -> Answers:
    """Ask the model about a split; that of the run's own data is in the cache, encoded."""
    split = splits.labelled()[name]
    total = len(split)
    places = np.arange(total)
    if total > MOST_EXAMPLES:
        places = np.sort(np.random.default_rng(0).choice(total, size=MOST_EXAMPLES, replace=False))
        split = split.take(places)
        sampled: dict[str, Any] = {name: split}
        splits, is_own = replace(splits, **sampled), False
    predictions = classifier.predictions(None if is_own else splits, split=name)
    lengths, unknown_rates = _measure(saved, split)
    return Answers(
        split=name,
        total=total,
        predictions=predictions,
        lengths=lengths,
        unknown_rates=unknown_rates,
        mistakes=[
            _mistake(classifier, predictions, split, row, number=int(places[row]) + 1)
            for row in worst(predictions, MISTAKES).tolist()
        ],
    )


def _measure(saved: SavedModel, split: Split) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """Return the lengths of whole sequences, and the shares of unknown words in texts."""
    if saved.preprocessor.kind == "features":
        return np.fromiter(map(len, split.sequences), dtype=np.int64, count=len(split)), None
    content, path = saved.preprocessor.to_json().encode(), saved.path / "tokenizer.json"
    uncut = parse_preprocessor(content, path, max_length=None, truncating="middle")
    values, offsets = uncut.encode_batch(split.texts)
    unknown = np.add.reduceat((values == UNK_ID).astype(np.int64), offsets[:-1])
    return np.diff(offsets), unknown / np.diff(offsets)


def _mistake(classifier: Classifier, predictions: Predictions, split: Split, row: int, *, number: int) -> Mistake:
    names = predictions.label_names
    true, said = (
        tuple(names[label] for label in np.flatnonzero(has[row])) for has in (predictions.true, predictions.predicted)
    )
    label = names[int(wrongness(predictions)[row].argmax())] if classifier.is_multi_label else said[0]
    explanation = classifier.explain(split.sequences[row], label=label)
    return Mistake(number, true, said, explanation, strongest(explanation, _WORDS))
