"""A trained toy model whose files the tests may change, and a process that loads what they made of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from toy import toy_config, toy_splits

from seqcls import Trainer
from seqcls.storage.run_directory import RunDirectory

if TYPE_CHECKING:
    from hostile import Loader


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "run"
    Trainer(None, toy_splits(), config=toy_config(epochs=1), callbacks=[], output=folder).fit()
    return folder


@pytest.fixture(scope="module")
def loader(trained: Path) -> Iterator[Loader]:
    from hostile import Loader  # here, since it needs Linux and other tests do not

    loader = Loader(trained / "model")
    yield loader
    loader.close()


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "model", tmp_path / "model"))


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Path:
    last = RunDirectory.open(trained).checkpoints.pointed("last")
    assert last is not None
    return Path(shutil.copytree(last, tmp_path / "checkpoint"))
