"""Mutation testing: change one operator, number or name of a file at a time, and see whether the tests notice.

The changes are those of cosmic-ray (``pip install cosmic-ray``), less those of annotations and signatures, which do nothing.
Its own runner starts Python anew for each of 1,500 changes; here a process that has imported PyTorch forks instead.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from difflib import unified_diff
from itertools import count
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LIMIT = 600  # seconds for the tests of one change: more than they need, so only an endless loop or a wait exceeds them
#: The tests of each file, those that take least time first.
TESTS = {
    "data/batches.py": (
        "data/test_batching.py",
        "training/test_trainer.py",
        "training/test_resume.py",
    ),
    "storage/model_directory.py": (
        "storage/test_checkpoint.py",
        "inference/test_classifier.py",
        "storage/test_hostile_models.py",
        "training/test_resume.py",
    ),
    "storage/rebuild.py": (
        "storage/test_checkpoint.py",
        "inference/test_classifier.py",
        "storage/test_hostile_models.py",
        "storage/test_oversized.py",
    ),
    "storage/upgrade.py": ("storage/test_recorded_options.py",),
    "storage/checkpoints.py": (
        "training/test_trainer.py",
        "training/test_resume.py",
        "storage/test_crash_safety.py",
        "storage/test_run_safety.py",
    ),
    "system/archives.py": (
        "system/test_archives.py",
        "data/datasets/test_imdb.py",
    ),
    "system/files.py": (
        "system/test_files.py",
        "storage/test_crash_safety.py",
        "storage/test_run_safety.py",
    ),
    "registry.py": (
        "test_registry.py",
        "apps/test_check.py",
        "test_public.py",
        "apps/cli",
        "testing",
    ),
    "storage/run_directory.py": (
        "training/test_trainer.py",
        "training/test_resume.py",
        "storage/test_crash_safety.py",
        "storage/test_run_safety.py",
    ),
    "training/state.py": (
        "training/test_trainer.py",
        "training/test_resume.py",
        "training/test_training_faults.py",
        "training/test_distributed.py",
        "storage/test_crash_safety.py",
    ),
    "system/untrusted.py": (
        "storage/test_checkpoint.py",
        "inference/test_classifier.py",
        "storage/test_hostile_models.py",
        "storage/test_hostile_training.py",
        "storage/test_hostile_paths.py",
        "storage/test_damaged_files.py",
        "storage/test_run_safety.py",
    ),
}
#: What the tests import beside the project, and takes long.
IMPORTS = ("pytest", "rich", "safetensors.torch", "sklearn.feature_extraction.text", "torch", "typer.testing")


def examine(name: str, sample: int | None, seed: int) -> Iterator[dict[str, Any]]:
    """Test some of the changes of a file by chance, or all; give those that survived, and at last the figures."""
    for module in IMPORTS:
        importlib.import_module(module)
    assert "seqcls" not in sys.modules, "the tests would run on what was imported, not on what is changed"
    code = (ROOT / "seqcls" / name).read_text()
    found = list(mutants(code))
    chosen = found if sample is None else random.Random(seed).sample(found, min(sample, len(found)))
    started = time.monotonic()
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        _copy(tree)
        outcome, log = _outcome(tree, name, code)
        if outcome != "survived":
            sys.exit(f"{name}: the tests fail without a change\n{log}")
        for changed in chosen:
            outcome, _ = _outcome(tree, name, changed)
            outcomes.append(outcome)
            if outcome == "survived":
                yield {
                    "file": name,
                    "survived": list(unified_diff(code.splitlines(), changed.splitlines(), n=0, lineterm=""))[2:],
                }
    survived = outcomes.count("survived")
    yield {
        "file": name,
        "possible": len(found),
        "tested": len(chosen),
        "killed": len(chosen) - survived,
        "percent": round(100 * (1 - survived / len(chosen)), 1),
        "by_the_limit": outcomes.count("too slow"),
        "seconds": round(time.monotonic() - started),
    }


def mutants(code: str) -> Iterator[str]:
    """Give the code with each change that does something, and can be compiled."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    seen = {_meaning(code)}
    for name in sorted(operator_names()):
        operator = get_operator(name)
        if operator.arguments():  # of its maker's choice
            continue
        for occurrence in count():
            try:
                changed = mutate_code(code, operator(), occurrence)
                meaning = changed and _meaning(changed)
            except (AttributeError, SyntaxError):  # cosmic-ray stumbles over `except json.JSONDecodeError`
                continue
            if changed is None:
                break
            if meaning not in seen:
                seen.add(meaning)
                yield changed


class _Meaning(ast.NodeTransformer):
    """Takes away annotations, and the * of a signature, which cosmic-ray mistakes for an operator."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
        node.defaults = [*node.defaults, *filter(None, node.kw_defaults)]
        node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)


def _meaning(code: str) -> str:
    return ast.dump(_Meaning().visit(ast.parse(code)))


def _copy(tree: Path) -> None:
    for folder in ("seqcls", "tests", "examples"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "constraints.txt"):
        shutil.copy(ROOT / name, tree)


def _outcome(tree: Path, name: str, code: str) -> tuple[str, str]:
    """Run the tests of a changed file in a fork of this process, which has not imported the project."""
    path, log = tree / "seqcls" / name, tree / "log"
    original = path.read_text()
    path.write_text(code)
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):  # Python knows it by second and size alone
        compiled.unlink()
    child = os.fork()
    if not child:
        _run_tests(tree, [f"tests/{test}" for test in TESTS[name]], log)
    end = time.monotonic() + LIMIT
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < end:
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if done == (0, 0):
        os.waitpid(child, 0)
    path.write_text(original)
    outcome = "too slow" if done == (0, 0) else "killed" if os.waitstatus_to_exitcode(done[1]) else "survived"
    return outcome, log.read_text()[-3_000:]


def _run_tests(tree: Path, tests: list[str], log: Path) -> None:
    status = 3
    try:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(tree)
        os.environ["PYTHONPATH"] = str(tree)
        sys.path[:0] = [str(tree), str(tree / "tests")]
        status = int(importlib.import_module("pytest").main(["-q", "-x", "-n0", "-p", "no:cacheprovider", *tests]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)
