"""The process: a listening socket, uvicorn, and a shutdown that answers every request."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

from seqcls.errors import UsageError

# The seconds in which open connections may send one more request after the listening socket was closed, so that none is cut
# off between its request and the answer.
_GRACE = 1.0


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 means any free port.

    Raises:
        UsageError: The port is in use or needs privileges, or the machine does not have the address.
    """
    try:
        # asyncio sends answers at once (TCP_NODELAY) only if the socket names its protocol, which the one of
        # socket.create_server does not: each answer would take 40 ms more.
        addresses = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = addresses[0]
        with contextlib.ExitStack() as undoing:
            listener = undoing.enter_context(socket.socket(family, kind, protocol))
            if os.name == "posix":  # elsewhere it would let two servers share a port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1024)
            undoing.pop_all()
            return listener
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = f"port {port} of {host} is in use; give another with --port, or --port 0 for any that is free"
        elif error.errno in (errno.EACCES, errno.EPERM):
            reason = f"port {port} needs privileges; give --port 1024 or higher"
        else:
            reason = f"cannot listen on {host}: {error.strerror}; give --host an address of this machine, such as 127.0.0.1"
        raise UsageError(reason) from error


def url_of(listener: socket.socket) -> str:
    """Return the URL at which a browser reaches the socket."""
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: FastAPI, listener: socket.socket, *, seconds: float, announce: Callable[[], None]) -> int | None:
    """Serve until SIGINT or SIGTERM, and answer the requests received by then; a second SIGINT ends the server at once.

    Args:
        app: The application, from `seqcls.apps.serving.app.create_app`.
        listener: The socket, from `listen`.
        seconds: The longest time that a request may take.
        announce: Called as soon as requests are answered.

    Returns:
        The signal that ended the server.
    """
    config = uvicorn.Config(
        app,
        http="h11",  # comes with every installation of uvicorn
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(seconds + _GRACE + 1),
    )
    server = _Server(config, app, announce)
    asyncio.run(server.serve(sockets=[listener]))
    return server.received


class _Server(uvicorn.Server):
    """uvicorn's server, which also announces that it is ready, and closes open connections only after a last answer."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self.received: int | None = None
        self._traffic = app.state.traffic
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._traffic.draining = True
        for server in self.servers:
            server.close()
        deadline = asyncio.get_running_loop().time() + _GRACE
        while self.server_state.connections and not self.force_exit and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals for the block; unlike uvicorn's, do not raise them again after it."""
        handled = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]
        usual = {number: signal.signal(number, self.handle_exit) for number in handled}
        try:
            yield
        finally:
            for number, handler in usual.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.received = sig
        super().handle_exit(sig, frame)
