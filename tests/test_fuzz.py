"""Whatever stands in a file, its loader gives data or a SeqclsError: nothing else comes out, and it comes soon."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from fuzz_targets import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# What parsers trip over: limits of numbers, what is no number, nesting, words of JSON, control characters, wrong UTF-8.
TOKENS = [
    *b'0 -1 1e999 NaN Infinity -0.0 18446744073709551616 99999999999999999999999 true null {} [] "" \' \\ \\u0000 \\ud800 '
    b"\xff \xc3 \x1f\x8b \xff\xfe PK\x03\x04 \x80\x04 , : ; | \t = [[ ]]".split(b" "),
    *(b"\0", b"\n", b" ", b"[" * 5_000, b"9" * 5_000, b'{"a":' * 3_000, b"\r\n", b"\xff" * 8, b"\0" * 8),
]


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Draw a valid content with parts flipped, cut, doubled, inserted, overwritten, or taken from another; or any bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 64)))
        token = draw(st.sampled_from(TOKENS) | st.binary(max_size=8))
        other = draw(st.sampled_from(seeds))
        data = draw(
            st.sampled_from(
                [
                    data[:start] + bytes(byte ^ 1 << start % 8 for byte in data[start : start + 1]) + data[start + 1 :],
                    data[:start],
                    data[:start] + data[end:],
                    data[:end] + data[start:],
                    data[:start] + token + data[start:],
                    data[:start] + token + data[end:],
                    data[:start] + token + data[start + len(token) :],
                    data[:start] + other[start:],
                ]
            )
        )
    return data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("name", TARGETS)
def test_a_valid_file_is_accepted(name: str, folder: Path) -> None:
    target = TARGETS[name]
    assert target.run(target.seeds()[0], folder)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", TARGETS)
def test_no_content_that_atheris_finds_breaks_a_loader(name: str) -> None:
    pytest.importorskip("atheris", reason="atheris is not installed; run: pip install -e '.[fuzz]'")
    seconds = os.environ.get("SEQCLS_FUZZ_SECONDS", "60")
    command = [sys.executable, str(Path(__file__).with_name("fuzz_coverage.py")), name, seconds]
    done = subprocess.run(command, capture_output=True, text=True, timeout=int(seconds) + 60)
    assert done.returncode == 0, done.stderr[-5_000:]


@pytest.mark.parametrize("name", TARGETS)
def test_a_damaged_file_gives_data_or_an_error_of_ours(name: str, folder: Path) -> None:
    target = TARGETS[name]

    @settings(max_examples=100, deadline=timedelta(seconds=5), suppress_health_check=list(HealthCheck))
    @given(mutated(target.seeds()))
    def run(data: bytes) -> None:
        target.run(data, folder)

    run()
