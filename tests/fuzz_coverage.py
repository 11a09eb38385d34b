"""Fuzz one loader with atheris, which looks for what reaches new lines: python tests/fuzz_coverage.py NAME SECONDS."""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["seqcls", "json", "csv", "tomllib", "zipfile", "numpy.lib"]):
    from fuzz_targets import TARGETS


def main(name: str, seconds: str) -> None:
    logging.getLogger("seqcls").setLevel(logging.ERROR)  # what is skipped in a file would fill the screen
    folder = Path(tempfile.mkdtemp(prefix="seqcls-fuzz-"))  # what is found stays: libFuzzer ends the process itself
    (folder / "corpus").mkdir()
    for number, seed in enumerate(TARGETS[name].seeds()):
        (folder / "corpus" / str(number)).write_bytes(seed)
    limits = [f"-max_total_time={seconds}", "-timeout=5", "-rss_limit_mb=2048", "-max_len=65536"]
    output = [f"-artifact_prefix={folder}/", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, *output, str(folder / "corpus")], lambda data: _run(name, data, folder))
    atheris.Fuzz()


def _run(name: str, data: bytes, folder: Path) -> None:
    TARGETS[name].run(data, folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
