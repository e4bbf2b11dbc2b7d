"""`penstock mcp`: the gate's tools for any program that speaks the Model Context Protocol."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from penstock.kernel.mcp_server import Call

LOOPBACK = "127.0.0.1"


@click.command()
@click.option("--http", "place", metavar="[HOST:]PORT", help="Serve streamable HTTP there instead; port 0 picks one.")
@click.option("--token-env", metavar="NAME", help="With --http: the variable that holds the token callers must bring.")
@click.option("--allow-host", "hosts", metavar="NAME[:PORT]", multiple=True, help="With --http: also known as this.")
@click.option(
    "--allow-origin", "origins", metavar="ORIGIN", multiple=True, help="With --http: web pages that may call."
)
def mcp(place: str | None, token_env: str | None, hosts: tuple[str, ...], origins: tuple[str, ...]) -> int:
    """Offer the tools of the red-green gate to an agent program, over stdin and stdout.

    All doors to one working tree lead to one gate, so verdicts are the same everywhere. Whoever can call over HTTP runs
    commands as you: it binds this machine only, and needs a token anywhere else.
    """
    if place is None:
        if token_env or hosts or origins:
            raise click.UsageError("--token-env, --allow-host and --allow-origin go with --http")
        return _stdio()
    host, port = read_place(place)
    return _http(host, port, hosts, read_origins(origins), read_token(token_env, os.environ.get(token_env or "")))


def read_place(text: str) -> tuple[str, int]:
    """Host and port of `[HOST:]PORT`; an IPv6 address stands in brackets."""
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise click.BadParameter(f"{text!r}: an IPv6 address stands in brackets", param_hint="--http")
    if not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise click.BadParameter(f"{text!r} has no port", param_hint="--http")
    return host or LOOPBACK, int(port)


def read_origins(texts: Sequence[str]) -> tuple[str, ...]:
    """Origins as browsers send them."""
    for text in texts:
        scheme, mark, name = text.partition("://")
        if scheme not in ("http", "https") or not mark or not name or set(name) & set("/*@"):
            hint = "one origin, as http://localhost:3000"
            raise click.BadParameter(f"{text!r} is not {hint}", param_hint="--allow-origin")
    return tuple(texts)


def read_token(name: str | None, value: str | None) -> str | None:
    """The token, where one is asked for."""
    if name is None:
        return None
    if not value:
        raise click.BadParameter(f"the environment variable {name} is empty", param_hint="--token-env")
    if not (value.isascii() and value.isprintable() and " " not in value):
        raise click.BadParameter(f"{name} has characters that no header carries", param_hint="--token-env")
    return value


def _stdio() -> int:
    import asyncio
    import signal

    from penstock.cli.main import here
    from penstock.kernel.mcp_server import serve_stdio
    from penstock.wire.mcp import serve_tools

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a thread waits for input, and no exception would wake it
    asyncio.run(serve_tools(here(), serve_stdio))
    return 0


def _http(host: str, port: int, hosts: tuple[str, ...], origins: tuple[str, ...], token: str | None) -> int:
    import asyncio

    from penstock.cli.main import here
    from penstock.kernel.mcp_http import serve_http
    from penstock.wire.mcp import serve_tools

    async def serve(call: Call) -> None:
        await serve_http(call, host, port, hosts, origins, token, tell)

    def tell(url: str) -> None:
        click.echo(f"serving {url}" + ("" if token else "; no token: any user of this machine can call it"), err=True)

    asyncio.run(serve_tools(here(), serve))
    return 0
