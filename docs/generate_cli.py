"""mkdocs hook: writes the command-line and settings references from the code, so that they cannot drift from it."""

from __future__ import annotations

from typing import Any

import typer

from seqcls.cli import app
from seqcls.config import DataConfig, FitConfig, ModelConfig, load_recipe

SECTIONS = {"data": DataConfig, "model": ModelConfig, "fit": FitConfig}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill the two reference pages."""
    generated = {"reference/cli.md": commands, "reference/settings.md": settings}
    write = generated.get(page.file.src_uri)
    return markdown if write is None else f"{markdown}\n\n{write()}"


def commands() -> str:
    """Return a section a command: its usage, its help and a table of its arguments and flags."""
    group: Any = typer.main.get_command(app)
    parts = []
    for name, command in group.commands.items():
        if command.hidden:
            continue
        context = command.make_context(f"seqcls {name}", [], resilient_parsing=True)
        usage = command.get_usage(context).removeprefix("Usage: ")
        rows = [record for parameter in command.params if (record := parameter.get_help_record(context))]
        table = "\n".join(f"| {_code(flags)} | {_cell(text)} |" for flags, text in rows)
        parts.append(
            f"## seqcls {name}\n\n{command.help}\n\n```text\n{usage}\n```\n\n| flag | meaning |\n|---|---|\n{table}\n"
        )
    return "\n".join(parts)


def settings() -> str:
    """Return a table a section: each setting with its type, its default and its meaning."""
    parts = []
    for section, model in SECTIONS.items():
        schema = model.model_json_schema()["properties"]
        rows = [
            f"| `{name}` | {_type(schema[name])} | `{field.default}` | {_cell(field.description or '')} |"
            for name, field in model.model_fields.items()
        ]
        parts.append(
            f"## [{section}]\n\n| setting | type | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
        )
    recipe = load_recipe("tutorial").to_toml()
    return "\n".join(parts) + f"\n## The recipe `tutorial`, resolved\n\n```toml\n{recipe}```\n"


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    return {"null": "none", "object": "table"}.get(schema.get("type", ""), schema.get("type", "any"))


def _code(text: str) -> str:
    return f"`{text.replace('|', '/')}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
