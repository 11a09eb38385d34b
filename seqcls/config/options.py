"""Options of a plugin: the keyword-only parameters of its ``__init__``, described and checked.

Names, types, ranges and defaults come from the signature, and help texts from the docstring; nothing is declared twice.
"""

from __future__ import annotations

import difflib
import inspect
import json
import re
import textwrap
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from seqcls.errors import ConfigError, PluginError

POSITIONAL = ("input_size", "embedding_size")
"""The positional parameters, which are not options: the first belongs to encoders, both to embeddings."""

# Attributes of the constraints in `annotated_types`, which pydantic's Field consists of.
_BOUNDS = {
    "ge": "≥",
    "gt": ">",
    "le": "≤",
    "lt": "<",
    "multiple_of": "a multiple of",
    "min_length": "of length ≥",
    "max_length": "of length ≤",
}
# Types of pydantic's errors: values out of range, and messages that need no explanation.
_OUT_OF_RANGE = {
    "greater_than_equal", "greater_than", "less_than_equal", "less_than", "multiple_of",
    "string_too_short", "string_too_long", "too_short", "too_long",
}  # fmt: skip
_SELF_EXPLANATORY = {"value_error", "assertion_error", "string_pattern_mismatch"}


@dataclass(frozen=True)
class OptionInfo:
    """One option of a plugin, in words.

    Attributes:
        name: Name of the keyword argument.
        type: Type, such as ``int``, ``"mean" | "max"`` or ``str | None``.
        default: Default value; None if the option is required.
        required: Whether the option has no default.
        constraints: Range, such as "≥ 0 and < 1"; empty if there is none.
        help: What the docstring says about the option.
    """

    name: str
    type: str
    default: object
    required: bool
    constraints: str
    help: str


def describe(cls: type) -> list[OptionInfo]:
    """Describe the options of a plugin class, in the order of its signature.

    Raises:
        PluginError: The signature of ``__init__`` does not state its options: it takes ``*args``, ``**kwargs`` or
            positional arguments, or lacks a usable annotation.
    """
    help_texts = _help_texts(cls)
    return [
        OptionInfo(
            name=parameter.name,
            type=_type_text(annotation),
            default=None if parameter.default is parameter.empty else parameter.default,
            required=parameter.default is parameter.empty,
            constraints=" and ".join(_constraints(annotation)),
            help=help_texts.get(parameter.name, ""),
        )
        for parameter, annotation in _parameters(cls)
    ]


def validate(cls: type, raw: Mapping[str, object], *, what: str) -> dict[str, object]:
    """Convert option values, such as strings from the command line, to the annotated types, without adding defaults.

    Args:
        cls: The plugin class.
        raw: Values by name. A string is converted to the type of the option ("5", "yes", "none"); any other value must have
            that type already.
        what: The plugin in words, such as "encoder lstm", with which every message begins.

    Raises:
        ConfigError: An option is unknown, missing, of the wrong type or out of range.
        PluginError: The signature does not state the options; see `describe`.
    """
    annotations = {parameter.name: annotation for parameter, annotation in _parameters(cls)}
    options = {option.name: option for option in describe(cls)}
    for name in raw:
        if name not in options:
            raise ConfigError(f"{what}: {_unknown(name, list(options))}")
    for option in options.values():
        if option.required and option.name not in raw:
            raise ConfigError(f"{what}: {option.name} must be given ({option.type})")
    return {name: _convert(value, annotations[name], options[name], what=what) for name, value in raw.items()}


def with_defaults(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return option values together with the defaults of all other options.

    A default that no settings file can hold, such as a tuple, is omitted; the class goes on supplying it. The defaults of a
    class whose signature does not state its options are omitted as well.
    """
    try:
        annotations = {parameter.name: annotation for parameter, annotation in _parameters(cls)}
        defaults = {option.name: option for option in describe(cls) if not option.required and option.name not in values}
    except PluginError:
        return dict(values)
    return {
        **{name: option.default for name, option in defaults.items() if _can_be_given(annotations[name], option)},
        **values,
    }


def _can_be_given(annotation: Any, option: OptionInfo) -> bool:
    """Return whether the default of an option is the same value after it was saved to a file and read back."""
    if type(option.default) not in (bool, int, float, str, type(None)):  # a file holds no subclass, such as an IntEnum
        return False
    try:
        return bool(_convert(option.default, annotation, option, what="default") == option.default)
    except (ConfigError, PluginError):
        return False


def literals(cls: type) -> dict[str, tuple[object, ...]]:
    """Return the values that each option's annotation lists: the members of Literal, and None; raises like `describe`."""
    return {parameter.name: tuple(_literals(annotation)) for parameter, annotation in _parameters(cls)}


def _parameters(cls: type) -> Iterator[tuple[inspect.Parameter, Any]]:
    """Yield the options of ``cls`` with their annotations; check that the signature states them all."""
    init: Any = inspect.getattr_static(cls, "__init__")
    if init is object.__init__:
        return
    _, *parameters = inspect.signature(init).parameters.values()  # without self
    try:
        hints = get_type_hints(init, include_extras=True)
    except Exception as error:  # an annotation may evaluate any expression
        raise PluginError(f"the annotations of {cls.__name__}.__init__ cannot be read: {error}") from error
    for position, parameter in enumerate(parameters):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise PluginError(f"{cls.__name__}.__init__ takes {parameter}; name each option, with a type and a default")
        if parameter.kind is not parameter.KEYWORD_ONLY:
            if POSITIONAL[position : position + 1] == (parameter.name,):
                continue
            raise PluginError(f"{cls.__name__}.__init__ takes {parameter.name} by position; put it after a '*'")
        if parameter.name not in hints:
            raise PluginError(f"the option {parameter.name} of {cls.__name__} has no annotation; give it a type")
        yield parameter, hints[parameter.name]


def _convert(value: object, annotation: Any, option: OptionInfo, *, what: str) -> object:
    if isinstance(value, str):
        value = _read_text(value, annotation)
    # Numbers must have the right type: True is not an int, 64.5 is not an int, and 1 is not a bool.
    is_strict = isinstance(value, bool | int | float)
    try:
        return _adapter(annotation, option).validate_python(value, strict=is_strict)
    except ValidationError as error:
        raise ConfigError(f"{what}: {_complaint(value, option, error)}") from error


def _adapter(annotation: Any, option: OptionInfo) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation, config=ConfigDict(allow_inf_nan=False))
    except PydanticUserError as error:
        raise PluginError(f"the option {option.name} has a type that cannot be checked: {option.type}") from error


def _read_text(text: str, annotation: Any) -> object:
    """Read what pydantic does not read from a string: None, and literals that are not strings; return any other text."""
    values = list(_literals(annotation))
    if text in values:
        return text
    if text.strip().lower() == "none" and None in values:
        return None
    return next((value for value in values if value is not None and str(value) == text), text)


def _literals(annotation: Any) -> Iterator[object]:
    """Yield the values that an annotation lists: the members of Literal, and None."""
    if annotation in (None, type(None)):
        yield None
    elif get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_origin(annotation) is Annotated:
        yield from _literals(annotation.__origin__)
    elif _is_union(annotation):
        for part in get_args(annotation):
            yield from _literals(part)


def _unknown(name: str, names: list[str]) -> str:
    if not names:
        return f"there is no option {name!r}; this plugin has no options"
    close = difflib.get_close_matches(name, names, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"there is no option {name!r}; {guess}Options: {', '.join(names)}"


def _complaint(value: object, option: OptionInfo, error: ValidationError) -> str:
    """Say in one line what ``option`` must be; among the errors of a union, one about the range takes precedence."""
    problems = {problem["type"]: problem["msg"] for problem in error.errors(include_url=False)}
    if option.constraints and _OUT_OF_RANGE & set(problems):
        return f"{option.name} must be {option.constraints}, got {value}"
    for kind, message in problems.items():
        if kind in _SELF_EXPLANATORY:
            return f"{option.name}: {message}, got {value!r}"
    allowed = f"{option.type} ({option.constraints})" if option.constraints else option.type
    return f"{option.name} must be {allowed}, got {value!r}"


def _type_text(annotation: Any) -> str:
    if annotation in (None, type(None)):
        return "None"
    if get_origin(annotation) is Annotated:
        return _type_text(annotation.__origin__)
    if get_origin(annotation) is Literal:
        return " | ".join(json.dumps(value) if isinstance(value, str) else str(value) for value in get_args(annotation))
    if _is_union(annotation):
        return " | ".join(map(_type_text, get_args(annotation)))
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def _constraints(annotation: Any) -> list[str]:
    """List the ranges anywhere in an annotation: ["≥ 0", "< 1"]."""
    constraints = []
    if get_origin(annotation) is Annotated:
        constraints += _constraints(annotation.__origin__)
        for item in annotation.__metadata__:
            for constraint in getattr(item, "metadata", [item]):  # pydantic's Field holds a list of constraints
                constraints += _bounds(constraint)
    elif _is_union(annotation):
        for part in get_args(annotation):
            constraints += _constraints(part)
    return constraints


def _bounds(constraint: object) -> list[str]:
    bounds = ((words, getattr(constraint, name, None)) for name, words in _BOUNDS.items())
    return [f"{words} {bound}" for words, bound in bounds if bound is not None]


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _help_texts(cls: type) -> dict[str, str]:
    """Read the Google-style ``Args:`` sections of a class, of its ``__init__``, and of the classes it derives from."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for documented in (vars(base).get("__init__"), base):
            texts |= _read_arguments(inspect.cleandoc(documented.__doc__ or ""))
    return texts


def _read_arguments(docstring: str) -> dict[str, str]:
    _, _, rest = f"\n{docstring}".partition("\nArgs:\n")
    section = re.split(r"\n(?=\S)", rest)[0]  # ends where a line is not indented
    texts: dict[str, str] = {}
    name = ""
    for line in textwrap.dedent(section).splitlines():
        entry = re.match(r"(\w+)(?: \([^)]*\))?: *(.*)", line)
        if entry:
            name, text = entry.groups()
            texts[name] = text.strip()
        elif name and line.strip():
            texts[name] = f"{texts[name]} {line.strip()}".strip()
    return texts
