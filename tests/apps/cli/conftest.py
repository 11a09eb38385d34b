from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import SMALL, Done, Run

from seqcls.apps.cli.app import main


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("seqcls")  # which a command sets up for its process
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", logger.propagate)

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["seqcls", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        code = stopped.value.code
        output, errors = capsys.readouterr()
        return Done(code if isinstance(code, int) else 0, output, errors)

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    environment = {**os.environ, "SEQCLS_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "seqcls", "fit", *SMALL, "--output", str(folder / "run"), "--quiet"]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return folder / "run"


@pytest.fixture
def faulty(tmp_path: Path) -> str:
    """A CSV file with a text twice, an empty one and a long word that is no rich markup."""
    rows = [
        f"{place}, number {number}, was a [bold]{'good' if number % 2 else 'bad'} one"
        for number, place in enumerate(f"place{chr(97 + number % 26)}{chr(97 + number // 26)}" for number in range(60))
    ]
    rows[7], rows[9] = rows[5], "..."
    lines = [f'"{text}",{"good" if number % 2 else "bad"}' for number, text in enumerate(rows)]
    (tmp_path / "faulty.csv").write_text("\n".join(["words,mood", *lines]) + "\n")
    return "./faulty.csv"
