"""`seqcls serve`: models behind HTTP, with a page to try them."""

from __future__ import annotations

import ipaddress
import signal
from typing import Annotated

import typer

from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import readable, say


def serve(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL", help="Model or run directories; NAME=DIRECTORY names one.", show_default=False),
    ],
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for any that is free.", min=0, max=65535)] = 8000,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Host name that requests may give, beside --host and localhost.")
    ] = None,
    queue: Annotated[int, typer.Option(help="Texts that may wait; of more, requests get 503.", min=64)] = 512,
    timeout: Annotated[float, typer.Option(help="Seconds until a request gets 504.", min=0.1, max=3600)] = 10.0,
    example: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="Text that the page offers to try.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; by default all cores.", min=1)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
) -> None:
    """Answer requests over HTTP, and show a page to try models in a browser."""
    with uninterrupted():
        from seqcls.apps.serving.app import LOOPBACK, create_app
        from seqcls.apps.serving.models import load_models
        from seqcls.apps.serving.server import listen, run, url_of
        from seqcls.system.device import set_threads

    address = _address(host)
    is_everywhere = address is not None and address.is_unspecified  # of which nobody gives the name
    own = [] if is_everywhere else [f"[{host}]" if ":" in host else host]
    names = list(dict.fromkeys([*LOOPBACK, *own, *(allow_host or [])]))
    with listen(host, port) as listener:
        set_threads(threads)
        classifiers = load_models(models, device=device)
        app = create_app(classifiers, hosts=names, seconds=timeout, capacity=queue, examples=example or [])
        url = url_of(listener)

        def announce() -> None:
            if not (host == "localhost" or (address is not None and address.is_loopback)):
                say(f"warning: whoever reaches {host} can use the models: there is no password and no encryption")
                say(f"Requests may name the hosts {', '.join(names)}; --allow-host adds one")
            say(f"Serving {', '.join(map(readable, classifiers))} at {url} (Ctrl-C stops)")

        received = run(app, listener, seconds=timeout, announce=announce)
    if received is not None:
        say(f"stopped by {signal.Signals(received).name}; every request was answered")
        raise typer.Exit(128 + received)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
