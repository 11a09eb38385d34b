from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from seqcls import registry

# Two processes run the tests, and each of them would use every core.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests say nothing about speed: on a busy machine any example may take long.
settings.register_profile("seqcls", deadline=None, max_examples=30)
settings.load_profile("seqcls")


@pytest.fixture(autouse=True)
def _isolated_registry() -> Iterator[None]:
    """No test leaves a plugin registered."""
    with registry.isolated():
        yield


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's cache."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("SEQCLS_HOME", str(home))
    return home


def pytest_configure(config: pytest.Config) -> None:
    """Let the processes of the tests hear Ctrl-C: a shell that starts pytest in the background makes them deaf to it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what takes long, saying so, unless its marker is asked for."""
    for item in items:
        for name in ("slow", "fuzz"):
            if item.get_closest_marker(name) and name not in config.getoption("-m"):
                item.add_marker(pytest.mark.skip(reason=f"takes long; run with -m {name}"))
