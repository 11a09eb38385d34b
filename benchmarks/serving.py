"""`seqcls serve` in a process of its own, under the load of clients that each ask again as soon as they are answered.

What they get through is called the capacity; the overload is requests at three times that rate, whether answered or not. The
clients share the machine with the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

SEQCLS = [sys.executable, "-m", "seqcls"]
OVERLOAD = 3
_MOST_CONNECTIONS = 1000
_REVIEWS = ("a dull film", "the room was clean and the staff were friendly", "not a good meal, and the waiter knew it") * 20


@dataclass
class Load:
    """What came of requests: how many of each status, 0 for a broken connection; seconds to each answer 200."""

    seconds: float
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return figures: requests answered 200 a second, and milliseconds."""
        ranked = statistics.quantiles(self.latencies, n=100) if len(self.latencies) > 1 else [float("nan")] * 99
        return {
            "requests_per_s": round(self.statuses[200] / self.seconds, 1),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "p50_ms": round(1000 * ranked[49], 1),
            "p99_ms": round(1000 * ranked[98], 1),
        }


@contextlib.contextmanager
def serving(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run `seqcls serve` at a free port for the block; yield the process and the port."""
    command = [*SEQCLS, "serve", *arguments, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}) as server:
        assert server.stderr is not None
        try:
            lines: list[str] = []
            for line in server.stderr:
                lines.append(line)
                if found := re.search(r"^Serving .*:(\d+) \(", line):
                    break
            else:
                raise RuntimeError(f"seqcls serve has ended: {''.join(lines)}")
            yield server, int(found[1])
        finally:
            server.terminate()
            server.stderr.read()
            server.wait(30)


def measure(*, model: Path | None, clients: int, texts: int, seconds: float) -> dict[str, Any]:
    """Return the figures of the load of one client, of all, and of the overload, and the server's memory."""
    with contextlib.ExitStack() as stack:
        if model is None:
            model = Path(stack.enter_context(tempfile.TemporaryDirectory()), "run")
            subprocess.run([*SEQCLS, "fit", "--no-baseline", "--quiet", "--epochs", "1", "--output", str(model)], check=True)
        _, port = stack.enter_context(serving(str(model)))
        bodies = _bodies(texts)
        asyncio.run(ask_in_turn(port, bodies, clients=clients, seconds=max(2.0, seconds / 6)))  # buffers get their sizes
        alone = asyncio.run(ask_in_turn(port, bodies, clients=1, seconds=seconds / 6))
        before = memory(port)
        load = asyncio.run(ask_in_turn(port, bodies, clients=clients, seconds=seconds))
        after = memory(port)
        rate = OVERLOAD * load.statuses[200] / load.seconds
        overload = asyncio.run(ask_at_rate(port, bodies, rate=rate, seconds=seconds / 3))
        end = memory(port)
    return {
        "clients": clients,
        "texts_per_request": texts,
        "one_client": alone.as_dict(),
        "load": load.as_dict(),
        "overload": {**overload.as_dict(), "sent_per_s": round(sum(overload.statuses.values()) / overload.seconds, 1)},
        "memory_mb": [round(size / 1e6, 1) for size in (before, after, end)],
        "memory_growth_percent": round(100 * (after / before - 1), 2),
    }


def as_markdown(found: dict[str, Any]) -> str:
    """Return the figures as a table."""
    lines = ["| load | answered/s | p50 / p99, ms | statuses |", "|---|---|---|---|"]
    names = {"one_client": "1 client", "load": f"{found['clients']} clients", "overload": f"{OVERLOAD} times that rate"}
    for key, name in names.items():
        row = found[key]
        statuses = ", ".join(f"{count} × {status}" for status, count in row["statuses"].items())
        lines.append(f"| {name} | {row['requests_per_s']} | {row['p50_ms']} / {row['p99_ms']} | {statuses} |")
    return "\n".join(lines)


def memory(port: int) -> float:
    """Return the bytes that the server's process holds."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        found = re.search(r"^process_resident_memory_bytes (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found is not None, "the system does not tell a process's memory"
    return float(found[1])


async def ask_in_turn(port: int, bodies: Sequence[bytes], *, clients: int, seconds: float) -> Load:
    """Let each client ask, wait for the answer, and ask again."""
    load, turn = Load(seconds), cycle(bodies)
    deadline = time.perf_counter() + seconds

    async def client() -> None:
        connection = _Connection(port)
        while time.perf_counter() < deadline:
            await _ask(connection, next(turn), load)
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return load


async def ask_at_rate(port: int, bodies: Sequence[bytes], *, rate: float, seconds: float) -> Load:
    """Ask at a rate, answered or not, over as many connections as that takes, up to a thousand."""
    load, turn = Load(seconds), cycle(bodies)
    idle: list[_Connection] = [_Connection(port) for _ in range(_MOST_CONNECTIONS)]
    pending: set[asyncio.Task[None]] = set()

    async def one(connection: _Connection) -> None:
        await _ask(connection, next(turn), load)
        idle.append(connection)

    began, sent = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        while sent < rate * passed and idle:
            task = asyncio.create_task(one(idle.pop()))
            pending.add(task)
            task.add_done_callback(pending.discard)
            sent += 1
        await asyncio.sleep(0.002)
    await asyncio.gather(*pending)
    for connection in idle:
        connection.close()
    return load


async def _ask(connection: _Connection, body: bytes, load: Load) -> None:
    began = time.perf_counter()
    try:
        status = await connection.post(body)
    except (OSError, asyncio.IncompleteReadError):
        connection.close()
        load.statuses[0] += 1
        return
    load.statuses[status] += 1
    if status == 200:
        load.latencies.append(time.perf_counter() - began)


class _Connection:
    """A connection that is kept; of HTTP only what the server's answers need, since clients should cost little."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes) -> int:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = re.search(r"\r\ncontent-length: (\d+)", answer)
        assert length is not None
        await reader.readexactly(int(length[1]))
        if "\r\nconnection: close" in answer:
            self.close()
        return int(answer.split()[1])

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _bodies(texts: int) -> list[bytes]:
    """Return requests of texts of many lengths."""
    words = " ".join(_REVIEWS).split()
    found = [" ".join(words[start : start + 5 + 7 * start % 100]) for start in range(400)]
    return [json.dumps({"texts": found[start : start + texts]}).encode() for start in range(len(found) - texts)]
