"""The report of a run: one HTML file that opens without a network and runs no script.

collect.py reads the run and asks its model; figures.py computes, and plots.py draws; page.py and judgement.py say what
stands on the page, whose form is page.html.jinja's.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from seqcls.config.values import OptionValue
from seqcls.data.datasets.base import Dataset
from seqcls.data.splits import Splits
from seqcls.errors import DataError, MissingExtraError
from seqcls.model.encoders.base import Encoder
from seqcls.system.files import replacing

__all__ = ["FILE_NAME", "require_extra", "write_report"]

FILE_NAME = "report.html"
"""The report's name in the directory that it is about."""

_NEEDED = {"jinja2": "jinja2", "matplotlib": "matplotlib", "sklearn": "scikit-learn"}


def write_report(
    path: str | Path,
    output: str | Path | None = None,
    *,
    data: str | Dataset | Splits | None = None,
    options: Mapping[str, OptionValue] | None = None,
    split: str | None = None,
    device: str = "auto",
    encoder: Encoder | None = None,
    loaded: Splits | None = None,
) -> Path:
    """Write a report on a run, or on a model, as one HTML file, whole or not at all, and return where it is.

    What cannot be known, since the data set is not there or the run was interrupted, is left out, and the report says why.

    Args:
        path: The run directory, which may be that of an interrupted run; or a model directory.
        output: The file; by default ``report.html`` in ``path``.
        data: The data set, where it is not where the run found it: a registered name, a path, a data set or splits.
        options: Options of the named data set, over those that it had in training.
        split: The split on which the model is judged: "test" by default, "validation" where there is none.
        device: auto, cpu, cuda, cuda:N or mps.
        encoder: The built encoder, where the model was trained with one that is not registered.
        loaded: The run's own data set, where the caller has loaded it already (`Trainer.loaded`), which saves the time.

    Raises:
        MissingExtraError: The extra `report` is not installed.
        CheckpointError: It is no run or model directory, or a file in it is damaged.
        DataError: The data lacks the split that is asked for, or the file cannot be written.
    """
    require_extra()
    from seqcls.apps.report.collect import collect
    from seqcls.apps.report.page import render

    folder = Path(path)
    target = folder / FILE_NAME if output is None else Path(output)
    if output is not None and (target.is_dir() or not target.parent.is_dir()):
        raise DataError(f"cannot write {target}: {'it is a folder' if target.is_dir() else 'its folder does not exist'}")
    subject = collect(folder, data=data, options=options or {}, split=split, device=device, encoder=encoder, loaded=loaded)
    page = render(subject).encode("utf-8", errors="replace")
    try:
        with replacing(target) as file:
            file.write(page)
    except OSError as error:
        raise DataError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def require_extra() -> None:
    """Raise MissingExtraError where a package of the extra `report` is not installed."""
    for module, package in _NEEDED.items():
        if find_spec(module) is None:
            raise MissingExtraError(package, "report")
