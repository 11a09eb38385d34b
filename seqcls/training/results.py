"""The result of a run, and the plan of one that has not started: plain values for people and scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqcls.config.settings import Config
from seqcls.data.preprocessor import Kind
from seqcls.errors import MissingExtraError, TrainingError
from seqcls.evaluation.calibration import Calibration
from seqcls.evaluation.scores import Evaluation, Score
from seqcls.storage.run_directory import RunDirectory
from seqcls.system.deprecation import warn_renamed

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class History(list[Evaluation]):
    """The evaluations of a run, in their order."""

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one row per evaluation, which needs pandas.

        Its columns are step, epoch, lr, seconds, examples_per_second, and the figures of both splits, such as train_loss and
        validation_accuracy.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        import pandas as pd

        return pd.DataFrame([_flat(evaluation) for evaluation in self])


@dataclass(frozen=True)
class Compared:
    """How a candidate did on held-out examples; see `seqcls.AutoTrainer`.

    Attributes:
        name: The name of the candidate.
        validation: Its figures, calibrated: on the validation split, or, with several ``folds``, on all training examples,
            each asked of the training that did not have it.
        folds: The number of trainings.
        seconds: How long they took.
        is_chosen: Whether it is the best.
    """

    name: str
    validation: Score
    folds: int
    seconds: float
    is_chosen: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the row as `seqcls fit --json` prints it."""
        return {**asdict(self), "validation": self.validation.as_dict()}


@dataclass(frozen=True, repr=False)
class FitResult:
    """The result of a run.

    Attributes:
        run_dir: The run directory.
        model_dir: The model directory of the best checkpoint; None if a signal ended the run.
        stop_reason: Why the loop ended.
        is_cut_short: Whether the time limit ended it.
        signal: The signal that ended it; None if none did.
        seconds: Duration of the whole run, including preparation and evaluation.
        train_examples_per_second: Training speed, without evaluation and saving.
        parameters: Number of trained weights.
        validation: Figures of the best checkpoint on the validation split, calibrated.
        test: The same on the test split, if there is one.
        calibration: The temperature that was fitted on the validation split; None if calibration is off.
        compared: The candidates among which the model was chosen; empty if its encoder was given.

    Example:
        >>> result = Trainer("reviews", encoder="bilstm", epochs=3).fit()
        >>> result.load().predict(["what a fine film"])
        >>> result.history.to_frame()[["epoch", "validation_loss"]]
    """

    run_dir: Path
    model_dir: Path | None
    stop_reason: str
    is_cut_short: bool
    signal: int | None
    seconds: float
    train_examples_per_second: float
    parameters: int
    validation: Score | None
    test: Score | None
    calibration: Calibration | None = None
    compared: tuple[Compared, ...] = ()

    def load(self, *, device: str = "auto") -> Any:
        """Return the trained model, a `Classifier`.

        Raises:
            TrainingError: A signal ended the run before there was a model.
        """
        if self.model_dir is None:
            raise TrainingError(
                f"the run has no model: {self.stop_reason}; resume it with Trainer.resume({str(self.run_dir)!r})"
            )
        # By its public name, since training and inference do not import each other.
        return import_module("seqcls").Classifier.from_pretrained(self.model_dir, device=device)

    @cached_property
    def history(self) -> History:
        """The evaluations of the run, including those before it was resumed; read from the run directory."""
        rows = RunDirectory(self.run_dir).evaluations()
        return History(row.as_evaluation() for row in rows)

    def plot(self) -> Figure:
        """Draw loss and accuracy on the training and validation data by step, as a figure of matplotlib.

        Training figures are means over the steps since the previous evaluation, with dropout on.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ModuleNotFoundError:
            raise MissingExtraError("matplotlib", "report") from None
        figure = Figure(figsize=(8, 3), layout="constrained")
        steps = [evaluation.step for evaluation in self.history]
        for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
            for split in ("train", "validation"):
                values = [getattr(getattr(evaluation, split), name) for evaluation in self.history]
                axes.plot(steps, values, label=split, marker="o" if len(steps) <= 30 else "")
            axes.set(xlabel="step", ylabel=name)
            axes.legend()
        return figure

    def as_dict(self) -> dict[str, Any]:
        """Return the result as `seqcls fit --json` prints it."""
        return {
            "run": str(self.run_dir),
            "model": None if self.model_dir is None else str(self.model_dir),
            "stop_reason": self.stop_reason,
            "seconds": round(self.seconds, 3),
            "train_examples_per_second": round(self.train_examples_per_second, 1),
            "parameters": self.parameters,
            "validation": None if self.validation is None else self.validation.as_dict(),
            "test": None if self.test is None else self.test.as_dict(),
            "calibration": None if self.calibration is None else self.calibration.as_dict(),
            "compared": [row.as_dict() for row in self.compared],
        }

    def __repr__(self) -> str:
        scores = {"validation": self.validation, "test": self.test}
        figures = [
            f"{name} accuracy {100 * score.accuracy:.2f}% (loss {score.loss:.4f})"
            for name, score in scores.items()
            if score is not None
        ]
        return f"<FitResult of {self.run_dir}: {'; '.join([f'{self.stop_reason}, {self.seconds:.1f} s', *figures])}>"

    @property
    def run(self) -> Path:
        """The run directory; deprecated, use ``run_dir``."""
        warn_renamed("FitResult.run is now run_dir")
        return self.run_dir

    @property
    def model(self) -> Path | None:
        """The model directory; deprecated, use ``model_dir``."""
        warn_renamed("FitResult.model is now model_dir")
        return self.model_dir


@dataclass(frozen=True)
class Plan:
    """What `Trainer.fit` would do: sizes, steps, device."""

    config: Config
    device: str
    label_names: tuple[str, ...]
    examples: Mapping[str, int]
    tokens: Mapping[str, int]
    kind: Kind
    vocab_size: int
    parameters: int
    steps_per_epoch: int
    total_steps: int

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as `seqcls fit --dry-run --json` prints it."""
        return {**vars(self), "config": self.config.model_dump(mode="json"), "label_names": list(self.label_names)}


def _flat(evaluation: Evaluation) -> dict[str, Any]:
    values = asdict(evaluation)
    scores = {f"{split}_{name}": value for split in ("train", "validation") for name, value in values.pop(split).items()}
    return values | scores
