"""Writes a new plugin package from the templates."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from string import Template

from seqcls import registry
from seqcls.errors import ConfigError, OutputExistsError
from seqcls.system.files import new_directory, write_file


def new_package(kind: str, name: str, *, parent: Path) -> Path:
    """Write a package with one plugin, and tests that pass, to a new folder in ``parent``; return the folder.

    Args:
        kind: "encoder", "dataset" or "callback".
        name: The plugin's name: lower-case letters, digits and hyphens.
        parent: Where the folder ``seqcls-NAME`` goes.

    Raises:
        ConfigError: The name is not of that form, or belongs to a built-in plugin.
        OutputExistsError: The folder exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise ConfigError(f"{name!r} is not a plugin name; use lower-case letters, digits and hyphens, such as my-{kind}")
    builtins = registry.REGISTRIES[kind].builtins
    if any(name in (known, *builtin.aliases) for known, builtin in builtins.items()):
        raise ConfigError(f"the {kind} {name!r} of seqcls itself would always win; choose another name")
    folder = parent / f"seqcls-{name}"
    if folder.exists():
        raise OutputExistsError(f"{folder} exists; choose another name or --output")
    values = {
        "name": name,
        "distribution": folder.name,
        "module": folder.name.replace("-", "_"),
        "class_name": "".join(part.capitalize() for part in name.split("-")),
    }
    targets = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        "module.py": f"{values['module']}.py",
        "test.py": f"tests/test_{values['module']}.py",
    }
    with new_directory(folder, replace=False) as unfinished:
        (unfinished / "tests").mkdir()
        for template, target in targets.items():
            text = resources.files("seqcls.testing.templates").joinpath(kind, f"{template}.txt").read_text(encoding="utf-8")
            write_file(unfinished / target, Template(text).substitute(values).encode())
    return folder
