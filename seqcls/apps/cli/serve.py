"""`seqcls serve`: models over HTTP, with a page to try them."""

from __future__ import annotations

import ipaddress
import signal
from typing import Annotated

import typer

from seqcls.apps.cli import flags
from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import readable, say


def serve(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL", help="Model or run directories; NAME=DIRECTORY names one.", show_default=False),
    ],
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="INT", help="Port; 0 picks a free one.", min=0, max=65535)] = 8000,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Host name that requests may use, besides --host and localhost."),
    ] = None,
    queue: Annotated[
        int, typer.Option(metavar="INT", help="Texts that may wait; requests beyond that get status 503.", min=64)
    ] = 512,
    timeout: Annotated[
        float, typer.Option(metavar="FLOAT", help="Seconds after which a request gets status 504.", min=0.1, max=3600)
    ] = 10.0,
    example: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Text that the page offers as an example.")
    ] = None,
    threads: flags.Threads = None,
    device: flags.Device = "auto",
) -> None:
    """Serve models over HTTP, with a page to try them in a browser."""
    with uninterrupted():
        from seqcls.apps.serving.app import LOOPBACK, create_app
        from seqcls.apps.serving.models import load_models
        from seqcls.apps.serving.server import listen, run, url_of
        from seqcls.system.device import set_threads
        from seqcls.system.memory import keep_freed_memory

    address = _address(host)
    is_any_address = address is not None and address.is_unspecified  # no request names 0.0.0.0 as its host
    host_name = [] if is_any_address else [f"[{host}]" if ":" in host else host]
    names = list(dict.fromkeys([*LOOPBACK, *host_name, *(allow_host or [])]))
    with listen(host, port) as listener:
        set_threads(threads)
        keep_freed_memory()
        classifiers = load_models(models, device=device)
        app = create_app(classifiers, hosts=names, seconds=timeout, capacity=queue, examples=example or [])
        url = url_of(listener)

        def announce() -> None:
            if not (host == "localhost" or (address is not None and address.is_loopback)):
                say(f"warning: anyone who can reach {host} can use the models: there is no password and no encryption")
                say(f"Requests may use the host names {', '.join(names)}; add others with --allow-host")
            say(f"Serving {', '.join(map(readable, classifiers))} at {url} (Ctrl-C stops)")

        received = run(app, listener, seconds=timeout, announce=announce)
    if received is not None:
        say(f"stopped by {signal.Signals(received).name}; all requests were answered")
        raise typer.Exit(128 + received)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
