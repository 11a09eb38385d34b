"""config.json of a model directory, read and checked: what a model is, without its weights. It needs no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from seqcls.config.settings import Config
from seqcls.errors import CheckpointError, ConfigError
from seqcls.storage.upgrade import read_format
from seqcls.system.untrusted import GARBLED, check_form, parse_json

MIXED_FILES = "the files belong to different models: copy the whole folder again"
"""Ends the message about files that do not fit each other."""


class Form(BaseModel):
    """Values of exactly the stated types; other keys are ignored."""

    model_config = ConfigDict(strict=True)


class Plugin(Form):
    """The origin of an encoder or embedding. Its distribution and version become part of a command that we suggest."""

    name: str
    target: str | None
    distribution: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+!_-]*$")] | None


class Plugins(Form):
    """The plugins of a model."""

    encoder: Plugin
    embedding: Plugin


class Description(Form):
    """config.json."""

    label_names: Annotated[list[str], Field(min_length=1)]
    thresholds: list[Annotated[float, Field(allow_inf_nan=False, ge=0, le=1)]] | None
    temperature: Annotated[float, Field(allow_inf_nan=False, gt=0)] = 1.0
    plugins: Plugins
    config: dict[str, Any]
    chosen: list[str] = []
    split_digests: dict[str, str] | None = None
    label_values: dict[str, bool | int] = {}

    @field_validator("label_names")
    @classmethod
    def _check_unique(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError("a label occurs twice")
        return names


def read_description(data: bytes, path: Path) -> tuple[Description, Config]:
    """Return what ``data``, the content of ``path``, says of a model, and the settings in it.

    Raises:
        CheckpointError: It is of another format version, or a value is missing or of another form.
    """
    description = check_form(read_format(parse_json(data, path), path), Description, path)
    if description.thresholds is not None and len(description.thresholds) != len(description.label_names):
        raise CheckpointError(
            f"{path} has {len(description.thresholds)} thresholds for {len(description.label_names)} labels; {MIXED_FILES}"
        )
    try:
        return description, Config().updated(description.config, source=str(path)).marked(description.chosen)
    except (*GARBLED, ConfigError) as error:
        raise CheckpointError(f"{path} cannot be used: {error}") from error
