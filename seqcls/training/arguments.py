"""The arguments of a Trainer: data and encoder in either order."""

from __future__ import annotations

from typing import Any

from seqcls import registry
from seqcls.config.data_paths import is_data_path
from seqcls.data.sources import DataLike
from seqcls.model.encoders.base import Encoder


def data_first(
    data: DataLike | Encoder | None, encoder: str | Encoder | DataLike | None
) -> tuple[DataLike | None, str | Encoder | None]:
    """Return data and encoder in this order, whichever way round they were given.

    Version 0.1 took the encoder first. Names are told apart by the registries: data comes first unless that would not make
    sense and the other order would.
    """
    if isinstance(data, Encoder):
        return encoder, data  # type: ignore[return-value]
    if encoder is not None and not isinstance(encoder, str | Encoder):
        return encoder, data  # type: ignore[return-value]
    if isinstance(encoder, Encoder) or not isinstance(data, str | None):
        return data, encoder
    as_given = _may_be_data(data) and _may_be_encoder(encoder)
    return (data, encoder) if as_given or not (_may_be_data(encoder) and _may_be_encoder(data)) else (encoder, data)


def _may_be_data(name: str | None) -> bool:
    return name is None or is_data_path(name) or _is_known(registry.datasets, name)


def _may_be_encoder(name: str | None) -> bool:
    return name is None or _is_known(registry.encoders, name)


def _is_known(plugins: registry.Registry[Any], name: str) -> bool:
    return any(name in (info.name, *info.aliases) for info in plugins.plugins())
