"""Compiles the time loop of LSTM layers into the wheel, where there is a C compiler; seqcls works without it too."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("seqcls", "model", "native")
# For each kind of register, the flags that let GCC and Clang use it, and the size of vectors.
AVX512 = ["-mavx512f", "-mavx512dq", "-mfma", "-DVECTOR_BYTES=64"]
KINDS = {
    "amx": [*AVX512, "-mavx512bf16", "-mamx-tile", "-mamx-bf16", "-DTILES"],
    "avx512": AVX512,
    "avx2": ["-mavx2", "-mfma", "-DVECTOR_BYTES=32"],
}
FLAGS = ["-std=gnu11", "-O3", "-fPIC", "-shared"]


class CompileLSTM(BuildHookInterface):
    """Adds a library for each kind of register to the wheel, and marks it as one for this platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; say so where that is not possible."""
        del version
        if self.target_name != "wheel" or os.name == "nt" or os.environ.get("SEQCLS_NATIVE") == "0":
            return
        kinds = {"plain": [], **(KINDS if platform.machine().lower() in ("x86_64", "amd64") else {})}
        if sys.platform != "linux":  # of which alone we know how to ask for AMX
            kinds.pop("amx", None)
        made = []
        for kind, options in kinds.items():
            try:
                made.append(self._compile(kind, options))
            except (OSError, subprocess.CalledProcessError) as error:
                reason = getattr(error, "stderr", None) or error
                self.app.display_warning(f"LSTM layers for {kind} are left out, since they cannot be compiled: {reason}")
        if not made:
            return
        build_data["artifacts"] += made
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

    def _compile(self, kind: str, flags: list[str]) -> str:
        """Compile for one kind of register; return the library's path within the project."""
        target = FOLDER / f"lstm-{kind}.so"
        compiler = shlex.split(os.environ.get("CC", "cc"))
        command = [*compiler, *FLAGS, *flags, str(FOLDER / "lstm.c"), "-o", str(target), "-lm"]
        subprocess.run(command, cwd=self.root, check=True, capture_output=True, text=True)
        return target.as_posix()
