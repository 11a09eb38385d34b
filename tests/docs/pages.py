"""Reads the fenced blocks of a page and runs them in order, as a reader would who pastes them one after the other.

- ``python`` blocks share a namespace.
- ``console`` and ``bash`` blocks hold commands: in ``console`` the lines after "$ ", the others being output. A command is
  `seqcls …`, run in this process, or a few plain programs; "|", "&&", "> FILE" and "NAME=VALUE" before it work.
- A block with a ``title`` is also written to the file of that name. A ``pyproject.toml`` is installed, so far as its entry
  points go, so that a page may show a package of several files and then use it.
- ``toml`` is read, and checked as a settings file unless it is a pyproject.toml.
- ``json`` is read, as one document or a document a line.
- ``text`` is not run. No other language is known.

The comment ``<!-- test: skip, REASON -->`` on the line above a block leaves it out; the tests report it with its reason.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from seqcls.apps.cli.app import main
from seqcls.config.settings import Config

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = {"cat", "echo", "printf", "ls", "head", "mkdir", "cp"}

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>.*)$")
_DIRECTIVE = re.compile(r"<!-- test: (?P<order>.+?) -->")
_TITLE = re.compile(r'title="([^"]+)"')


class DocumentationError(AssertionError):
    """A page holds what cannot be run."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    title: str | None
    code: str
    skip: str | None

    @property
    def where(self) -> str:
        """PAGE:LINE of the block's first line of code."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    found: list[Block] = []
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    previous = ""
    for number, line in lines:
        if opening := _FENCE.match(line):
            found.append(_read_block(page, number, opening, previous, lines))
        previous = line.strip() or previous
    return found


def _read_block(page: Path, number: int, opening: re.Match[str], above: str, lines: Iterator[tuple[int, str]]) -> Block:
    code: list[str] = []
    for _, line in lines:
        if line.strip() == opening["fence"]:
            break
        code.append(line.removeprefix(opening["indent"]))
    else:
        raise DocumentationError(f"{page}:{number}: the block has no end")
    directive, title = _DIRECTIVE.fullmatch(above), _TITLE.search(opening["info"])
    order, _, reason = directive["order"].partition(", ") if directive else ("", "", "")
    if directive and (order != "skip" or not reason):
        raise DocumentationError(f"{page}:{number}: write <!-- test: skip, REASON -->, not {above}")
    language = opening["info"].split()[0] if opening["info"].strip() else ""
    return Block(page, number + 1, language, title[1] if title else None, "\n".join(code) + "\n", reason or None)


def run_page(page: Path) -> None:
    """Run every block of a page that is not left out; the current folder should be empty."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.skip is None:
            try:
                _run(block, namespace)
            except Exception as error:
                error.add_note(f"in the block {block.where}")
                raise


def _run(block: Block, namespace: dict[str, Any]) -> None:
    if block.title is not None:
        Path(block.title).parent.mkdir(parents=True, exist_ok=True)
        Path(block.title).write_text(block.code, encoding="utf-8")
    if block.language == "python":
        # The line numbers of the page, for the traceback.
        exec(compile("\n" * (block.line - 1) + block.code, block.where, "exec"), namespace)
    elif block.language in ("console", "bash"):
        for command in _commands(block):
            run_command(command)
    elif block.language == "toml":
        settings = tomllib.loads(block.code)
        if "project" in settings:
            _install(settings["project"])
        else:
            Config().updated(settings, source=block.where)
    elif block.language == "json":
        _read_json(block.code)
    elif block.language != "text":
        raise DocumentationError(f"the language {block.language!r} is not one of those that pages.py runs")


def _commands(block: Block) -> list[str]:
    code = block.code.replace("\\\n", " ")
    if block.language == "console":
        found = [line.removeprefix("$ ") for line in code.splitlines() if line.startswith("$ ")]
    else:
        found = [line for line in code.splitlines() if line.strip() and not line.startswith("#")]
    if not found:
        raise DocumentationError("the block holds no command")
    return found


def run_command(line: str) -> str:
    """Run a command line and return what its last command wrote to stdout."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&>")
    lexer.whitespace_split = True
    output = ""
    for pipe in _split(list(lexer), "&&"):
        output = ""
        for words in _split(pipe, "|"):
            output = _run_program(words, output)
    return output


def _run_program(words: list[str], given: str) -> str:
    words, target = (words[: words.index(">")], words[words.index(">") + 1]) if ">" in words else (words, None)
    variables = {}
    while words and (variable := re.fullmatch(r"([A-Z_]+)=(.*)", words[0])):
        variables[variable[1]] = variable[2]
        words = words[1:]
    with mock.patch.dict(os.environ, variables):
        if words[:1] == ["seqcls"] or words[:3] == ["python", "-m", "seqcls"]:
            output = _run_seqcls(words[words.index("seqcls") + 1 :], given)
        elif words and words[0] in PROGRAMS:
            output = subprocess.run(words, input=given, capture_output=True, text=True, check=True, timeout=60).stdout
        else:
            raise DocumentationError(f"{shlex.join(words)!r} is neither seqcls nor one of {sorted(PROGRAMS)}")
    if target is None:
        return output
    Path(target).write_text(output, encoding="utf-8")
    return ""


def _run_seqcls(arguments: list[str], given: str) -> str:
    """Run the command line in this process: importing torch anew for each command would take most of the time."""
    stdin, stdout, stderr = io.TextIOWrapper(io.BytesIO(given.encode())), io.StringIO(), io.StringIO()
    logger = logging.getLogger("seqcls")
    with (
        contextlib.ExitStack() as stack,
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
        mock.patch.multiple(sys, argv=["seqcls", *arguments], stdin=stdin),
        mock.patch.multiple(logger, handlers=[], propagate=logger.propagate),
    ):
        stack.callback(stdin.close)
        try:
            main()
        except SystemExit as leaving:
            if leaving.code:
                raise DocumentationError(
                    f"`seqcls {shlex.join(arguments)}` exits with {leaving.code}: {stderr.getvalue()[-2000:]}"
                ) from leaving
    return stdout.getvalue()


def _split(words: list[str], separator: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word == separator:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _install(project: dict[str, Any]) -> None:
    """Announce the entry points of the package in the current folder, as `pip install -e .` would."""
    folder = Path(f"{project['name'].replace('-', '_')}-{project['version']}.dist-info")
    folder.mkdir()
    summary = f"Summary: {project['description']}\n" if "description" in project else ""
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n{summary}"
    (folder / "METADATA").write_text(metadata, encoding="utf-8")
    groups = project.get("entry-points", {})
    lines = [
        line
        for group, points in groups.items()
        for line in (f"[{group}]", *(f"{name} = {target}" for name, target in points.items()))
    ]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    importlib.invalidate_caches()


def _read_json(code: str) -> None:
    try:
        json.loads(code)
    except json.JSONDecodeError:
        for line in code.splitlines():
            json.loads(line)
