"""The shape of the code: few rooms, short modules and functions, and packages that only say what lives in them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "seqcls"
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_ENTRIES = 16
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 80
#: Packages that are themselves documented modules of the API; what they export is imported from the modules inside.
PUBLIC = {PACKAGE / "__init__.py", PACKAGE / "testing" / "__init__.py"}


def _name(path: Path) -> str:
    return str(path.relative_to(PACKAGE.parent))


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_a_newcomer_sees_few_entries() -> None:
    entries = {path.name for path in PACKAGE.iterdir()} - {"__pycache__"}
    assert len(entries) <= MOST_ENTRIES, sorted(entries)


def test_no_module_is_long() -> None:
    lengths = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_no_function_is_long() -> None:
    lengths = {
        f"{_name(path)}:{function.name}": function.end_lineno - function.lineno + 1
        for path in MODULES
        for function in _functions(path)
        if function.end_lineno is not None
    }
    assert {name: length for name, length in lengths.items() if length > MOST_LINES_OF_A_FUNCTION} == {}


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "__init__.py"], ids=_name)
def test_a_package_says_what_lives_in_it_and_holds_nothing_else(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstring = ast.get_docstring(tree)
    assert docstring, "it does not say what lives here"
    assert len(docstring.splitlines()) <= 5
    if path not in PUBLIC:
        assert len(tree.body) == 1
