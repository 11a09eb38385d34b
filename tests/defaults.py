"""Classes whose options get other defaults, as a later version might give them."""

from __future__ import annotations

import pytest

from seqcls.config.options import OptionInfo, describe, literals


def change_defaults(monkeypatch: pytest.MonkeyPatch, cls: type) -> None:
    """Give every option of a class that has a default another one."""
    changed = {option.name: _another(option, literals(cls)[option.name]) for option in describe(cls) if not option.required}
    if changed:
        monkeypatch.setattr(cls.__init__, "__kwdefaults__", {**(cls.__init__.__kwdefaults__ or {}), **changed})
    assert {option.name: option.default for option in describe(cls) if not option.required} == changed


def _another(option: OptionInfo, literals: tuple[object, ...]) -> object:
    default = option.default
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return 2 * default
    if isinstance(default, float):
        return default / 2 + 0.1
    return next((value for value in literals if value not in (default, None)), "2")
