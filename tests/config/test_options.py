"""The options of a plugin are read from its signature; values are checked against it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, PositiveInt

from seqcls.config.options import OptionInfo, describe, validate
from seqcls.errors import ConfigError, PluginError


class Plugin:
    """A plugin.

    Args:
        input_size: Given by the model.
        hidden_size: Size of the state,
            in each direction.
        dropout (float): Dropout probability.

    Raises:
        ValueError: Never.
    """

    def __init__(
        self,
        input_size: int,
        *,
        hidden_size: Annotated[int, Field(ge=1)] = 128,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        pooling: Literal["mean", "mean+max"] = "mean",
        name: str | None = None,
        bidirectional: bool = False,
        limit: Annotated[int, Field(ge=2)] | None = None,
        heads: PositiveInt = 1,
        order: Literal[1, 2] = 1,
        folder: Path = Path(),
    ) -> None: ...


class Required:
    def __init__(self, *, path: str) -> None:
        """Build it.

        Args:
            path: Where it is.
        """


class Optionless: ...


def check(**raw: object) -> dict[str, object]:
    return validate(Plugin, raw, what="encoder plugin")


def test_an_option_is_described_by_signature_and_docstring() -> None:
    hidden_size, dropout, *_ = describe(Plugin)

    assert hidden_size == OptionInfo("hidden_size", "int", 128, False, "≥ 1", "Size of the state, in each direction.")
    assert dropout == OptionInfo("dropout", "float", 0.0, False, "≥ 0 and < 1", "Dropout probability.")


def test_an_option_that_a_base_class_explains_need_not_be_explained_again() -> None:
    class Larger(Plugin):
        """A plugin with other defaults.

        Args:
            dropout: Another probability.
        """

        def __init__(self, input_size: int, *, hidden_size: int = 256, dropout: float = 0.5) -> None: ...

    assert [option.help for option in describe(Larger)] == ["Size of the state, in each direction.", "Another probability."]


def test_types_are_written_as_a_reader_knows_them() -> None:
    assert {option.name: option.type for option in describe(Plugin)} == {
        "hidden_size": "int",
        "dropout": "float",
        "pooling": '"mean" | "mean+max"',
        "name": "str | None",
        "bidirectional": "bool",
        "limit": "int | None",
        "heads": "int",
        "order": "1 | 2",
        "folder": "Path",
    }


def test_ranges_are_found_wherever_they_stand() -> None:
    constraints = {option.name: option.constraints for option in describe(Plugin)}
    assert (constraints["limit"], constraints["heads"], constraints["pooling"]) == ("≥ 2", "> 0", "")


def test_an_option_without_default_is_required_and_may_be_documented_in_init() -> None:
    assert describe(Required) == [OptionInfo("path", "str", None, True, "", "Where it is.")]
    with pytest.raises(ConfigError, match=r"dataset files: path must be given \(str\)"):
        validate(Required, {}, what="dataset files")


def test_a_class_without_init_has_no_options() -> None:
    assert describe(Optionless) == []
    with pytest.raises(ConfigError, match="there is no option 'x'; this plugin has no options"):
        validate(Optionless, {"x": 1}, what="dataset plain")


def test_a_keyword_only_dataclass_states_its_options() -> None:
    @dataclass(kw_only=True)
    class Reviews:
        seed: int = 0

    assert [option.name for option in describe(Reviews)] == ["seed"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("hidden_size", "64", 64),
        ("dropout", "0.5", 0.5),
        ("dropout", "0", 0.0),
        ("pooling", "mean+max", "mean+max"),
        ("name", "none", None),
        ("name", "None", None),
        ("name", "5", "5"),
        ("bidirectional", "yes", True),
        ("bidirectional", "no", False),
        ("bidirectional", "TRUE", True),
        ("bidirectional", "false", False),
        ("limit", "none", None),
        ("limit", "3", 3),
        ("order", "2", 2),
        ("folder", "a/b", Path("a/b")),
    ],
)
def test_strings_are_read_as_the_annotation_asks(name: str, text: str, value: object) -> None:
    converted = check(**{name: text})[name]

    assert converted == value
    assert type(converted) is type(value)


def test_values_of_the_right_type_pass_and_defaults_are_not_added() -> None:
    given_values = {"hidden_size": 64, "dropout": 0.5, "bidirectional": True, "name": None, "order": 2}
    assert check(**given_values) == given_values
    assert check(dropout=0) == {"dropout": 0.0}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"hidden_size": 0}, "hidden_size must be ≥ 1, got 0"),
        ({"hidden_size": "0"}, "hidden_size must be ≥ 1, got 0"),
        ({"dropout": "1"}, "dropout must be ≥ 0 and < 1, got 1"),
        ({"limit": 1}, "limit must be ≥ 2, got 1"),
        ({"hidden_size": "many"}, "hidden_size must be int (≥ 1), got 'many'"),
        ({"hidden_size": 1.5}, "hidden_size must be int (≥ 1), got 1.5"),
        ({"hidden_size": True}, "hidden_size must be int (≥ 1), got True"),
        ({"hidden_size": "none"}, "hidden_size must be int (≥ 1), got 'none'"),
        ({"limit": "many"}, "limit must be int | None (≥ 2), got 'many'"),
        ({"dropout": "nan"}, "dropout must be float (≥ 0 and < 1), got 'nan'"),
        ({"bidirectional": "maybe"}, "bidirectional must be bool, got 'maybe'"),
        ({"bidirectional": 1}, "bidirectional must be bool, got 1"),
        ({"pooling": "max"}, """pooling must be "mean" | "mean+max", got 'max'"""),
        ({"order": "3"}, "order must be 1 | 2, got '3'"),
        (
            {"hidden_sise": 1},
            "there is no option 'hidden_sise'; did you mean 'hidden_size'? Options: hidden_size, dropout",
        ),
        ({"input_size": 1}, "there is no option 'input_size'; "),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(raw: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"encoder plugin: {message}")) as caught:
        check(**raw)
    assert "\n" not in str(caught.value)


def test_a_validator_of_the_plugin_speaks_for_itself() -> None:
    class Picky:
        def __init__(self, *, code: Annotated[str, Field(pattern="^[a-z]+$")] = "a") -> None: ...

    with pytest.raises(ConfigError, match=r"code: String should match pattern"):
        validate(Picky, {"code": "5"}, what="dataset picky")


def _takes_kwargs(self: object, **kwargs: Any) -> None: ...
def _takes_args(self: object, *args: Any) -> None: ...
def _takes_positions(self: object, input_size: int, hidden_size: int = 1) -> None: ...
def _lacks_an_annotation(self: object, *, hidden_size=1) -> None: ...  # type: ignore[no-untyped-def]
def _names_what_is_not_there(self: object, *, hidden_size: Nowhere = 1) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (_takes_kwargs, r"Bad.__init__ takes \*\*kwargs"),
        (_takes_args, r"Bad.__init__ takes \*args"),
        (_takes_positions, "takes hidden_size by position"),
        (_lacks_an_annotation, "hidden_size of Bad has no annotation"),
        (_names_what_is_not_there, "annotations of Bad.__init__ cannot be read.*Nowhere"),
    ],
)
def test_a_signature_that_hides_its_options_is_the_fault_of_the_plugin(init: object, message: str) -> None:
    bad = type("Bad", (), {"__init__": init})
    with pytest.raises(PluginError, match=message):
        describe(bad)
    with pytest.raises(PluginError, match=message):
        validate(bad, {}, what="encoder bad")


def test_a_type_that_nothing_can_check_is_the_fault_of_the_plugin() -> None:
    class Odd:
        def __init__(self, *, table: Optionless | None = None) -> None: ...

    with pytest.raises(PluginError, match="the option table has a type that cannot be checked: Optionless"):
        validate(Odd, {"table": "x"}, what="dataset odd")


def test_options_and_registry_load_without_torch() -> None:
    code = "import sys, seqcls.config.options, seqcls.registry as r; r.encoders.plugins(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
