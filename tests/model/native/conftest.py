"""What the tests of compiled layers share."""

from __future__ import annotations

import pytest
from lstm_paths import COMPILED_PATHS, take


@pytest.fixture(params=COMPILED_PATHS)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    take(request.param, monkeypatch)
    return str(request.param)
