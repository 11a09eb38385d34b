"""Every fenced block of the README and the documentation is run, or at least read by what it is written for."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(
    r"(?:<!-- test: (?P<note>[^>]*) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


def _blocks(page: Path) -> list[re.Match[str]]:
    return list(BLOCK.finditer(page.read_text(encoding="utf-8")))


def _has_imdb() -> bool:
    return Path(os.environ.get("SEQCLS_DATA_DIR", "/nowhere"), "imdb").is_dir()


def _run_commands(code: str) -> None:
    for line in code.splitlines():
        assert line.startswith("$ seqcls "), f"a console block holds commands of seqcls: {line}"
        command = [sys.executable, "-m", *shlex.split(line[2:])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, f"{line}\n{done.stderr}"


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run_in_their_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    skipped = []
    for block in _blocks(page):
        code, language, note = block["code"], block["language"], block["note"]
        if note == "needs IMDB" and not _has_imdb():
            skipped.append(note)
        elif language == "python":
            exec(compile(code, str(page), "exec"), namespace)
        elif language == "console":
            _run_commands(code)
        elif language == "toml":
            tomllib.loads(code)
        elif language == "json":
            json.loads(code)
        else:  # shell set-up is what CI itself runs
            assert language in ("bash", "text"), f"{page}: a block of the unknown language {language!r}"
    if skipped:
        pytest.skip(f"{len(skipped)} blocks need IMDB in SEQCLS_DATA_DIR; the others ran")


def test_the_command_reference_names_every_command_and_flag() -> None:
    commands = runpy.run_path(str(ROOT / "docs" / "generate_cli.py"))["commands"]()
    for name in ("fit", "evaluate", "predict", "list", "info"):
        assert f"## seqcls {name}" in commands
    for flag in ("--encoder", "--resume", "--encoder-option", "--print-config", "--json", "--split", "--file"):
        assert flag in commands


def test_the_settings_reference_names_every_setting() -> None:
    from seqcls.config import all_settings

    settings = runpy.run_path(str(ROOT / "docs" / "generate_cli.py"))["settings"]()
    assert all(f"| `{name}` |" in settings for name in all_settings())


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_an_example_runs(example: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(example)], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout
