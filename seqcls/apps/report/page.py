"""The report as a page, and what it says of the run; judgement.py has what it says of the model's answers."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from importlib import metadata, resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from seqcls.apps.check.findings import excerpt
from seqcls.apps.report import plots
from seqcls.apps.report.collect import Subject
from seqcls.apps.report.judgement import Judgement
from seqcls.apps.report.parts import Plot, Table, percent
from seqcls.evaluation.scores import Score
from seqcls.storage.schemas import Figures
from seqcls.training.callbacks.console import format_seconds


def render(subject: Subject) -> str:
    """Return the page."""
    environment = Environment(
        loader=PackageLoader("seqcls.apps.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = resources.files("seqcls.apps.report").joinpath("style.css").read_text(encoding="utf-8")
    return environment.get_template("page.html.jinja").render(
        page=Page(subject),
        subject=subject,
        judged=None if subject.answers is None else Judgement(subject.answers, is_text=subject.is_text),
        style=Markup(style),  # noqa: S704  (ours)  # nosec B704
        version=metadata.version("seqcls"),
        made=f"{datetime.now().astimezone():%Y-%m-%d %H:%M}",
        percent=percent,
        excerpt=excerpt,
    )


class Page:
    """What the page says of the run."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.config = subject.model.config
        self.encoder = self.config.model.encoder
        self.dataset = self.config.data.dataset
        count = subject.parameters
        self.parameters = f"{count:,}" if count < 1_000_000 else f"{count / 1e6:.2f} M"

    @cached_property
    def curves(self) -> list[Plot]:
        """Loss and accuracy over the epochs, of training and validation."""
        rows = self._subject.evaluations
        if not rows:
            return []
        steps_per_epoch = rows[0].step / rows[0].epoch if rows[0].epoch else rows[0].step
        x = [row.step / steps_per_epoch for row in rows]
        best = next((number for number in reversed(range(len(rows))) if rows[number].best), 0)
        at_best = f"The dotted line marks the best evaluation, after {x[best]:.3g} epochs, which is the model's."
        found = []
        for name, unit in (("loss", ""), ("accuracy", ", %")):
            scale = 100 if unit else 1
            series = [[scale * getattr(getattr(row, split), name) for row in rows] for split in ("train", "validation")]
            digits = 1 if unit else 4
            cells = [[f"{value:.{digits}f}" for value in values] for values in series]
            title = f"{name.capitalize()} by epoch"
            svg = plots.draw_curves(
                f"curve-{name}",
                f"Line plot: {name} of training and validation by epoch",
                [(x, values) for values in series],
                x_label="epoch",
                y_label=f"{name}{unit}",
                marked_x=x[best],
            )
            table = Table(
                ["epoch", "training", "validation", "learning rate", "time"],
                [
                    [f"{epoch:.3g}", *values, f"{row.lr:.2e}", format_seconds(row.seconds)]
                    for epoch, *values, row in zip(x, *cells, rows, strict=True)
                ],
            )
            found.append(Plot(title, svg, at_best, table, ("training, with dropout", "validation")))
        return found

    @cached_property
    def scores(self) -> dict[str, Score]:
        """The figures that the run left with its model."""
        found = self._subject.model.metrics
        scores = {name: found[name] for name in ("validation", "test") if isinstance(found.get(name), dict)}
        return {name: Score(**values) for name, values in scores.items()}

    def linear(self, split: str) -> str | None:
        """The linear baseline's accuracy on a split; None if it was not scored there."""
        found = self._subject.baseline and getattr(self._subject.baseline, split, None)
        return percent(found.accuracy) if found else None

    @cached_property
    def baseline(self) -> Table | None:
        """The network beside the linear baseline, on the splits that both were scored on."""
        baseline = self._subject.baseline
        if baseline is None:
            return None
        pairs = {name: (score, getattr(baseline, name)) for name, score in self.scores.items()}
        rows = [
            [name, _figure(ours), _figure(theirs), f"{ours.loss:.3f}", f"{theirs.loss:.3f}"]
            for name, (ours, theirs) in pairs.items()
            if theirs is not None
        ]
        return Table(["split", "network, accuracy", "linear, accuracy", "network, loss", "linear, loss"], rows)

    @cached_property
    def baseline_verdict(self) -> str:
        """Which of the two is better on validation, in a sentence."""
        baseline, mine = self._subject.baseline, self.scores.get("validation")
        assert baseline is not None
        if mine is None:
            return ""
        name, ours, theirs = "accuracy", mine.accuracy, baseline.validation.accuracy
        if mine.f1 is not None and baseline.validation.f1 is not None:
            name, ours, theirs = "F1", mine.f1, baseline.validation.f1
        points = f"{100 * abs(ours - theirs):.1f} points of {name}"
        if ours > theirs:
            return f"On validation the network is better than the linear model by {points}."
        if ours == theirs:
            return "On validation the two are equally good."
        return (
            f"On validation the linear model is better by {points}: try other settings, another encoder or more data, "
            "or use a linear model."
        )

    @cached_property
    def costs(self) -> list[tuple[str, str]]:
        """What training took and what the model needs."""
        rows, subject = self._subject.evaluations, self._subject
        found = []
        if rows:
            found.append(("training, with preparation and evaluations", format_seconds(rows[-1].seconds)))
            found.append(("training speed", f"{rows[-1].examples_per_second:,.0f} examples a second"))
        found.append(("parameters", f"{subject.parameters:,}"))
        found.append(("model directory", f"{subject.megabytes:.2f} MB"))
        if subject.baseline is not None:
            found.append(("linear baseline", f"{subject.baseline.seconds:.1f} s, {subject.baseline.features:,} n-grams"))
        return found

    @cached_property
    def settings(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """All settings, by section."""
        sections = self.config.model_dump(mode="json")
        return [(name, [(key, _shown(value)) for key, value in values.items()]) for name, values in sections.items()]

    @cached_property
    def sizes(self) -> Table:
        """The number of examples of each label in each split."""
        sizes, names = self._subject.label_sizes, self._subject.model.label_names
        rows = [
            [name, *(f"{counts[number] if number < len(counts) else 0:,}" for counts in sizes.values())]
            for number, name in enumerate(names)
        ]
        return Table(["label", *sizes], rows)


def _figure(score: Score | Figures) -> str:
    return percent(score.accuracy) if score.f1 is None else f"{percent(score.accuracy)}, F1 {score.f1:.3f}"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} = {_shown(item)}" for name, item in value.items()) or "–"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
