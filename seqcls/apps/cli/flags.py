"""Flags that several commands share, and the kind of command that takes settings as flags.

Which settings are flags is said in `seqcls.apps.cli.settings`, which is imported when such a command is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from seqcls.errors import UsageError

if TYPE_CHECKING:
    from seqcls.apps.cli.settings import SettingFlags

RUN_PANEL = "Run"

Model = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="Model or run directory, or user/model on the Hugging Face Hub.", show_default=False
    ),
]
Texts = Annotated[
    list[str] | None,
    typer.Argument(metavar="TEXT", help="Texts; a single - reads one per line from stdin.", show_default=False),
]
TextFile = Annotated[
    Path | None,
    typer.Option(
        "--file", "-f", metavar="FILE", help="Read a table (.csv, .tsv, .jsonl, .parquet, …), or one text per line."
    ),
]
TextColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="Column of the text in a table; by default one with a usual name.")
]
TableOption = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset-option", metavar="KEY=VALUE", help="How a table is written: delimiter, quoting, encoding or header."
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option("--dataset", "-d", metavar="NAME|PATH", help="Data set; by default the one the model was trained on."),
]
DatasetOption = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Option of the data set, as `seqcls info dataset NAME` lists them."),
]
Split = Annotated[str, typer.Option(metavar="SPLIT", help="train, validation or test.")]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps.")]
Threads = Annotated[
    int | None, typer.Option(metavar="INT", help="CPU threads; by default one per core, within a container's quota.", min=1)
]
MinConfidence = Annotated[float, typer.Option(metavar="FLOAT", help="Answer 'unsure' below this probability.", min=0, max=1)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_RECIPES = sorted(file.stem for file in (Path(__file__).parents[2] / "config" / "recipes").glob("*.toml"))
Recipe = Annotated[
    str | None,
    typer.Option(metavar="NAME", help=f"Named settings to start from: {', '.join(_RECIPES)}.", rich_help_panel=RUN_PANEL),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="TOML file of settings; overrides the recipe.", rich_help_panel=RUN_PANEL
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other setting; `seqcls fit --print-config` lists them.",
        rich_help_panel=RUN_PANEL,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only, no progress.", rich_help_panel=RUN_PANEL)]


class TextCommand(TyperCommand):
    """A command that takes texts, some of which may begin with a hyphen."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; where a text looks like an option, say how to give it."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # Typer may have a copy of click of its own
            option = getattr(error, "option_name", None)
            if type(error).__name__ != "NoSuchOption" or option is None or option.startswith("--"):
                raise
            raise UsageError(
                f"there is no option {option}; if it begins a text, put -- before it: {ctx.command_path} MODEL -- TEXT"
            ) from None


class SettingsCommand(TyperCommand):
    """A command with a flag per setting.

    The flags are made when the command is called, because the settings import pydantic, which would slow down
    `seqcls --help`. Their values reach the command's function as ``context.obj``, a `seqcls.apps.cli.settings.SettingFlags`.
    """

    sections: tuple[str, ...] = ("data", "model", "fit")
    omitted: frozenset[str] = frozenset()
    _made: list[Any] | None = None

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the flags of settings, then those of the command itself."""
        if self._made is None:
            from seqcls.apps.cli.settings import make_options

            self._made = make_options(self.sections, self.omitted)
        return [*self._made, *super().get_params(ctx)]

    def invoke(self, ctx: Any) -> Any:
        """Call the command's function with the values of the setting flags in one object."""
        from seqcls.apps.cli.settings import SettingFlags

        ctx.obj = SettingFlags({option.name: ctx.params.pop(option.name) for option in self._made or ()})
        return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the flags in a section per panel: those that only this command has, the settings, the rest."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            is_argument = parameter.param_type_name == "argument"
            panel = "Arguments" if is_argument else getattr(parameter, "rich_help_panel", None) or RUN_PANEL
            record = parameter.get_help_record(ctx)
            if record is not None:
                panels.setdefault(panel, []).append(record)
        made = dict.fromkeys(option.rich_help_panel for option in self._made or ())
        special = [panel for panel in panels if panel not in made and panel != RUN_PANEL]
        for panel in (*special, *made, RUN_PANEL):
            with formatter.section(panel):
                formatter.write_dl(panels[panel])


class DataSettingsCommand(SettingsCommand):
    """A command that takes only settings of the data, without the data set, which is its argument."""

    sections = ("data",)
    omitted = frozenset({"dataset"})


class SeveralEncodersCommand(SettingsCommand):
    """A command that trains with several encoders, named by --encoders, and limits the time itself."""

    omitted = frozenset({"encoder", "max_time"})


class ComparisonCommand(SettingsCommand):
    """A command that trains each of several encoders with several seeds."""

    omitted = frozenset({"encoder", "max_time", "seed"})


def setting_flags(context: typer.Context) -> SettingFlags:
    """Return what the flags of a `SettingsCommand` say."""
    flags: SettingFlags = context.obj
    return flags
