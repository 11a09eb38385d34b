from __future__ import annotations

import importlib
import subprocess
import sys
from importlib import resources

import pytest

import seqcls
from seqcls import errors


def test_the_public_names_are_sorted_and_all_there() -> None:
    assert seqcls.__all__ == sorted(seqcls.__all__)
    assert dir(seqcls) == seqcls.__all__
    for name in seqcls.__all__:
        assert getattr(seqcls, name).__doc__


def test_each_public_name_has_one_home_that_a_type_checker_sees_too() -> None:
    assert set(seqcls._HOMES) == set(seqcls.__all__)
    source = resources.files("seqcls").joinpath("__init__.py").read_text()
    for name, home in seqcls._HOMES.items():
        assert getattr(importlib.import_module(home), name) is getattr(seqcls, name)
        assert any(name in line for line in source.splitlines() if line.startswith(f"    from {home} import "))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'seqcls' has no attribute 'Trainr'"):
        seqcls.Trainr  # noqa: B018


def test_importing_the_package_and_reading_settings_loads_no_torch() -> None:
    code = "import sys, seqcls; seqcls.load_recipe; seqcls.SeqclsError; print('torch' in sys.modules, len(dir(seqcls)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"False {len(seqcls.__all__)}\n"


def test_the_package_says_that_it_is_typed() -> None:
    assert resources.files("seqcls").joinpath("py.typed").is_file()


def test_every_error_is_a_seqcls_error_and_drawn_in_the_tree() -> None:
    found = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, Exception)]
    assert len(found) > 5
    for error in found:
        assert issubclass(error, seqcls.SeqclsError)
        assert error.__name__ in (errors.__doc__ or "")
