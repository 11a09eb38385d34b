"""What the page tells about the run: curves, scores, the linear baseline, costs, settings, and the sizes of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from seqcls.apps.report import plots
from seqcls.apps.report.collect import Subject
from seqcls.apps.report.parts import MAX_ROWS, Plot, Table, percent
from seqcls.config.values import Monitor
from seqcls.evaluation.intervals import wilson_interval
from seqcls.evaluation.scores import Score
from seqcls.storage.schemas import EvaluationRow
from seqcls.training.callbacks.console import format_seconds


class RunSection:
    """What the page tells about the run."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._history = subject.history
        self._config = subject.model.config
        self.encoder = self._config.model.encoder
        self.dataset = self._config.data.dataset

    @property
    def parameters(self) -> str:
        """The number of weights, short enough for a card."""
        count = self._subject.parameters
        return f"{count:,}" if count < 1_000_000 else f"{count / 1e6:.2f} M"

    @cached_property
    def curves(self) -> list[Plot]:
        """Loss and accuracy of training and validation over the epochs, and the macro F1 of validation where it counts."""
        rows = self._history.evaluations
        if not rows or not rows[-1].step:  # a linear model is fitted without steps
            return []
        steps_per_epoch = rows[0].step / rows[0].epoch if rows[0].epoch else rows[0].step
        epochs = [row.step / steps_per_epoch for row in rows]
        best = next((number for number in reversed(range(len(rows))) if rows[number].best), 0)

        def figures(monitor: Monitor, *splits: str, scale: int = 100) -> dict[str, list[float]]:
            names = {"train": "training", "validation": "validation"}
            return {names[split]: [scale * getattr(row, split).figure(monitor) for row in rows] for split in splits}

        curves = [
            self._curve(rows, epochs, best, "loss", figures("loss", "train", "validation", scale=1), digits=4),
            self._curve(rows, epochs, best, "accuracy", figures("accuracy", "train", "validation"), unit=" (%)"),
        ]
        if self._config.fit.monitor == "f1":
            curves.append(self._curve(rows, epochs, best, "macro F1", figures("f1", "validation"), unit=" (%)"))
        return curves

    @staticmethod
    def _curve(
        rows: Sequence[EvaluationRow],
        epochs: list[float],
        best: int,
        name: str,
        figures: Mapping[str, list[float]],
        *,
        digits: int = 1,
        unit: str = "",
    ) -> Plot:
        svg = plots.draw_curves(
            f"curve-{name.replace(' ', '-')}",
            f"Line plot: {name} of {' and '.join(figures)} by epoch",
            [(epochs, values) for values in figures.values()],
            x_label="epoch",
            y_label=name + unit,
            marked_x=epochs[best],
        )
        cells = [[f"{value:.{digits}f}" for value in values] for values in figures.values()]
        table = Table(
            ["epoch", *figures, "learning rate", "time"],
            [
                [f"{epoch:.3g}", *values, f"{row.lr:.2e}", format_seconds(row.seconds)]
                for epoch, *values, row in zip(epochs, *cells, rows, strict=True)
            ],
        )
        note = f"The dotted line marks the best evaluation, after {epochs[best]:.3g} epochs, whose weights the model has."
        legend = [{"training": "training, with dropout"}.get(split, split) for split in figures]
        return Plot(f"{name[0].upper()}{name[1:]} by epoch", svg, note, table, legend)

    @cached_property
    def scores(self) -> dict[str, Score]:
        """The scores that the run stored with its model, by split."""
        metrics = self._subject.model.metrics
        scores = {name: metrics[name] for name in ("validation", "test") if isinstance(metrics.get(name), dict)}
        return {name: Score(**values) for name, values in scores.items()}

    def linear_accuracy(self, split: str) -> str | None:
        """Return the accuracy of the linear baseline on a split; None if it was not scored there."""
        score = self._history.baseline and getattr(self._history.baseline, split, None)
        return percent(score.accuracy) if score else None

    @cached_property
    def compared(self) -> Table | None:
        """The models among which this one was chosen."""
        rows = [
            [
                f"{row.name} (chosen)" if row.is_chosen else row.name,
                wilson_interval(row.validation.correct, row.validation.count).in_percent(),
                f"{row.validation.loss:.3f}",
                format_seconds(row.seconds),
            ]
            for row in self._history.compared
        ]
        return Table(["model", "accuracy, 95% interval", "loss", "time"], rows) if rows else None

    @cached_property
    def compared_on(self) -> str:
        """What they were compared on, in a sentence."""
        first = self._history.compared[0]
        how = "held out for validation" if first.folds == 1 else f"by cross-validation in {first.folds} parts"
        return f"The models were compared on {first.validation.count:,} examples, {how}."

    @cached_property
    def baseline(self) -> Table | None:
        """The network beside the linear baseline, on the splits on which both were scored."""
        baseline = self._history.baseline
        if baseline is None:
            return None
        pairs = {name: (score, getattr(baseline, name)) for name, score in self.scores.items()}
        rows = [
            [name, _accuracy_and_f1(network), _accuracy_and_f1(linear), f"{network.loss:.3f}", f"{linear.loss:.3f}"]
            for name, (network, linear) in pairs.items()
            if linear is not None
        ]
        return Table(["split", "network, accuracy", "linear, accuracy", "network, loss", "linear, loss"], rows)

    @cached_property
    def baseline_verdict(self) -> str:
        """A sentence about which of the two is better on validation."""
        baseline, score = self._history.baseline, self.scores.get("validation")
        assert baseline is not None
        if score is None:
            return ""
        figure, network, linear = "accuracy", score.accuracy, baseline.validation.accuracy
        if score.f1 is not None and baseline.validation.f1 is not None:
            figure, network, linear = "F1", score.f1, baseline.validation.f1
        points = f"{100 * abs(network - linear):.1f} points of {figure}"
        if network > linear:
            return f"On validation, the network is better than the linear model by {points}."
        if network == linear:
            return "On validation, the network and the linear model are equally good."
        return (
            f"On validation, the linear model is better than the network by {points}: try other settings, another encoder "
            "or more data, or use a linear model."
        )

    @cached_property
    def costs(self) -> list[tuple[str, str]]:
        """What the training took, and what the model needs."""
        rows, baseline = self._history.evaluations, self._history.baseline
        costs = []
        if rows:
            costs.append(("training, including preparation and evaluation", format_seconds(rows[-1].seconds)))
            costs.append(("training speed", f"{rows[-1].examples_per_second:,.0f} examples/s"))
        costs.append(("parameters", f"{self._subject.parameters:,}"))
        costs.append(("model directory", f"{self._subject.megabytes:.2f} MB"))
        if baseline is not None:
            costs.append(("linear baseline", f"{baseline.seconds:.1f} s, {baseline.features:,} n-grams"))
        return costs

    @cached_property
    def settings(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """All settings, by section; (auto) follows a value that was chosen to fit the data."""
        chosen = set(self._config.chosen)
        rows: list[tuple[str, list[tuple[str, str]]]] = []
        for section, values in self._config.model_dump(mode="json").items():
            marks = {key: " (auto)" if f"{section}.{key}" in chosen else "" for key in values}
            rows.append((section, [(key, f"{_shown(value)}{marks[key]}") for key, value in values.items()]))
        return rows

    @cached_property
    def sizes(self) -> Table:
        """The number of examples of each label in each split; of many labels, those with the fewest in training."""
        sizes, names = self._subject.data.label_sizes, self._subject.model.label_names
        counts = np.zeros((len(sizes), len(names)), dtype=np.int64)
        for row, column in zip(counts, sizes.values(), strict=True):
            row[: len(column)] = column[: len(names)]
        shown = np.sort(np.argsort(counts[0], kind="stable")[:MAX_ROWS])
        rows = [[names[label], *(f"{count:,}" for count in counts[:, label])] for label in shown.tolist()]
        return Table(["label", *sizes], rows)

    @cached_property
    def sizes_note(self) -> str:
        """A sentence about the labels that the table of sizes does not show; empty if it shows all."""
        names, train = self._subject.model.label_names, next(iter(self._subject.data.label_sizes.values()))
        if len(names) <= MAX_ROWS:
            return ""
        return (
            f"The {MAX_ROWS} of {len(names):,} labels with the fewest training examples are shown. "
            f"The commonest label has {max(train):,}."
        )


def _accuracy_and_f1(score: Score) -> str:
    return percent(score.accuracy) if score.f1 is None else f"{percent(score.accuracy)}, F1 {score.f1:.3f}"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} = {_shown(item)}" for name, item in value.items()) or "–"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
