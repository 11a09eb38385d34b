"""Is one model better than another? Both are asked about the same examples: luck with them is the same for both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqcls.config.settings import Config
from seqcls.config.values import OptionValue
from seqcls.data.datasets.base import Dataset
from seqcls.data.splits import Splits
from seqcls.errors import DataError, MissingExtraError, TrainingError
from seqcls.evaluation.predictions import Predictions
from seqcls.inference.classifier import Classifier
from seqcls.storage.model_directory import to_json
from seqcls.storage.run_directory import RunDirectory, resolve_model_path
from seqcls.system.files import replace_file
from seqcls.system.untrusted import parse_json
from seqcls.training.callbacks.base import Callback
from seqcls.training.trainer import Trainer

_RESAMPLES = 10_000
_SEED = 0
_LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A figure, and between what its true value lies with a confidence of 95%; None where nothing is known of that."""

    value: float
    low: float | None = None
    high: float | None = None

    def in_percent(self) -> str:
        """Return "88.1", or "88.1, 95% interval 87.9 to 88.4"."""
        known = (
            "" if self.low is None or self.high is None else f", 95% interval {100 * self.low:.1f} to {100 * self.high:.1f}"
        )
        return f"{100 * self.value:.1f}{known}"


@dataclass(frozen=True)
class Difference:
    """By how much one model, or encoder, is more accurate than another.

    Attributes:
        one: Its name.
        other: The other's.
        accuracy: The difference of accuracies.
        only_one: The number of examples that only the one gets right; None for a comparison over seeds.
        only_other: The number that only the other gets right.
        p_value: Of McNemar's exact test: how probable at least so unequal numbers are between models that are equally good.
    """

    one: str
    other: str
    accuracy: Interval
    only_one: int | None = None
    only_other: int | None = None
    p_value: float | None = None

    @property
    def is_certain(self) -> bool:
        """Whether the interval leaves out zero: one of the two is better."""
        low, high = self.accuracy.low, self.accuracy.high
        return low is not None and high is not None and (low > 0 or high < 0)

    def sentence(self) -> str:
        """Return in words what was found; ``one`` is the better of the two, as `differences` gives them."""
        value, _, interval = self.accuracy.in_percent().partition(",")
        more = f",{interval}" if interval else "; one seed does not tell how sure that is"
        test = "" if self.p_value is None else f" (McNemar p = {self.p_value:.2g})"
        if self.is_certain:
            return f"{self.one} is better than {self.other} by {value} points{more}{test}"
        return f"No difference between {self.one} and {self.other} is certain: {value} points{more}{test}"

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as `seqcls compare --json` prints them."""
        return {**asdict(self), "sentence": self.sentence()}


def accuracy_interval(predictions: Predictions) -> Interval:
    """Return a model's accuracy with the percentile interval of a bootstrap (Efron & Tibshirani 1993, ch. 13)."""
    right = predictions.is_right
    draws = np.random.default_rng(_SEED).binomial(len(right), right.mean(), _RESAMPLES) / len(right)
    return _interval(float(right.mean()), draws)


def compare(one: str, other: str, predictions: Mapping[str, Predictions]) -> Difference:
    """Return by how much one model is better than another on the same examples.

    The bootstrap draws examples, and so pairs of answers: only three kinds of them matter, those that one or the other alone
    gets right and the rest, so that the numbers of a resample are drawn at once.

    Raises:
        DataError: They were not asked about the same examples.
    """
    check_same_examples(predictions[one], predictions[other])
    right, others = predictions[one].is_right, predictions[other].is_right
    counts = [int((right & ~others).sum()), int((~right & others).sum()), int((right == others).sum())]
    total = len(right)
    draws = np.random.default_rng(_SEED).multinomial(total, np.array(counts) / total, _RESAMPLES)
    accuracy = _interval((counts[0] - counts[1]) / total, (draws[:, 0] - draws[:, 1]) / total)
    return Difference(one, other, accuracy, counts[0], counts[1], _mcnemar(counts[0], counts[1]))


def differences(predictions: Mapping[str, Predictions]) -> list[Difference]:
    """Return how the most accurate model differs from each of the others."""
    best = max(predictions, key=lambda name: predictions[name].score.accuracy)
    return [compare(best, name, predictions) for name in predictions if name != best]


def seed_differences(accuracies: Mapping[str, Sequence[float]]) -> list[Difference]:
    """Return how the encoder with the best mean accuracy differs from each other, the seeds taken in pairs."""
    best = max(accuracies, key=lambda name: float(np.mean(accuracies[name])))
    pairs = {name: np.subtract(accuracies[best], values) for name, values in accuracies.items() if name != best}
    return [Difference(best, name, mean_interval(values.tolist())) for name, values in pairs.items()]


def check_same_examples(one: Predictions, other: Predictions) -> None:
    """Raise DataError unless both models were asked about the same number of examples, with the same labels."""
    named = [_named_labels(predictions) for predictions in (one, other)]
    if len(named[0]) != len(named[1]) or named[0] != named[1]:
        raise DataError(
            f"the models were not asked about the same examples ({len(named[0])} and {len(named[1])}, or other labels); "
            "give --dataset, and --split, that are the same for all"
        )


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of a figure over seeds with the interval of Student's t; one value tells nothing of the spread."""
    found = np.asarray(values, dtype=np.float64)
    mean = float(found.mean())
    if len(found) == 1:
        return Interval(mean)
    quantile = _scipy_stats().t.ppf((1 + _LEVEL) / 2, len(found) - 1)
    half = float(quantile * found.std(ddof=1) / math.sqrt(len(found)))
    return Interval(mean, mean - half, mean + half)


def _named_labels(predictions: Predictions) -> list[tuple[str, ...]]:
    names = predictions.label_names
    return [tuple(sorted(names[number] for number in np.flatnonzero(row))) for row in predictions.true]


def _interval(value: float, draws: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(draws, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(value, float(low), float(high))


def _mcnemar(only_one: int, only_other: int) -> float:
    """Return the two-sided p-value of McNemar's test by the binomial distribution."""
    total = only_one + only_other
    return float(_scipy_stats().binomtest(only_one, total).pvalue) if total else 1.0


def _scipy_stats() -> Any:
    try:
        from scipy import stats
    except ModuleNotFoundError:
        raise MissingExtraError("scipy", "report") from None
    return stats


@dataclass(frozen=True, eq=False)
class Contestant:
    """A trained model, and what it said.

    Attributes:
        name: The model's directory, or the encoder's name.
        predictions: What it said of the examples.
        parameters: Number of its weights.
        megabytes: Size of its directory.
    """

    name: str
    predictions: Predictions
    parameters: int
    megabytes: float

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as `seqcls compare --json` prints them."""
        assessment = self.predictions.assess()
        seconds, count = self.predictions.seconds, assessment.score.count
        return {
            "name": self.name,
            "accuracy": asdict(accuracy_interval(self.predictions)),
            "macro_f1": assessment.macro_f1,
            "calibration_error": assessment.calibration_error,
            "loss": assessment.score.loss,
            "count": count,
            "examples_per_second": None if seconds is None else round(count / seconds),
            "parameters": self.parameters,
            "megabytes": round(self.megabytes, 2),
        }


def ask(
    path: str | Path,
    data: str | Dataset | Splits | None = None,
    *,
    split: str = "test",
    options: Mapping[str, OptionValue] | None = None,
    device: str = "auto",
) -> Contestant:
    """Load the model at ``path`` and let it classify the examples; the arguments are those of `Classifier.predictions`."""
    classifier = Classifier.from_pretrained(path, device=device)
    files = [file for file in resolve_model_path(Path(path)).iterdir() if file.is_file()]
    return Contestant(
        name=str(path),
        predictions=classifier.predictions(data, split=split, options=options),
        parameters=classifier.num_parameters,
        megabytes=sum(file.stat().st_size for file in files) / 1e6,
    )


def train(config: Config, folder: Path, *, callbacks: Sequence[Callback]) -> dict[str, Any]:
    """Train a model in ``folder``/run and return `FitResult.as_dict`; one that is there is taken, one half done goes on.

    Raises:
        TrainingError: A signal ended the run.
        SeqclsError: As `Trainer.fit`.
    """
    report, run = folder / "result.json", folder / "run"
    trainer = Trainer(config=config, callbacks=callbacks, output=run, overwrite=True)
    settings = trainer.config.model_dump(mode="json")
    if report.is_file():
        found: dict[str, Any] = parse_json(report.read_bytes(), report)
        if found.get("config") == settings:
            return found
    if (run / "checkpoints.json").is_file() and RunDirectory.open(run).restorable().model.config == trainer.config:
        trainer = Trainer.resume(run, callbacks=callbacks)
    folder.mkdir(parents=True, exist_ok=True)
    result = trainer.fit()
    if result.model is None:
        raise TrainingError(f"the comparison was stopped: {result.stop_reason}; the same command takes it up again")
    found = {**result.as_dict(), "config": settings}
    replace_file(report, to_json(found))
    return found


def plot(intervals: Mapping[str, Interval], path: Path, *, label: str) -> None:
    """Draw figures with their intervals, best first, as PNG, SVG or PDF, whichever the ending says; needs matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtraError("matplotlib", "report") from None
    ranked = sorted(intervals.items(), key=lambda item: item[1].value)
    figure = Figure(figsize=(6.4, 1.2 + 0.35 * len(ranked)), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for place, (_, interval) in enumerate(ranked):
        if interval.low is not None and interval.high is not None:
            axes.plot([100 * interval.low, 100 * interval.high], [place, place], color="grey")
        axes.plot([100 * interval.value], [place], "o", color="C0")
    axes.set_yticks(range(len(ranked)), labels=[name for name, _ in ranked])
    axes.set_xlabel(f"{label}, %, with 95% intervals")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot write the plot {path}: {error}") from error
