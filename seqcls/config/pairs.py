"""Settings and options in the form KEY=VALUE, as flags give them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from seqcls.config import old_names
from seqcls.config.mistakes import did_you_mean
from seqcls.config.settings import all_settings, all_settings_dotted
from seqcls.errors import ConfigError


def parse_pairs(pairs: Iterable[str], *, flag: str) -> dict[str, str]:
    """Split "key=value" strings at their first "=".

    Args:
        pairs: The strings.
        flag: The flag that they were given to, for error messages.

    Raises:
        ConfigError: A pair has no "=" or no key, or a key is given twice.
    """
    values: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not (key and equals):
            raise ConfigError(f"{flag} {pair!r} is not of the form key=value")
        if key in values:
            raise ConfigError(f"{flag} gives {key} twice: {values[key]!r} and {value!r}")
        values[key] = value
    return values


def parse_named_pairs(pairs: Iterable[str], *, flag: str) -> dict[str, dict[str, str]]:
    """Split "name.key=value" strings, and return the keys and values of each name; arguments and errors as `parse_pairs`."""
    values: dict[str, dict[str, str]] = {}
    for dotted, value in parse_pairs(pairs, flag=flag).items():
        name, _, key = dotted.partition(".")
        if not (name and key):
            raise ConfigError(f"{flag} '{dotted}={value}' is not of the form name.key=value")
        values.setdefault(name, {})[key] = value
    return values


def parse_settings(pairs: Iterable[str], *, flag: str) -> dict[str, Any]:
    """Turn ["fit.schedule=cosine", "clip_norm=0.5"] into {"fit": {...}}; the section may be omitted.

    Raises:
        ConfigError: A pair has no "=", or does not name a setting.
    """
    sections = all_settings()
    sections |= {old: sections[new] for old, (new, _) in old_names.RENAMED.items()} | dict.fromkeys(old_names.FLAGS, "fit")
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        section, _, key = name.rpartition(".")
        if not equals:
            raise ConfigError(f"{flag} {pair!r}: write NAME=VALUE")
        if key not in sections or section not in ("", sections[key]):
            hint = did_you_mean(name, [*all_settings(), *all_settings_dotted()])
            raise ConfigError(f"{flag}: unknown setting {name!r}{hint or '; `seqcls fit --print-config` lists them'}")
        settings.setdefault(sections[key], {})[key] = text
    return old_names.renamed_by_user(settings)
