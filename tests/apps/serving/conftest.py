"""Models that learn in a second, served in this process or in one of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from toy import toy_config, toy_splits

from seqcls import Trainer


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a model of texts."""
    path = tmp_path_factory.mktemp("serving") / "toy"
    Trainer(None, toy_splits(), config=toy_config(epochs=15), output=path).fit()
    return path


@pytest.fixture(scope="session")
def address(model: Path) -> Iterator[str]:
    """The address of a server with that model twice."""
    pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
    pytest.importorskip("httpx")
    from benchmarks.serving import serving

    with serving(str(model), f"other={model}", "--example", "A superb film") as (_, port):
        yield f"http://127.0.0.1:{port}"
