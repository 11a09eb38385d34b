"""The process: its errors, its end, its load, and what Schemathesis makes of it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from hypothesis import HealthCheck, Phase, given, settings
from toy import toy_config

from benchmarks.serving import ask_at_rate, ask_in_turn, memory, serving
from seqcls import Splits, Trainer
from seqcls.apps.serving.models import load_models
from seqcls.apps.serving.server import listen
from seqcls.errors import CheckpointError, UsageError

BODIES = [json.dumps({"texts": f"the film was superb n{number}"}).encode() for number in range(50)]


def test_what_cannot_be_listened_at_is_an_error_with_a_remedy() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(UsageError, match=r"is in use; give another with --port, or --port 0 for any that is free"),
    ):
        listen("127.0.0.1", other.getsockname()[1])
    with pytest.raises(UsageError, match=r"cannot listen on 203\.0\.113\.1: .*; give --host an address of this machine"):
        listen("203.0.113.1", 0)
    with pytest.raises(UsageError, match=r"cannot listen on no\.such\.host\.invalid"):
        listen("no.such.host.invalid", 0)


def test_what_cannot_be_served_is_an_error_with_a_remedy(model: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no model directory .*nowhere"):
        load_models([str(tmp_path / "nowhere")])
    with pytest.raises(UsageError, match="two models are named 'toy'; give one as OTHER="):
        load_models([str(model), f"toy={model}"])
    with pytest.raises(UsageError, match="no printable name"):
        load_models([f"={model}"])
    pairs = [(np.full((3, 2), float(number % 2)), ("low", "high")[number % 2]) for number in range(16)]
    config = toy_config(epochs=1).updated({"model": {"embedding": "features"}}, source="test")
    Trainer(None, Splits.from_pairs(pairs, validation=pairs), config=config, output=tmp_path / "numbers").fit()
    with pytest.raises(UsageError, match="reads sequences of numbers, but serve takes texts; use seqcls predict --file"):
        load_models([str(tmp_path / "numbers")])


def test_a_model_gets_the_name_of_its_folder_or_the_one_given(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    assert list(load_models(["toy", "second=toy", f"third={model}"])) == ["toy", "second", "third"]
    assert list(load_models(["toy/model"])) == ["toy"]


class Client(threading.Thread):
    """Asks over one connection, as long as the server keeps it, and writes down what came of each request."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)
        self.statuses: list[int] = []
        self.failure: Exception | None = None
        self.begun = threading.Event()

    def run(self) -> None:
        try:
            while True:
                texts = ["superb film " * 10] * 4
                headers = {"Content-Type": "application/json"}
                self._connection.request("POST", "/v1/predict", json.dumps({"texts": texts, "explain": True}), headers)
                self.begun.set()
                answer = self._connection.getresponse()
                assert "predictions" in json.loads(answer.read())
                self.statuses.append(answer.status)
                if answer.getheader("Connection") == "close":
                    return
        except Exception as error:
            self.failure = error


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_signal_ends_the_server_with_every_request_answered(model: Path, number: signal.Signals, code: int) -> None:
    with serving(str(model), "--timeout", "60") as (server, port):  # however busy the machine
        clients = [Client(port) for _ in range(4)]  # whose explanations take longer than the signal's way
        for client in clients:
            client.start()
        for client in clients:
            assert client.begun.wait(20)
        time.sleep(0.2)
        server.send_signal(number)
        for client in clients:
            client.join(60)
            assert client.failure is None
            assert set(client.statuses) == {200}
        assert server.stderr is not None
        assert server.stderr.read().startswith(f"stopped by {number.name}; ")
        assert server.wait(20) == code
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.slow)])
def test_a_load_leaves_no_error_and_an_overload_only_503(model: Path, seconds: int) -> None:
    with serving(str(model)) as (_, port):
        asyncio.run(ask_in_turn(port, BODIES, clients=32, seconds=max(1, seconds / 6)))
        before = memory(port)
        load = asyncio.run(ask_in_turn(port, BODIES, clients=32, seconds=seconds))
        assert set(load.statuses) == {200}
        assert memory(port) < 1.05 * before
        rate = 3 * load.statuses[200] / seconds
        overload = asyncio.run(ask_at_rate(port, BODIES, rate=rate, seconds=min(seconds, 20)))
        assert set(overload.statuses) <= {200, 503}
        assert overload.statuses[200]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries that Schemathesis imports
@pytest.mark.parametrize("examples", [50, pytest.param(500, marks=pytest.mark.slow)])
def test_schemathesis_finds_nothing(address: str, examples: int) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    modes = schemathesis.GenerationMode
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {operation.path for operation in operations} >= {"/v1/predict", "/v1/models", "/live", "/ready", "/metrics"}
    for operation in operations:
        for mode in (modes.POSITIVE, modes.NEGATIVE) if operation.method == "post" else (modes.POSITIVE,):
            _examine(operation, mode, examples if operation.method == "post" else 3)


def _examine(operation: Any, mode: Any, examples: int) -> None:
    from schemathesis.specs.openapi.checks import negative_data_rejection

    @settings(max_examples=examples, phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def examine(case: Any) -> None:
        answer = case.call()
        # Schemathesis does not count 413 among the answers that refuse.
        case.validate_response(answer, excluded_checks=[negative_data_rejection] if answer.status_code == 413 else [])

    examine()
