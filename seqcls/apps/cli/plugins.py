"""`seqcls list` and `seqcls info`: the encoders, embeddings, data sets and callbacks, and their options."""

from __future__ import annotations

import sys
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any

import typer

from seqcls import registry
from seqcls.apps.cli import flags
from seqcls.apps.cli.output import print_json, say
from seqcls.errors import UsageError


class Kind(StrEnum):
    """The things that `seqcls info` describes."""

    encoder = "encoder"
    embedding = "embedding"
    dataset = "dataset"
    callback = "callback"
    system = "system"


def list_plugins(
    check: Annotated[
        bool,
        typer.Option("--check", help="Import each plugin and test that it keeps its contract; exit with code 1 otherwise."),
    ] = False,
    as_json: flags.Json = False,
) -> None:
    """List encoders, embeddings, data sets and callbacks.

    Each is shown with the distribution that provides it; none is imported, except with --check.
    """
    infos = {kind: known.plugins() for kind, known in registry.REGISTRIES.items()}
    if check:
        infos = {kind: [_checked(info) for info in of_kind] for kind, of_kind in infos.items()}
    if as_json:
        print_json({f"{kind}s": [_as_dict(info) for info in of_kind] for kind, of_kind in infos.items()})
        _fail_if_any_is_broken(infos, check=check)
        return
    for kind, of_kind in infos.items():
        rows = [(_names(info), info.origin, _remark(info)) for info in of_kind]
        _print_table([(f"{kind.upper()}S", "FROM", ""), *rows])
        typer.echo()
    _fail_if_any_is_broken(infos, check=check)


def info(
    kind: Annotated[
        Kind, typer.Argument(metavar="KIND", help="encoder, embedding, dataset, callback or system.", show_default=False)
    ],
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Registered name; omit it for system.", show_default=False)
    ] = None,
    as_json: flags.Json = False,
) -> None:
    """Show a plugin's origin and options, or describe the system.

    Plugins are encoders, embeddings, data sets and callbacks.
    """
    if (kind == Kind.system) != (name is None):
        raise UsageError("give a name: `seqcls info encoder lstm`" if name is None else "`seqcls info system` takes no name")
    if name is None:
        _show_system(as_json=as_json)
        return
    from seqcls.config import options

    known = registry.REGISTRIES[kind.value]
    plugin = known.info(name)
    described = options.describe(known.get(name))
    if as_json:
        print_json({**_as_dict(plugin), "options": [vars(option) for option in described]})
        return
    _print_table([(f"{_names(plugin)}: {plugin.description}",), (f"from {plugin.origin}, {plugin.target}",)])
    typer.echo()
    rows = [
        (
            option.name,
            " ".join(filter(None, [option.type, option.constraints])),
            "required" if option.required else str(option.default),
            option.help,
        )
        for option in described
    ]
    _print_table([("OPTION", "TYPE", "DEFAULT", ""), *rows])


def _show_system(*, as_json: bool) -> None:
    """Print what a run records about its machine."""
    from seqcls.system.device import resolve_device
    from seqcls.training.environment import describe_environment

    described = describe_environment(resolve_device(), processes=1)
    if as_json:
        print_json(described)
    else:
        _print_table([(name, str(value)) for name, value in described.items()])


def _checked(info: registry.PluginInfo) -> registry.PluginInfo:
    """Return ``info`` with the problem that loading and testing the plugin shows, if any."""
    from seqcls.testing.plugins import find_problem

    say(f"checking the {info.kind} {info.name} of {info.origin}")
    return info if info.problem else replace(info, problem=find_problem(info))


def _fail_if_any_is_broken(infos: dict[str, list[registry.PluginInfo]], *, check: bool) -> None:
    if check and any(info.problem for of_kind in infos.values() for info in of_kind):
        raise typer.Exit(1)


def _as_dict(info: registry.PluginInfo) -> dict[str, Any]:
    return {**vars(info), "aliases": list(info.aliases)}


def _names(info: registry.PluginInfo) -> str:
    return f"{info.name} ({', '.join(info.aliases)})" if info.aliases else info.name


def _remark(info: registry.PluginInfo) -> str:
    if info.shadowed:
        return "not used: another plugin has this name"
    return info.problem or info.description


def _print_table(rows: list[tuple[str, ...]]) -> None:
    """Print rows in columns; on a terminal they are wrapped to the window."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    for _ in rows[0]:
        table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    # Without a terminal rich would cut lines at 80 columns; scripts want whole lines.
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 1000, highlight=False).print(table)
