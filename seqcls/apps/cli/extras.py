"""What `seqcls fit` adds to a finished run: the linear baseline and the report. Neither can cost the result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from seqcls.apps.cli.output import console, say

if TYPE_CHECKING:
    from seqcls.evaluation.baseline import Baseline
    from seqcls.evaluation.scores import Score
    from seqcls.training.choice import AutoTrainer
    from seqcls.training.results import FitResult
    from seqcls.training.trainer import Trainer


def add_extras(
    extras: dict[str, Any], trainer: Trainer | AutoTrainer, result: FitResult, *, baseline: bool, report: bool, quiet: bool
) -> None:
    """Train the linear baseline and write the report; a line on stderr says what cannot be done, and why.

    Args:
        extras: Filled with "baseline", its figures, and "report", its path, one by one: Ctrl-C leaves what is done.
        trainer: The trainer of the finished run.
        result: Its result.
        baseline: Whether to train the linear baseline.
        report: Whether to write the report.
        quiet: Whether to say nothing but failures.
    """
    from seqcls.errors import MissingExtraError

    makers: dict[str, tuple[str, Callable[..., Any]]] = {}
    if baseline:
        makers["linear baseline"] = ("baseline", _fit_baseline)
    if report:
        makers["report"] = ("report", _write_report)
    if makers and trainer.time_limit is not None:
        say(f"{_none_of(makers)}: the time limit leaves no time for {'it' if len(makers) == 1 else 'them'}", quiet=quiet)
        return
    for name, (key, make) in makers.items():
        try:
            extras[key] = make(trainer, result, quiet=quiet)
        except MissingExtraError as error:
            say(f"{_none_of([name])}: {error}", quiet=quiet)
        except Exception as error:
            say(f"The {name} failed; the run itself is complete: {type(error).__name__}: {error}")


def _none_of(names: Iterable[str]) -> str:
    return f"No {' and no '.join(names)}"


def _fit_baseline(trainer: Trainer, result: FitResult, *, quiet: bool) -> dict[str, Any]:
    """Train the linear baseline, say how it compares, and return its figures."""
    with _status("Training the linear baseline; Ctrl-C skips it", quiet=quiet):
        baseline = trainer.fit_baseline()
    figures = ", ".join(f"{name} {_figure(score)}" for name, score in _scores(baseline).items())
    say(f"Linear baseline ({baseline.description}): {figures} in {baseline.seconds:.1f} s", quiet=quiet)
    if result.validation is not None and baseline.beats(result.validation):
        say(
            f"On validation the linear baseline is better than the network ({_figure(baseline.validation)} against "
            f"{_figure(result.validation)}); leave out --encoder, or take --encoder linear.",
            quiet=quiet,
        )
    return baseline.as_dict()


def _write_report(trainer: Trainer | AutoTrainer, result: FitResult, *, quiet: bool) -> str:
    """Write the report, say where it is, and return its path."""
    from seqcls.apps.report.write import write_report

    with _status("Writing the report; Ctrl-C skips it", quiet=quiet):
        report = write_report(result.run_dir, device=trainer.config.fit.device, loaded=trainer.loaded)
    say(f"Report: {report}", quiet=quiet)
    return str(report)


@contextmanager
def _status(text: str, *, quiet: bool) -> Iterator[None]:
    if quiet:
        yield
        return
    with console().status(text):
        yield


def _scores(baseline: Baseline) -> dict[str, Score]:
    scores = {"validation": baseline.validation}
    return scores if baseline.test is None else scores | {"test": baseline.test}


def _figure(score: Score) -> str:
    return f"{100 * score.accuracy:.1f}%" if score.f1 is None else f"{100 * score.accuracy:.1f}%, F1 {score.f1:.3f}"
