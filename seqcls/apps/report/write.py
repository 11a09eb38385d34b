"""Writing the report of a run: one HTML file that opens without a network and runs no scripts.

collect.py and answers.py gather what is told, figures.py computes and plots.py draws; the four *_section.py say what the
page tells, and render.py fills it into page.html.jinja.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from seqcls.config.values import OptionValue
from seqcls.data.sources import DataLike
from seqcls.data.splits import Splits
from seqcls.errors import DataError, MissingExtraError
from seqcls.model.encoders.base import Encoder
from seqcls.system.files import replacing

__all__ = ["FILE_NAME", "require_extra", "write_report"]

FILE_NAME = "report.html"
"""The name of the report in the directory that it is about."""

_PACKAGES = {"jinja2": "jinja2", "matplotlib": "matplotlib", "sklearn": "scikit-learn"}


def write_report(
    path: str | Path,
    output: str | Path | None = None,
    *,
    data: DataLike | None = None,
    options: Mapping[str, OptionValue] | None = None,
    split: str | None = None,
    device: str = "auto",
    encoder: Encoder | None = None,
    loaded: Splits | None = None,
) -> Path:
    """Write the report of a run or of a model as one HTML file, whole or not at all, and return its path.

    What is not known, because the data set is missing or the run was interrupted, is left out, and the report says why.

    Args:
        path: A run directory, which may be that of an interrupted run, or a model directory.
        output: The file; by default ``report.html`` in ``path``.
        data: The data set, if it is not where the run found it: a registered name, a path, or any other `DataLike`.
        options: Options of the named data set, which override those it had in training.
        split: The split on which the model is evaluated: by default "test", or "validation" if there is no test split.
        device: auto, cpu, cuda, cuda:N or mps.
        encoder: The built encoder, if the model was trained with one that is not registered.
        loaded: The data set of the run, if the caller has already loaded it (`Trainer.loaded`), which saves time.

    Raises:
        MissingExtraError: The extra `report` is not installed.
        CheckpointError: The path is not a run or model directory, or a file in it is damaged.
        DataError: The data lack the split that is asked for, or the file cannot be written.
    """
    require_extra()
    from seqcls.apps.report.collect import collect
    from seqcls.apps.report.render import render

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
    """Raise MissingExtraError unless the packages of the extra `report` are installed."""
    for module, package in _PACKAGES.items():
        if find_spec(module) is None:
            raise MissingExtraError(package, "report")
