"""The report as an HTML page, from the template and what the sections tell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib import metadata, resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from seqcls.apps.check.findings import excerpt
from seqcls.apps.report.answers import Answers
from seqcls.apps.report.collect import Subject
from seqcls.apps.report.confidence_section import ConfidenceSection
from seqcls.apps.report.failure_section import FailureSection
from seqcls.apps.report.label_section import LabelSection
from seqcls.apps.report.parts import percent
from seqcls.apps.report.run_section import RunSection
from seqcls.evaluation.assessment import Assessment
from seqcls.evaluation.intervals import Interval, accuracy_interval


@dataclass(frozen=True, eq=False)
class Judgement:
    """What the page tells about the answers of the model: the main figures, and three sections."""

    answers: Answers
    assessment: Assessment
    accuracy: Interval
    labels: LabelSection
    confidence: ConfidenceSection
    failures: FailureSection


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
        subject=subject,
        run=RunSection(subject),
        judged=_judge(subject),
        style=Markup(style),  # noqa: S704  (ours)  # nosec B704
        version=metadata.version("seqcls"),
        written=f"{datetime.now().astimezone():%Y-%m-%d %H:%M}",
        percent=percent,
        excerpt=excerpt,
    )


def _judge(subject: Subject) -> Judgement | None:
    answers = subject.data.answers
    if answers is None:
        return None
    predictions = answers.predictions
    assessment = predictions.assess()
    return Judgement(
        answers=answers,
        assessment=assessment,
        accuracy=accuracy_interval(predictions),
        labels=LabelSection(predictions, assessment),
        confidence=ConfidenceSection(predictions, assessment),
        failures=FailureSection(answers, is_text=subject.is_text),
    )
