"""A scratch environment in which packages are installed and commands run."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]


class Environment:
    """A virtual environment that sees this one's packages and this checkout; what is installed in it stays in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder / "venv", symlinks=True)
        self.python = folder / "venv" / "bin" / "python"
        purelib = sysconfig.get_path("purelib", vars={"base": str(folder / "venv"), "platbase": str(folder / "venv")})
        packages = Path(purelib)
        packages.joinpath("outer.pth").write_text(
            f"{ROOT}\nimport site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        )

    def install(self, package: Path) -> None:
        """Build a package and install it, without a look at the network."""
        command = [sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet", "--no-index"]
        done = self._run([*command, "--no-deps", "--no-build-isolation", str(package)])
        assert done.returncode == 0, done.stderr

    def seqcls(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of seqcls."""
        return self._run([self.python, "-m", "seqcls", *arguments], **environment)

    def pytest(self, package: Path) -> subprocess.CompletedProcess[str]:
        """Run a package's own tests."""
        return self._run(
            [self.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", package / "pyproject.toml", package]
        )

    def _run(self, command: list[object], **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {**os.environ, "SEQCLS_HOME": str(self.folder / "home"), "OMP_NUM_THREADS": "1", **environment}
        variables.pop("PYTHONPATH", None)
        return subprocess.run(
            list(map(str, command)), capture_output=True, text=True, cwd=self.folder, env=variables, timeout=300
        )
