"""Settings as flags: which of them are, how a field becomes a flag, and which settings the flags and files make."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import typer

from seqcls import registry
from seqcls.config import options
from seqcls.config.pairs import parse_named_pairs, parse_pairs, parse_settings
from seqcls.config.recipe_files import load_recipe
from seqcls.config.settings import Config, DataConfig, FitConfig, ModelConfig, Section, is_same_plugin, merge
from seqcls.config.toml import load_toml

# The settings that have a flag of their own, in the order of --help; `--set` takes all others too.
_FLAGS = {
    "data": (
        *("dataset", "dataset_options", "validation_fraction", "tokenizer", "vocab_size", "max_length", "truncating"),
        "wide",
    ),
    "model": ("encoder", "encoder_options", "embedding", "embedding_options", "embedding_size", "ensemble"),
    "fit": (
        *("epochs", "batch_size", "lr", "patience", "class_weights", "seed", "device", "threads", "precision"),
        *("num_workers", "auto_batch", "on_nan", "max_time", "callbacks", "callback_options"),
    ),
}
# Options of the data set `files` that have a flag of their own: those that most files of one's own need.
_FILE_FLAGS = (
    *(
        "text_column",
        "label_column",
        "group_column",
        "weight_column",
        "label_delimiter",
        "validation",
        "test",
        "test_fraction",
    ),
    "skip_bad_rows",
)
# Flags with other names than their setting's.
_NAMES = {
    "dataset": ("--dataset", "-d"),
    "encoder": ("--encoder", "-e"),
    "vocab_size": ("--vocab-size", "--num-words"),
}
# Placeholders that the type does not give.
_METAVARS = {
    "dataset": "NAME|PATH",
    "encoder": "NAME",
    "embedding": "NAME",
    "device": "DEVICE",
    "class_weights": "balanced|FILE",
    "validation": "PATH",
    "test": "PATH",
    "max_time": "TIME",
    "callback_options": "NAME.KEY=VALUE",
}
_PANELS = {"data": "Data", "model": "Model", "fit": "Training"}
_SECTIONS: dict[str, type[Section]] = {"data": DataConfig, "model": ModelConfig, "fit": FitConfig}
_SECTION_OF = {"encoder": "model", "embedding": "model", "dataset": "data", "callback": "fit"}
_WORDS = {int: "INT", float: "FLOAT", str: "TEXT", type(None): "none"}


class _Field(NamedTuple):
    """What a flag is made of."""

    name: str
    section: str
    annotation: Any
    description: str


def make_options(sections: Sequence[str], omitted: Collection[str]) -> list[Any]:
    """Return the flags of the settings in some sections as options of click.

    Args:
        sections: The sections, in the order of the flags.
        omitted: Settings that are no flags of this command.
    """
    fields = [field for section in sections for field in _fields(section) if field.name not in omitted]

    def command(**_: Any) -> None: ...

    command.__signature__ = inspect.Signature([_parameter(field) for field in fields])  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False)
    app.command()(command)
    made: Any = typer.main.get_command(app)
    return list(made.params)


@dataclass(frozen=True)
class SettingFlags:
    """What the flags of a command say, by the name of the setting; None or an empty list where a flag was not given."""

    values: Mapping[str, Any]

    @property
    def names(self) -> dict[str, str | None]:
        """The encoder, the embedding and the data set that are named."""
        return {kind: self.values.get(kind) for kind in ("encoder", "embedding", "dataset")}

    def changes(self, pairs: Sequence[str] | None) -> dict[str, dict[str, Any]]:
        """Return the settings that the flags and the NAME=VALUE ``pairs`` of --set give, but for `names`.

        Raises:
            ConfigError: A pair, or an option of a plugin, is not of its form.
        """
        given = {
            name: value for name, value in self.values.items() if value not in (None, [], ()) and name not in self.names
        }
        changes: dict[str, dict[str, Any]] = {
            section: {
                name: list(given[name]) if isinstance(given[name], list | tuple) else given[name]
                for name in names
                if name in given and not name.endswith("_options")
            }
            for section, names in _FLAGS.items()
        }
        changes["data"]["dataset_options"] = {name: given[name] for name in _FILE_FLAGS if name in given}
        changes = merge(changes, parse_settings(pairs or [], flag="--set"))
        for kind, section in _SECTION_OF.items():
            parse = parse_named_pairs if kind == "callback" else parse_pairs
            plugin_options = parse(given.get(f"{kind}_options", ()), flag=f"--{kind}-option")
            changes = merge(changes, {section: {f"{kind}_options": plugin_options}})
        return changes


def resolve(
    names: Mapping[str, str | None],
    changes: Mapping[str, Mapping[str, Any]],
    *,
    recipe: str | None = None,
    path: Path | None = None,
) -> Config:
    """Return the settings that flags make: they override a settings file, which overrides a recipe.

    Args:
        names: The encoder, the embedding and the data set that flags name. The file's options of a different one are
            dropped.
        changes: What the other flags say.
        recipe: The name of the recipe.
        path: The settings file.

    Raises:
        UnknownNameError: A name is not known.
        ConfigError: A setting is unknown or has a wrong value, or the file cannot be read.
    """
    from_file = {} if path is None else load_toml(path)
    chosen = {}
    for kind, name in names.items():
        section = from_file.get(_SECTION_OF[kind])
        if not isinstance(section, dict):  # a wrong one is refused below
            section = {}
        if name is not None and kind in section and not is_same_plugin(kind, str(section[kind]), name):
            del section[kind]
            section.pop(f"{kind}_options", None)
        chosen[kind] = name or section.get(kind)
    config = load_recipe(recipe or "default", **chosen)
    if path is not None:
        config = config.updated(from_file, source=str(path))
    return config.updated(changes, source="command line")


def _fields(section: str) -> Iterator[_Field]:
    """Yield the fields of a section that are flags; in that of the data, the options of `files` after the data set's."""
    fields = _SECTIONS[section].model_fields
    for name in _FLAGS[section]:
        yield _Field(name, section, fields[name].annotation, fields[name].description or "")
        if name == "dataset_options":
            plugin = registry.datasets.get("files")
            hints = get_type_hints(plugin.__init__, include_extras=True)
            help_texts = {option.name: option.help for option in options.describe(plugin)}
            for option in _FILE_FLAGS:
                yield _Field(option, section, hints[option], help_texts[option])


def _parameter(field: _Field) -> inspect.Parameter:
    """Return a parameter that Typer turns into a flag: its type and help are the field's."""
    kinds = list(dict.fromkeys(_kinds(field.annotation)))
    is_option_of_files = field.name in _FILE_FLAGS
    if is_option_of_files:  # None only means that the flag is not given
        kinds = [kind for kind in kinds if kind is not type(None)]
    is_repeated = set(kinds) <= {dict, list}
    known = kinds[0] if len(kinds) == 1 and kinds[0] in (int, float, bool) else str
    name = field.name.removesuffix("s") if is_repeated else field.name
    flag = f"--{name.replace('_', '-')}"
    is_switch = known is bool and not is_option_of_files
    names = _NAMES.get(field.name, (f"{flag}/--no-{flag.removeprefix('--')}" if is_switch else flag,))
    info = typer.Option(
        *names,
        metavar=None if known is bool else _METAVARS.get(field.name, _metavar(kinds)),
        help=_first_sentence(field.description),
        rich_help_panel=_PANELS[field.section],
        show_default=False,
    )
    annotation = Annotated[list[str] | None if is_repeated else known | None, info]  # type: ignore[valid-type]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield the types and the literal values that an annotation allows."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _kinds(annotation.__origin__)
    elif origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _kinds(part)
    elif origin is Literal:
        yield from get_args(annotation)
    else:
        yield origin or annotation


def _metavar(kinds: Sequence[Any]) -> str:
    if kinds[0] is dict:
        return "KEY=VALUE"
    if kinds[0] is list:
        return "NAME"
    return "|".join(_WORDS.get(kind, str(kind)) for kind in kinds)


def _first_sentence(text: str) -> str:
    """Return the first sentence of a docstring, without the marks of code, which a terminal does not render."""
    match = re.match(r".*?\.(?=\s|$)", text, re.DOTALL)
    return (match[0] if match else text).replace("``", "")
