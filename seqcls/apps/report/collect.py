"""Everything that a report tells: read from the files of the run, and from the answers of its model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seqcls import registry
from seqcls.apps.check.checks import quick_findings
from seqcls.apps.check.findings import Finding
from seqcls.apps.report.answers import Answers, ask
from seqcls.config.data_paths import dataset_of_path, is_data_path
from seqcls.config.settings import Config
from seqcls.config.values import OptionValue
from seqcls.data.datasets.base import Dataset
from seqcls.data.prepare import SPLITS, build_dataset, load_splits
from seqcls.data.sources import DataLike, source_of
from seqcls.data.splits import Split, Splits
from seqcls.errors import CheckpointError, DataError, SeqclsError
from seqcls.evaluation.baseline import Baseline
from seqcls.inference.classifier import Classifier
from seqcls.inference.labelled import check_held_out
from seqcls.model.encoders.base import Encoder
from seqcls.storage.locate import resolve_model_path
from seqcls.storage.model_directory import load_model_directory
from seqcls.storage.rebuild import SavedModel
from seqcls.storage.run_directory import RunDirectory
from seqcls.storage.schemas import EvaluationRow
from seqcls.storage.snapshot import load_training
from seqcls.system.files import directory_bytes
from seqcls.training.choice import read_choice
from seqcls.training.results import Compared

logger = logging.getLogger("seqcls")


@dataclass(frozen=True)
class History:
    """What the run directory tells about the training; all of it is empty for a model directory.

    Attributes:
        evaluations: The log of evaluations.
        baseline: The figures of the linear baseline, if it was trained.
        environment: Where the model was trained, according to the last checkpoint.
        compared: The models among which it was chosen; empty if it was named.
    """

    evaluations: Sequence[EvaluationRow] = ()
    baseline: Baseline | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    compared: Sequence[Compared] = ()


@dataclass(frozen=True, eq=False)
class Examined:
    """What the data set tells, and what the model answers on it; all of it is empty if the data set cannot be read.

    Attributes:
        label_sizes: The number of examples of each label, by split.
        findings: What is wrong with the data.
        answers: The answers of the model; None also if the data have changed so that the model cannot be asked.
    """

    label_sizes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    answers: Answers | None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """Everything that a report tells.

    Attributes:
        name: The name of the directory.
        model: The model directory.
        parameters: The number of weights.
        megabytes: The size of the model directory.
        history: What is known about the training.
        data: What is known from the data set.
        notes: What is missing, and why.
    """

    name: str
    model: SavedModel
    parameters: int
    megabytes: float
    history: History
    data: Examined
    notes: Sequence[str]

    @property
    def is_text(self) -> bool:
        """Whether the model reads texts, and not sequences of numbers."""
        return self.model.preprocessor.kind == "text"


def collect(
    path: Path,
    *,
    data: DataLike | None,
    options: Mapping[str, OptionValue],
    split: str | None,
    device: str,
    encoder: Encoder | None,
    loaded: Splits | None,
) -> Subject:
    """Read a run or model directory and ask the model; arguments and errors are those of `write_report`."""
    model_directory = resolve_model_path(path)
    saved = load_model_directory(model_directory)
    notes: list[str] = []
    history = _read_history(RunDirectory(path), notes)
    is_own_data = data is None and not options
    try:
        loaded = loaded or _load(saved.config, data, options)
        asked = _held_out_model(path, saved, loaded, notes) if split is None else saved
        classifier = Classifier(asked, device=device, encoder=encoder)
        splits = load_splits(asked.config.data, loaded)
    except SeqclsError as error:
        if not is_own_data:
            raise
        notes.append(f"The data set cannot be read, so everything that needs it is missing: {error}")
        logger.warning("the report lacks what needs the data set: %s", error)
        classifier, examined = Classifier(saved, device=device, encoder=encoder), Examined()
    else:
        name = _choose(splits, split, notes)
        examined = Examined(
            label_sizes={name: _label_sizes(labelled) for name, labelled in splits.labelled().items()},
            findings=quick_findings(loaded) if loaded.train.kind == "text" else [],
            answers=None if name is None else _ask(classifier, asked, splits, name, notes, is_own_data=is_own_data),
        )
    return Subject(
        name=path.resolve().name,
        model=saved,
        parameters=classifier.num_parameters,
        megabytes=directory_bytes(model_directory) / 1e6,
        history=history,
        data=examined,
        notes=notes,
    )


def _read_history(run: RunDirectory, notes: list[str]) -> History:
    if not run.has_checkpoint:
        notes.append("This is a model directory: the history of the training is in its run directory.")
        return History()
    evaluations = run.evaluations()
    if not run.model.is_dir():
        weights = "its best checkpoint so far" if evaluations else "its initial weights"
        notes.append(f"The run has not finished; the figures are those of {weights}.")
    environment: Mapping[str, Any] = {}
    try:
        environment = _environment(run)
    except CheckpointError as error:
        notes.append(f"It is not known where the model was trained: {error}")
    compared = read_choice(run.path).compared if run.choice_file.is_file() else ()
    return History(evaluations, run.baseline(), environment, compared)


def _environment(run: RunDirectory) -> Mapping[str, Any]:
    last = run.checkpoints.pointed("last")
    assert last is not None
    environment: Mapping[str, Any] = load_training(last).values["environment"]
    return environment


def _load(config: Config, data: DataLike | None, options: Mapping[str, OptionValue]) -> Splits:
    """Return the data set of the run, or the one given instead, which inherits the options of the run if it is the same."""
    source = None if data is None else source_of(data)
    if isinstance(source, Splits):
        return source
    if isinstance(source, Dataset):
        return source.load()
    if source is None and config.data.dataset == SPLITS:
        raise DataError("the run was given its splits as objects; `seqcls.write_report` takes them as data")
    if source is not None:
        name = dataset_of_path(source) if is_data_path(source) else registry.datasets.resolve(source)
        kept = config.data.dataset_options if name == config.data.dataset else {}
        config = config.replace(dataset=source, dataset_options=kept)
    return build_dataset(config.updated({"data": {"dataset_options": dict(options)}}, source="data").data).load()


def _label_sizes(split: Split) -> list[int]:
    """Return the number of examples of each label."""
    labels = split.labels
    assert labels is not None
    counts: list[int] = (labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels)).tolist()
    return counts


def _held_out_model(path: Path, saved: SavedModel, loaded: Splits, notes: list[str]) -> SavedModel:
    """Return the model to ask: without a test split, a model that has not seen the validation split, if there is one."""
    before = path / "validated"
    if saved.config.data.train_on != "all" or loaded.test is not None or not before.is_dir():
        return saved
    notes.append("The model was trained again on all examples. The examples shown were asked of the model before that.")
    return load_model_directory(before)


def _choose(splits: Splits, wanted: str | None, notes: list[str]) -> str | None:
    """Return the split to ask about: by default test, or validation if there is no test split; None if there is neither."""
    names = list(splits.labelled())
    if wanted is not None:
        if wanted not in names:
            raise DataError(f"the data has no {wanted} split; it has {', '.join(names)}")
        return wanted
    if "test" in names:
        return "test"
    if "validation" not in names:
        notes.append(
            "The model has seen all examples, so that none is left to ask it about. Give it new ones with --dataset."
        )
        return None
    notes.append(
        "The data has no test split. The figures are those of validation, on which the checkpoint was chosen and the model "
        "calibrated, so they are slightly optimistic."
    )
    return "validation"


def _ask(
    classifier: Classifier, saved: SavedModel, splits: Splits, name: str, notes: list[str], *, is_own_data: bool
) -> Answers | None:
    try:
        if is_own_data:
            check_held_out(saved, name, splits.digest_of)
        answers = ask(classifier, saved, splits, name, is_own_data=is_own_data)
    except DataError as error:  # the data have changed since the training
        if not is_own_data:
            raise
        logger.warning("the report lacks the evaluation of the model: %s", error)
        notes.append(f"The model cannot be evaluated on the data set as it is now: {error}")
        return None
    asked = len(answers.predictions.labels)
    if answers.total > asked:
        notes.append(f"The figures are those of a random sample, {asked:,} of the {answers.total:,} examples of {name}.")
    return answers
