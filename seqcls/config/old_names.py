"""Settings by the names they had in seqcls 0.1, and what those names became."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from seqcls.errors import ConfigError
from seqcls.system.deprecation import warn_renamed

_FIRST_BETA = 0.9  # fixed in seqcls 0.1


def _unchanged(value: object) -> object:
    return value


RENAMED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "num_words": ("vocab_size", _unchanged),
    "bucket": ("bucket_by_length", _unchanged),
    "accumulate": ("accumulate_batches", _unchanged),
    "beta2": ("betas", lambda value: [_FIRST_BETA, value]),
}
"""The new name of each setting, and what turns an old value into a new one."""
_NOTES = {"betas": ", a pair of which beta2 is the second"}

FLAGS = ("baseline", "report")
"""Former settings of the section fit that are flags of `seqcls fit` now."""


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that seqcls 0.1 saved, such as {"fit": {"beta2": 0.98}}, under their current names.

    Raises:
        ConfigError: A setting is given under both of its names.
    """
    return {section: rename(table, warn=False) if _is_table(table) else table for section, table in values.items()}


def renamed_by_user(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that a user wrote under their current names, with a warning about each old name; raises likewise."""
    return {section: rename(table, warn=True) if _is_table(table) else table for section, table in values.items()}


def rename(settings: Mapping[str, Any], *, warn: bool) -> dict[str, Any]:
    """Return the settings of one section, or of several in one dictionary, under their current names; raises likewise."""
    current = {}
    for name, value in settings.items():
        if name in FLAGS:
            if warn:
                warn_renamed(f"the setting {name} is ignored; it is now a flag of `seqcls fit`: --{name} or --no-{name}")
        elif name in RENAMED:
            new_name, convert = RENAMED[name]
            if new_name in settings:
                raise ConfigError(f"{name} is the old name of {new_name}; give only {new_name}")
            if warn:
                warn_renamed(f"the setting {name} is now {new_name}{_NOTES.get(new_name, '')}")
            current[new_name] = convert(value)
        else:
            current[name] = value
    return current


def current_name(name: str) -> str:
    """Return the current name of a setting, with or without its section; warn if ``name`` is an old one."""
    section, dot, key = name.rpartition(".")
    if key not in RENAMED or section not in ("", "data", "fit"):
        return name
    new_name, _ = RENAMED[key]
    warn_renamed(f"the setting {key} is now {new_name}{_NOTES.get(new_name, '')}")
    return f"{section}{dot}{new_name}"


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping)
