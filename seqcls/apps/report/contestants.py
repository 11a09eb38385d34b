"""The models that a comparison is about: trained ones that are asked, and encoders that are trained for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seqcls.config.settings import Config
from seqcls.config.values import OptionValue
from seqcls.data.sources import DataLike
from seqcls.errors import TrainingError
from seqcls.evaluation.intervals import accuracy_interval
from seqcls.evaluation.predictions import Predictions
from seqcls.inference.classifier import Classifier
from seqcls.storage.locate import resolve_model_path
from seqcls.storage.resolved_options import resolve_options
from seqcls.storage.run_directory import RunDirectory
from seqcls.storage.writing import to_json
from seqcls.system.files import directory_bytes, replace_file
from seqcls.system.untrusted import parse_json
from seqcls.training.callbacks.base import Callback
from seqcls.training.trainer import Trainer


@dataclass(frozen=True, eq=False)
class Contestant:
    """A trained model and its predictions.

    Attributes:
        name: The model's directory, or the encoder's name.
        predictions: Its predictions for the examples of the comparison.
        parameters: The number of its weights.
        megabytes: The size of its directory.
    """

    name: str
    predictions: Predictions
    parameters: int
    megabytes: float

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as `seqcls compare --json` prints them."""
        assessment, seconds = self.predictions.assess(), self.predictions.seconds
        return {
            "name": self.name,
            "accuracy": asdict(accuracy_interval(self.predictions)),
            "macro_f1": assessment.macro_f1,
            "calibration_error": assessment.calibration_error,
            "loss": assessment.loss,
            "count": assessment.count,
            "examples_per_second": None if seconds is None else round(assessment.count / seconds),
            "parameters": self.parameters,
            "megabytes": round(self.megabytes, 2),
        }


def ask(
    path: str | Path,
    data: DataLike | None = None,
    *,
    split: str = "test",
    options: Mapping[str, OptionValue] | None = None,
    device: str = "auto",
) -> Contestant:
    """Load the model at ``path`` and let it predict; the other arguments are those of `Classifier.predictions`."""
    classifier = Classifier.from_pretrained(path, device=device)
    return Contestant(
        name=str(path),
        predictions=classifier.predictions(data, split=split, options=options),
        parameters=classifier.num_parameters,
        megabytes=directory_bytes(resolve_model_path(Path(path))) / 1e6,
    )


def train(config: Config, folder: Path, *, callbacks: Sequence[Callback]) -> dict[str, Any]:
    """Train a model in ``folder``/run and return `FitResult.as_dict`.

    A finished run with the same settings is not repeated; an interrupted one is resumed.

    Raises:
        TrainingError: A signal ended the run.
        SeqclsError: As `Trainer.fit`.
    """
    result_file, run = folder / "result.json", folder / "run"
    trainer = Trainer(config=config, callbacks=callbacks, output=run, overwrite=True)
    settings = trainer.config.model_dump(mode="json")
    if result_file.is_file():
        previous: dict[str, Any] = parse_json(result_file.read_bytes(), result_file)
        if previous.get("config") == settings:
            return previous
    checkpoints = RunDirectory(run).checkpoints
    if checkpoints.pointer_file.is_file() and _is_run_of(checkpoints.restorable().model.config, trainer.config):
        trainer = Trainer.resume(run, callbacks=callbacks)
    folder.mkdir(parents=True, exist_ok=True)
    result = trainer.fit()
    if result.model_dir is None:
        raise TrainingError(f"the comparison was stopped: {result.stop_reason}; run the same command again to resume it")
    values = {**result.as_dict(), "config": settings}
    replace_file(result_file, to_json(values))
    return values


def _is_run_of(found: Config, wanted: Config) -> bool:
    """Return whether the settings of a run are those that were given, apart from those that were chosen to fit the data."""
    return found.as_given() == resolve_options(wanted)
