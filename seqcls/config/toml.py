"""Reading and writing TOML, which has no null: the word "none" stands for it."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seqcls.errors import ConfigError


def load_toml(path: Path) -> dict[str, Any]:
    """Read a settings file.

    Raises:
        ConfigError: The file cannot be read, or is not valid TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the settings file {path}: {error}") from None
    except (ValueError, RecursionError) as error:  # also for a number with too many digits, or too many brackets
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def to_toml(sections: Mapping[str, Mapping[str, Any]], *, comments: Mapping[str, str] | None = None) -> str:
    """Return sections of settings, whose values are those of JSON, as a TOML document.

    Args:
        sections: The settings by section.
        comments: What to write after a setting, by SECTION.NAME.
    """
    return "\n".join(_lines(sections, comments or {}))


def _lines(sections: Mapping[str, Mapping[str, Any]], comments: Mapping[str, str]) -> Iterator[str]:
    for section, settings in sections.items():
        tables = {name: value for name, value in settings.items() if isinstance(value, Mapping)}
        yield f"[{section}]"
        for name, value in settings.items():
            if name not in tables:
                comment = comments.get(f"{section}.{name}")
                yield f"{name} = {_value(value)}" + ("" if comment is None else f"  # {comment}")
        for name, table in tables.items():
            yield f"[{section}.{name}]"
            yield from (f"{_key(key)} = {_value(value)}" for key, value in table.items())
        yield ""


def _key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(key)} = {_value(item)}' for key, item in value.items())}}}"
    # Strings, numbers and booleans of JSON are TOML too, except that TOML escapes DEL and has no surrogate pairs.
    text = json.dumps("none" if value is None else value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return text.encode(errors="backslashreplace").decode()
