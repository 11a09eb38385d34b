"""config.json of a model directory, read and checked: what a model is, without its weights. It imports no torch."""

from __future__ import annotations

from pathlib import Path

from seqcls.config.settings import Config
from seqcls.errors import CheckpointError, ConfigError
from seqcls.storage.schemas import Description
from seqcls.storage.upgrade import read_format
from seqcls.system.untrusted import GARBLED, check_form, parse_json


def read_description(data: bytes, path: Path) -> tuple[Description, Config]:
    """Return what ``data``, the content of ``path``, says of a model, and the settings in it.

    Raises:
        CheckpointError: It is of another format version, or a value is missing or of another form.
    """
    description = check_form(read_format(parse_json(data, path), path), Description, path)
    if description.thresholds is not None and len(description.thresholds) != len(description.label_names):
        raise CheckpointError(
            f"{path} has {len(description.thresholds)} thresholds for {len(description.label_names)} labels; "
            "the files belong to different models: copy the whole folder again"
        )
    try:
        return description, Config().updated(description.config, source=str(path))
    except (*GARBLED, ConfigError) as error:
        raise CheckpointError(f"{path} cannot be used: {error}") from error
