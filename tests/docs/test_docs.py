"""What the documentation shows is run, what it says of the code is compared with the code, and the site builds."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pages import PAGES, ROOT, DocumentationError, blocks, run_command, run_page

import seqcls
from seqcls import registry
from seqcls.config.settings import all_settings

LEFT_OUT = [block for page in PAGES for block in blocks(page) if block.skip is not None]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
COMMANDS = (
    "fit",
    "tune",
    "check",
    "evaluate",
    "predict",
    "explain",
    "report",
    "compare",
    "export",
    "serve",
    "push",
    "list",
    "info",
    "new",
)


def _text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def generated() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "generate_cli.py"))


@pytest.mark.usefixtures("_playground")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_runs_in_order(page: Path) -> None:
    run_page(page)


@pytest.mark.parametrize("block", LEFT_OUT, ids=lambda block: block.where)
def test_a_block_that_is_left_out_says_why(block: Any) -> None:
    assert block.skip
    pytest.skip(block.skip)


@pytest.mark.usefixtures("_playground")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(example: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(example)])
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```ruby\nputs 1\n```\n", "the language 'ruby'"),
        ("```\nno language\n```\n", "the language ''"),
        ("```console\nseqcls list\n```\n", "holds no command"),
        ("```bash\nrm -rf nothing\n```\n", "is neither seqcls nor one of"),
        ("```bash\nseqcls fit --no-such-flag\n```\n", "exits with 2"),
        ("```python\nassert False\n```\n", None),
        ("```toml\n[fit]\nepoch = 3\n```\n", "unknown setting fit.epoch; did you mean"),
        ("```json\n{no json}\n```\n", None),
        ("<!-- test: skip -->\n```python\n```\n", "write <!-- test: skip, REASON -->"),
        ("```python\n", "has no end"),
    ],
)
def test_a_page_with_a_block_that_does_not_work_fails(
    text: str, message: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises((AssertionError, ValueError, seqcls.SeqclsError), match=message):
        run_page(page)


@pytest.mark.usefixtures("_playground")
def test_commands_of_a_page_may_be_joined(tmp_path: Path) -> None:
    assert run_command("echo one two > words.txt && cat words.txt | head -n 1") == "one two\n"
    assert run_command("SEQCLS_NO_PLUGINS=1 seqcls list --json").startswith("{")
    assert "SEQCLS_NO_PLUGINS" not in os.environ
    with pytest.raises(DocumentationError):
        run_command("seqcls list && python3 -c 1")


def test_the_command_reference_names_every_command_and_flag(generated: dict[str, Any]) -> None:
    sections = dict(re.findall(r"^## seqcls (\w+)\n(.*?)(?=^## |\Z)", generated["commands"](), re.MULTILINE | re.DOTALL))
    named = set(re.findall(r"^  (\w+) ", run_command("seqcls --help").partition("Commands:")[2], re.MULTILINE))
    assert set(sections) == named == set(COMMANDS)
    for command, section in sections.items():
        flags = set(
            re.findall(r"(?<![\w-])--?[a-z][a-z-]*", run_command(f"seqcls {command} --help").partition("Options:")[2])
        )
        missing = {flag for flag in flags - {"-h", "--help"} if flag not in section}
        assert not missing, f"seqcls {command}: {missing}"


def test_the_settings_reference_names_every_setting_with_its_default(generated: dict[str, Any]) -> None:
    settings = generated["settings"]()
    assert all(re.search(rf"^\| `{name}` \| [^|]", settings, re.MULTILINE) for name in all_settings())
    assert '| `epochs` | `auto` or integer ≥ 1 | `"auto"` | Passes over the training split. |' in settings
    assert "## Recipe `tutorial`, resolved" in settings


def test_the_plugin_reference_has_every_builtin_with_its_options(generated: dict[str, Any]) -> None:
    plugins = generated["plugins"]()
    for known in registry.REGISTRIES.values():
        assert all(f"## {known.kind} `{name}`" in plugins for name in known.builtins)
    assert "| `pooling` |" in plugins


def test_the_api_reference_has_every_public_name() -> None:
    listed = re.findall(r"^::: seqcls\.(\w+)$", _text("docs/reference/api.md"), re.MULTILINE)
    assert set(seqcls.__all__) <= set(listed)


@pytest.mark.usefixtures("_playground")
def test_the_format_reference_names_every_file_and_key() -> None:
    page = _text("docs/reference/formats.md")
    output = json.loads(run_command("seqcls fit --output run --epochs 1 --set ema_decay=0.9 --json"))
    objects = [output, json.loads(run_command("seqcls fit --dry-run --json"))]
    objects += [json.loads(run_command(f"seqcls {command} --json")) for command in ("evaluate run", "predict run good")]
    checked = json.loads(run_command("seqcls check reviews --json"))
    objects += [checked, checked["findings"][0], checked["findings"][0]["examples"][0]]
    info = json.loads(run_command("seqcls info encoder lstm --json"))
    objects += [info, info["options"][0], json.loads(run_command("seqcls list --json"))]
    objects += [json.loads(Path("run/metrics.jsonl").read_text(encoding="utf-8"))]
    files = [file for file in Path("run").rglob("*") if file.is_file()]
    assert {file.name for file in files} >= {"config.toml", "training.safetensors", "model.safetensors", "manifest.json"}
    own = [file for file in files if file.suffix == ".json" and file.name != "tokenizer.json"]  # that format is not ours
    objects += [json.loads(file.read_text(encoding="utf-8")) for file in own]
    for name in {file.name for file in files} | {key for values in objects for key in values}:
        assert re.search(rf'[`"/]{re.escape(name)}[`"/]', page), f"{name} is not in formats.md"


def test_the_format_reference_names_every_environment_variable() -> None:
    page = _text("docs/reference/formats.md")
    sources = (ROOT / "seqcls").rglob("*.py")
    variables = {name for source in sources for name in re.findall(r'"(SEQCLS_\w+)"', source.read_text(encoding="utf-8"))}
    assert variables >= {"SEQCLS_HOME", "SEQCLS_DATA_DIR", "SEQCLS_OFFLINE", "SEQCLS_NO_PLUGINS"}
    assert all(f"`{name}`" in page for name in variables)


def test_every_benchmark_that_a_page_names_is_there_and_explains_itself() -> None:
    named = set(re.findall(r"python -m benchmarks ([a-z]+)", "".join(page.read_text(encoding="utf-8") for page in PAGES)))
    assert len(named) > 8
    for name in ["", *sorted(named)]:
        command = [sys.executable, "-m", "benchmarks", *name.split(), "--help"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (name, done.stderr)
        assert "usage" in done.stdout


def test_the_readme_opens_with_the_two_commands_that_set_everything_up() -> None:
    first, second, *_ = blocks(ROOT / "README.md")
    for block in (first, second):
        assert block.code.startswith("python3 -m venv .venv && .venv/bin/pip install -c constraints.txt ")
    assert first.code.endswith("&& .venv/bin/seqcls fit\n")
    assert second.code.endswith("&& .venv/bin/python -m pytest\n")


def test_every_package_of_the_tested_environment_is_pinned() -> None:
    pins = [line for line in _text("constraints.txt").splitlines() if not line.startswith("#")]
    assert "torch==2.13.0" in pins
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9A-Za-z.]+", line)] == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for module in ("mkdocs", "material", "mkdocstrings"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed; the extra `docs` has it")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_builds_without_a_warning(site: Path) -> None:
    assert (site / "index.html").is_file()
    assert "--encoder-option" in (site / "reference" / "cli" / "index.html").read_text(encoding="utf-8")
    assert "Unreleased" in (site / "changelog" / "index.html").read_text(encoding="utf-8")


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = [page.read_text(encoding="utf-8") for page in site.rglob("*.html")]
    loaded = {
        source
        for page in pages
        for source in re.findall(r'<(?:script|img|link rel="stylesheet")[^>]+(?:src|href)="(http[^"]+)', page)
    }
    assert loaded == set()
