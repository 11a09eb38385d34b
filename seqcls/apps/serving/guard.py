"""The checks before every request (hosts, size, time, number), and the headers of every answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seqcls.apps.serving.problems import ProblemError

MAX_BODY = 1 << 20
"""The most bytes in the body of a request."""

# The bytes of an oversized body that are read and dropped before it is refused: a client that is still sending when the
# connection is closed would never see the reason.
_DISCARDED = 8 << 20
_MOST_AT_ONCE = 512  # requests with a body; bodies are held in memory
_CLIENT_LEFT = 499  # the status that nginx uses; only in the metrics
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]

logger = logging.getLogger("seqcls")


@dataclass
class Traffic:
    """The requests under way.

    Attributes:
        with_body: The number of requests that are neither GET nor HEAD.
        draining: Whether the server is ending: connections close after their answer.
    """

    with_body: int = 0
    draining: bool = False


class _ClientLeftError(Exception):
    """The client no longer waits for the answer."""


class Guard:
    """ASGI middleware around the application.

    Args:
        app: The application.
        hosts: The names that the header Host may give, without a port. Others are refused, as a protection against DNS
            rebinding: pages of other sites whose name leads here.
        seconds: The longest time that a request may take, from its first byte to its answer.
        traffic: Counts what is under way; updated here.
        observe: Called with the path, status and seconds of each request.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Collection[str],
        seconds: float,
        traffic: Traffic,
        observe: Callable[[str, int, float], None],
    ) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}
        self._seconds = seconds
        self._traffic = traffic
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                closing = [(b"connection", b"close")] if self._traffic.draining else []
                message = {**message, "headers": [*message["headers"], *_HEADERS, *closing]}
            await send(message)

        try:
            await self._answer(scope, receive, send_with_headers)
        except _ClientLeftError:
            status = status or _CLIENT_LEFT
        except ProblemError as problem:
            await problem.response()(scope, receive, send_with_headers)
        except Exception:
            logger.exception("a request for %s failed", scope["path"].encode("ascii", "backslashreplace").decode())
            if status:
                raise
            failure = ProblemError(500, "The server failed; its log says why.")
            await failure.response()(scope, receive, send_with_headers)
        finally:
            self._observe(scope["path"], status, time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        deadline = asyncio.get_running_loop().time() + self._seconds
        self._check_host(scope)
        if scope["method"] in ("GET", "HEAD"):
            await self._call(scope, receive, send, body=b"", deadline=deadline)
            return
        if self._traffic.with_body >= _MOST_AT_ONCE:
            raise ProblemError(503, "Too many requests at once; try again in a second.", headers={"Retry-After": "1"})
        self._traffic.with_body += 1
        try:
            async with asyncio.timeout_at(deadline) as reading:
                body = await _read(receive)
            await self._call(scope, receive, send, body=body, deadline=deadline)
        except TimeoutError:
            if not reading.expired():
                raise
            raise ProblemError(408, f"The request did not arrive within {self._seconds:g} seconds.") from None
        finally:
            self._traffic.with_body -= 1

    def _check_host(self, scope: Scope) -> None:
        values = [value for name, value in scope["headers"] if name == b"host"]
        host = values[0].decode("latin-1").lower() if len(values) == 1 else ""
        name, _, port = host.rpartition(":")
        if port.isdecimal() or host.endswith(":"):
            host = name
        if host not in self._hosts:
            raise ProblemError(
                421, "The server does not answer to this host name; its operator can add it with --allow-host."
            )

    async def _call(self, scope: Scope, receive: Receive, send: Send, *, body: bytes, deadline: float) -> None:
        """Let the application answer, until the deadline or until the client leaves."""

        async def replay() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        work = asyncio.ensure_future(self._app(scope, replay, send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            left = deadline - asyncio.get_running_loop().time()
            await asyncio.wait({work, leaving}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
                return
            if leaving.done():
                raise _ClientLeftError
            raise ProblemError(
                504,
                f"No answer within {self._seconds:g} seconds; send fewer or shorter texts, or try again later.",
            )
        finally:
            work.cancel()
            leaving.cancel()
            await asyncio.gather(work, leaving, return_exceptions=True)


async def _read(receive: Receive) -> bytes:
    """Return the body; count its bytes as they arrive."""
    parts: list[bytes] = []
    size = 0
    while True:
        message: dict[str, Any] = dict(await receive())
        if message["type"] == "http.disconnect":
            raise _ClientLeftError
        part = message.get("body", b"")
        size += len(part)
        if size <= MAX_BODY:
            parts.append(part)
        else:
            parts.clear()
        if size > MAX_BODY + _DISCARDED or not message.get("more_body", False):
            break
    if size > MAX_BODY:
        raise ProblemError(413, f"The body is larger than {MAX_BODY:,} bytes; send the texts in several requests.")
    return b"".join(parts)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
