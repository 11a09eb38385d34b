from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's cache."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("SEQCLS_HOME", str(home))
    return home


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what takes long, saying so, unless its marker is asked for."""
    for item in items:
        for name in ("slow", "fuzz"):
            if item.get_closest_marker(name) and name not in config.getoption("-m"):
                item.add_marker(pytest.mark.skip(reason=f"takes long; run with -m {name}"))
