"""Nothing in the project executes what it reads: calls that could are found in the syntax trees of all its code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What runs code that stands in data; what opens files of objects; what gives a text to a shell.
BANNED = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load"),
    *(
        f"{module}.{name}"
        for module in ("pickle", "_pickle", "dill", "cloudpickle", "marshal")
        for name in ("load", "loads")
    ),
    *("pickle.Unpickler", "_pickle.Unpickler", "dill.Unpickler", "pickle.dump", "pickle.dumps", "pickle.Pickler"),
    *("cloudpickle.dump", "cloudpickle.dumps", "dill.dump", "dill.dumps", "shelve.open", "joblib.load", "joblib.dump"),
    *("torch.load", "torch.save", "torch.jit.load", "torch.jit.save", "torch.package.PackageImporter", "torch.hub.load"),
    *("torch.serialization.load", "torch.serialization.save", "pandas.read_pickle", "numpy.core.multiarray._reconstruct"),
}
# The reader of Keras's imdb.npz, which knows three inert names; tests/data/datasets/test_keras_payloads.py attacks it.
REVIEWED = {("seqcls/data/datasets/keras.py", "pickle.Unpickler")}


def find_banned(code: str) -> list[tuple[int, str]]:
    """Return line and name of whatever must not be there, under whatever name it was imported."""
    tree = ast.parse(code)
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute | ast.Call):
            name = _name_of(node, names)
            if name in BANNED and not (name == "__import__" and not isinstance(node, ast.Name)):
                found.append((node.lineno, name))
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.lineno, f"{node.module}.*") for alias in node.names if alias.name == "*"]
        if isinstance(node, ast.Call):
            found += [(node.lineno, problem) for problem in _problems(node, _name_of(node.func, names))]
    return sorted(set(found))


def _name_of(node: ast.AST, names: dict[str, str]) -> str | None:
    """Return the full dotted name of an expression, also that of getattr(module, "name") and import_module("module")."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id).removeprefix("builtins.")
    if isinstance(node, ast.Attribute):
        base = _name_of(node.value, names)
        return None if base is None else f"{base}.{node.attr}".removeprefix("builtins.")
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[-1], ast.Constant):
        function, last = _name_of(node.func, names), node.args[-1].value
        if function == "getattr" and len(node.args) == 2:
            return f"{_name_of(node.args[0], names)}.{last}".removeprefix("builtins.")
        if function in ("importlib.import_module", "__import__"):
            return str(last)
    return None


def _problems(call: ast.Call, name: str | None) -> list[str]:
    given = {keyword.arg: keyword.value for keyword in call.keywords}

    def is_literal(argument: str, value: object) -> bool:
        return isinstance(given.get(argument), ast.Constant) and given[argument].value is value  # type: ignore[attr-defined]

    problems = []
    if name == "numpy.load" and not is_literal("allow_pickle", False):
        problems.append("numpy.load without allow_pickle=False")
    if "allow_pickle" in given and not is_literal("allow_pickle", False):
        problems.append("allow_pickle")
    if "shell" in given and not is_literal("shell", False):
        problems.append("shell=True")
    return problems


def _sources() -> list[Path]:
    folders = ("seqcls", "benchmarks", "examples", "docs")
    return sorted(path for folder in folders for pattern in ("*.py", "*.py.*") for path in (ROOT / folder).rglob(pattern))


def test_no_code_of_ours_executes_what_it_reads() -> None:
    sources = _sources()
    assert len(sources) > 80
    found = {
        (str(path.relative_to(ROOT)), name)
        for path in sources
        if "__pycache__" not in path.parts
        for _, name in find_banned(re.sub(r"\$\{?(\w+)\}?", r"\1", path.read_text()))  # the template's names are $names
    }
    assert found == REVIEWED


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("import torch\ntorch.load(f)", "torch.load"),
        ("import torch as t\nt.load(f)", "torch.load"),
        ("from torch import load\nload(f)", "torch.load"),
        ("from torch import load as read\nx = read", "torch.load"),
        ("import torch\ngetattr(torch, 'load')(f)", "torch.load"),
        ("import torch.serialization\ntorch.serialization.load(f)", "torch.serialization.load"),
        ("import pickle\npickle.loads(b)", "pickle.loads"),
        ("from pickle import loads as f\nf(b)", "pickle.loads"),
        ("import importlib\nimportlib.import_module('pickle').loads(b)", "pickle.loads"),
        ("__import__('pickle').loads(b)", "pickle.loads"),
        ("import pickle\nclass C(pickle.Unpickler): ...", "pickle.Unpickler"),
        ("from pickle import *", "pickle.*"),
        ("import marshal\nmarshal.loads(b)", "marshal.loads"),
        ("import shelve\nshelve.open(p)", "shelve.open"),
        ("import joblib\njoblib.load(p)", "joblib.load"),
        ("import numpy as np\nnp.load(p)", "numpy.load without allow_pickle=False"),
        ("import numpy as np\nnp.load(p, allow_pickle=True)", "allow_pickle"),
        ("import numpy as np\nnp.load(p, allow_pickle=flag)", "allow_pickle"),
        ("import numpy as np\nnp.lib.format.read_array(f, allow_pickle=True)", "allow_pickle"),
        ("import yaml\nyaml.load(f)", "yaml.load"),
        ("eval(text)", "eval"),
        ("import builtins\nbuiltins.eval(text)", "eval"),
        ("run = exec", "exec"),
        ("import os\nos.system(c)", "os.system"),
        ("import subprocess as s\ns.run(c, shell=True)", "shell=True"),
    ],
)
def test_what_would_execute_data_is_found(code: str, name: str) -> None:
    assert name in [found for _, found in find_banned(code)]


@pytest.mark.parametrize(
    "code",
    [
        "import json\njson.load(f)",
        "import numpy as np\nnp.load(p, allow_pickle=False)",
        "import yaml\nyaml.safe_load(f)",
        "model.eval()",
        "import re\nre.compile(p)",
        "import torch\ntorch.compile(model)",
        "from safetensors.torch import load\nload(b)",
        "def load(): ...\nload()",
        "import subprocess\nsubprocess.run([c])",
        "'torch.load(f)'",
    ],
)
def test_what_is_harmless_is_not_found(code: str) -> None:
    assert find_banned(code) == []
