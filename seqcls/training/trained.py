"""What is known of a candidate whose trainings are done, and how it is trained again on all examples."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from seqcls.config.auto import chosen
from seqcls.config.settings import Config, DataConfig
from seqcls.storage.model_directory import load_model_directory
from seqcls.storage.run_directory import RunDirectory
from seqcls.system.device import resolve_device
from seqcls.system.processes import world
from seqcls.training.candidates import Candidate
from seqcls.training.finish import HeldOut, Measured
from seqcls.training.results import Compared
from seqcls.training.scoring import Scorer
from seqcls.training.trainer import Trainer


@dataclass(frozen=True, eq=False)
class Trained:
    """A candidate whose trainings, one or one per fold, are done.

    Attributes:
        candidate: The candidate.
        config: The settings of its first training, with the values that were chosen to fit the data.
        runs: The run directories.
        compared: Its figures.
        measured: What the held-out examples say about shares, temperature and thresholds.
        epochs: How many epochs, on the average, led to the best checkpoint.
        fitted_with: Settings of a wide path, the middle ones of the trainings, by name.
        trained_on: The number of training examples of the first training.
        examples: The same and those of validation.
    """

    candidate: Candidate
    config: Config
    runs: tuple[RunDirectory, ...]
    compared: Compared
    measured: Measured
    epochs: float
    fitted_with: dict[str, float]
    trained_on: int
    examples: int

    @classmethod
    def of(
        cls, candidate: Candidate, runs: Sequence[tuple[Trainer, RunDirectory]], data: DataConfig, *, seconds: float
    ) -> Trained:
        """Ask the models of finished runs about their validation splits.

        Args:
            candidate: The candidate.
            runs: Its trainers and their run directories.
            data: The settings of the data, of which those of the runs may be folds.
            seconds: How long the trainings took.
        """
        held_out = HeldOut.joined([_ask(trainer, run) for trainer, run in runs])
        trainer = runs[0][0]
        measured = held_out.measure(calibrated=trainer.config.fit.calibrate)
        paths = [path for trainer, _ in runs if (path := trainer.prepare()[1].wide) is not None]
        sizes = {name: len(split) for name, split in trainer.prepare()[0].splits.items()}
        return cls(
            candidate=candidate,
            config=trainer.config.replace(dataset=data.dataset, dataset_options=data.dataset_options),
            runs=tuple(run for _, run in runs),
            compared=Compared(candidate.name, measured.finish.scores["validation"], len(runs), round(seconds, 3)),
            measured=measured,
            epochs=statistics.fmean(_best_epochs(trainer, run) for trainer, run in runs),
            fitted_with={
                name: statistics.median_low(float(getattr(path, name)) for path in paths)
                for name in (("inverse_penalty", "vector_scale") if paths else ())
            },
            trained_on=sizes["train"],
            examples=sizes["train"] + sizes["validation"],
        )

    def config_for_all(self) -> Config:
        """Return the settings that train it on all examples, for as many epochs as were best."""
        config = self.config.replace(train_on="all", **self.fitted_with, max_time=None, patience=None)
        batches = math.ceil(self.examples / chosen(config.fit.batch_size))
        steps_per_epoch = math.ceil(batches / config.fit.accumulate_batches)
        return config.replace(max_steps=max(1, round(self.epochs * steps_per_epoch)))


def _ask(trainer: Trainer, run: RunDirectory) -> HeldOut:
    data, model = trainer.prepare()
    load_model_directory(run.model).load_into(model)
    fit = trainer.config.fit
    return HeldOut.ask(model, Scorer(fit, data, resolve_device(fit.device), world()))


def _best_epochs(trainer: Trainer, run: RunDirectory) -> float:
    """Return how many epochs led to the best checkpoint."""
    steps = [row.step for row in run.evaluations() if row.best]
    return steps[-1] / trainer.plan().steps_per_epoch if steps else 0.0
