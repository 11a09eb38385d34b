"""The module paths of version 0.1: importing from them still works, with a warning that says where a name is now.

Names of modules that were split are looked up in each part; classes are the same objects under the old path and the new.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGES = {
    "seqcls.check": "seqcls.apps.check",
    "seqcls.cli": "seqcls.apps.cli",
    "seqcls.datasets": "seqcls.data.datasets",
    "seqcls.embeddings": "seqcls.model.embeddings",
    "seqcls.encoders": "seqcls.model.encoders",
    "seqcls.reporting": "seqcls.training.callbacks",
    "seqcls.serving": "seqcls.apps.serving",
    "seqcls.tuning": "seqcls.apps.tuning",
}
"""Packages that moved with their modules: old name → new name."""

MODULES = {
    "seqcls.baseline": (),
    "seqcls.calibration": (),
    "seqcls.callbacks": (),
    "seqcls.check": ("seqcls.apps.check.checks", "seqcls.apps.check.findings"),
    "seqcls.classifier": (),
    "seqcls.cli": ("seqcls.apps.cli.app",),
    "seqcls.comparison": ("seqcls.evaluation.differences", "seqcls.evaluation.intervals"),
    "seqcls.decisions": ("seqcls.evaluation.decisions",),
    "seqcls.explanation": (),
    "seqcls.metrics": (),
    "seqcls.numpy_runtime": (),
    "seqcls.onnx_export": (),
    "seqcls.onnx_runtime": (),
    "seqcls.pipeline": ("seqcls.data.prepare", "seqcls.model.build"),
    "seqcls.predictions": (),
    "seqcls.results": (),
    "seqcls.state": (),
    "seqcls.text": ("seqcls.data.tokenizer",),
    "seqcls.trainer": (),
    "seqcls.tuning": ("seqcls.apps.tuning.limits", "seqcls.apps.tuning.study"),
}
"""Modules, and packages that had names of their own: old name → where to look for what is not a public name of seqcls."""

RENAMED = {"seqcls.check.check": "check_data"}
"""Names that changed as well: old module and name → new name."""

CONFIG_NAMES = ("Config", "DataConfig", "FitConfig", "ModelConfig", "load_recipe", "recipe_names")
"""What the module seqcls.config of version 0.1, now a package, still offers."""


def install() -> None:
    """Make the old module paths importable, for this process."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())  # last: it is asked only for what does not exist
    lookup = _forward("seqcls.config", ("seqcls.config.recipe_files",), names=CONFIG_NAMES)
    vars(import_module("seqcls.config"))["__getattr__"] = lookup


class _Finder:
    """Finds the old modules; each is an empty module that forwards attributes."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of an old module, and None for any other."""
        del path, target
        parent, _, last = name.rpartition(".")
        if name in PACKAGES or name in MODULES:
            homes = MODULES.get(name, ())
        elif parent in PACKAGES and _exists(f"{PACKAGES[parent]}.{last}"):
            homes = (f"{PACKAGES[parent]}.{last}",)
        else:
            return None
        loader: Any = _Loader(homes)  # no importlib.abc.Loader, which takes a millisecond to import
        return ModuleSpec(name, loader, is_package=name in PACKAGES)


class _Loader:
    def __init__(self, homes: tuple[str, ...]) -> None:
        self.homes = homes

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to Python to make the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Forward every attribute; the new module is imported with the first."""
        vars(module)["__getattr__"] = _forward(module.__name__, self.homes)


def _exists(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def _forward(module: str, homes: Sequence[str], *, names: Sequence[str] | None = None) -> Callable[[str], object]:
    """Return a module's ``__getattr__`` (PEP 562) that looks in seqcls and in ``homes``, for ``names`` or for any name."""

    def lookup(name: str) -> object:
        new_name = RENAMED.get(f"{module}.{name}", name)
        is_forwarded = not name.startswith("__") if names is None else name in names
        for home in ("seqcls", *homes) if is_forwarded else ():
            new = import_module(home)
            if new_name in (new.__all__ if home == "seqcls" else vars(new)):
                message = f"{module}.{name} is a name of version 0.1; import {new_name} from {home}"
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                return getattr(new, new_name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return lookup
