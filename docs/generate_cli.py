"""A hook of mkdocs: makes the references of commands, settings and plugins from the code, and the changelog's page."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

from seqcls import registry
from seqcls.apps.cli.app import app
from seqcls.config import options
from seqcls.config.recipe_files import load_recipe, recipe_names
from seqcls.config.settings import SECTIONS

BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill the generated pages; called by mkdocs."""
    references = {"reference/cli.md": commands, "reference/settings.md": settings, "reference/plugins.md": plugins}
    write = {**references, "changelog.md": changelog}.get(page.file.src_uri)
    return markdown if write is None else f"{markdown}\n\n{write()}"


def changelog() -> str:
    """Return the content of CHANGELOG.md, its links as seen from the documentation."""
    text = (Path(__file__).parent.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    return text.replace("](docs/", "](")


def commands() -> str:
    """Return one section per command: its usage, its help, and a table of its arguments and flags."""
    group: Any = typer.main.get_command(app)
    parts = []
    for name, command in group.commands.items():
        if command.hidden:
            continue
        context = command.make_context(f"seqcls {name}", [], resilient_parsing=True)
        usage = command.get_usage(context).removeprefix("Usage: ")
        parameters = command.get_params(context)[:-1]  # without --help
        records = [parameter.get_help_record(context) for parameter in parameters]
        rows = [(_code(flags), help_text) for flags, help_text in filter(None, records)]
        table = _table(("argument or flag", "meaning"), rows)
        parts.append(f"## seqcls {name}\n\n{command.help}\n\n```text\n{usage}\n```\n\n{table}")
    return "\n".join(parts)


def settings() -> str:
    """Return one table per section, with the type, default and meaning of each setting; then the resolved recipes."""
    parts = []
    for section, model in SECTIONS.items():
        schema = model.model_json_schema()["properties"]
        rows = [
            (f"`{name}`", _type(schema[name]), _code(_toml(field.default)), field.description or "")
            for name, field in model.model_fields.items()
        ]
        table = _table(("setting", "type", "default", "meaning"), rows)
        parts.append(f"## [{section}]\n\n{table}")
    recipes = (f"## Recipe `{name}`, resolved\n\n```toml\n{load_recipe(name).to_toml()}```\n" for name in recipe_names())
    return "\n".join([*parts, *recipes])


def plugins() -> str:
    """Return one section per built-in plugin, with its options."""
    parts = []
    for kind, known in registry.REGISTRIES.items():
        for info in known.plugins():
            if info.name not in known.builtins:
                continue  # what happens to be installed where the site is built
            aliases = f" Alias: {', '.join(map(_code, info.aliases))}." if info.aliases else ""
            rows = [
                (_code(option.name), _code(f"{option.type} {option.constraints}"), _code(_toml(option.default)), option.help)
                for option in options.describe(known.get(info.name))
            ]
            table = _table(("option", "type", "default", "meaning"), rows)
            parts.append(f"## {kind} `{info.name}`\n\n{info.description}.{aliases}\n\n{table}")
    return "\n".join(parts)


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(map(_code, schema["enum"]))
    if "const" in schema:
        return _code(schema["const"])
    if "prefixItems" in schema:
        return f"array of {len(schema['prefixItems'])}: {_type(schema['prefixItems'][0])}"
    if "items" in schema:
        return f"array: {_type(schema['items'])}"
    name = {"null": "none", "object": "table"}.get(schema.get("type", ""), schema.get("type", "any"))
    bounds = " and ".join(f"{sign} {schema[bound]:g}" for bound, sign in BOUNDS.items() if bound in schema)
    return f"{name} {bounds}".strip()


def _toml(value: object) -> str:
    return "none" if value is None else json.dumps(value)


def _code(text: str) -> str:
    return f"`{text.strip()}`"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *(tuple(map(_cell, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    # Python-Markdown splits no code at "|", and shows a backslash in it.
    return text if "`" in text else text.replace("|", "\\|")
