"""The MCP server over streamable HTTP. Whoever can call it runs commands as us, so four doors stand before it.

1. It binds loopback, or needs a token: judged by the address that was really bound, whatever name was given.
2. `Host` must be a name that it is known by, else 421: a page whose own name was rebound to our address gets nothing.
3. `Origin`, which only browsers send, must be one that was allowed, else 403; none is by default, not even loopback's,
   where any development server may run. An allowed one gets the CORS headers without which it could not read.
4. `Authorization: Bearer` must be the token, if there is one, else 401; compared in constant time.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import anyio
import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.kernel.mcp_server import Call, make_server
from penstock.ports import BadInput, Problem

PATH = "/mcp"
BODY_BYTES_MAX = 16 * 1024 * 1024
"""Room for the largest text that a tool takes, escaped."""
CLIENTS_MAX = 64
CONNECTIONS_MAX = 256
CLIENT_IDLE_S_MAX = 12 * 3_600
DRAIN_S_MAX = 1
"""How long calls under way may go on when we are told to end; then they are cancelled."""


ENDING = (signal.SIGINT, signal.SIGTERM)


async def serve_http(
    call: Call,
    host: str = "127.0.0.1",
    port: int = 0,
    allowed_hosts: Sequence[str] = (),
    allowed_origins: Sequence[str] = (),
    token: str | None = None,
    tell: Callable[[str], object] = lambda url: None,
) -> None:
    """Serve until SIGTERM, SIGINT or cancelled. `tell` gets the URL once it can be called. In the main thread only.

    `allowed_hosts`: further values of `Host`, as they stand in URLs. Raises `BadInput` where `host` and `port` cannot
    be bound, or not safely.
    """
    with _bound(host, port, token) as bound:
        names = own_names(host, bound)
        app = make_app(call, (*names, *allowed_hosts), allowed_origins, token)
        await _serve(_Server(app, lambda: tell(f"http://{names[0]}{PATH}")), bound)


def make_app(call: Call, hosts: Sequence[str], origins: Sequence[str], token: str | None) -> ASGIApp:
    """The server behind its doors."""
    server = make_server(call)
    app: ASGIApp = server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=BODY_BYTES_MAX,
        session_idle_timeout=CLIENT_IDLE_S_MAX,
        max_sessions=CLIENTS_MAX,
        transport_security=TransportSecuritySettings(allowed_hosts=list(hosts), allowed_origins=list(origins)),
    )
    if token:
        app = _token_door(app, token)
    return _readable_for(origins, app) if origins else app


def own_names(host: str, bound: socket.socket) -> list[str]:
    """What `Host` says where a client comes straight to us; the first stands in the URL that we tell."""
    address, port = bound.getsockname()[:2]
    place = ipaddress.ip_address(address)
    names = [host] if host and not place.is_unspecified else []
    if place.is_loopback or place.is_unspecified:
        names += ["127.0.0.1", "localhost", "::1"]
    written = [f"[{name}]" if ":" in name else name for name in dict.fromkeys(names)]
    return [f"{name}:{port}" for name in written] + (written if port == 80 else [])


@contextmanager
def _bound(host: str, port: int, token: str | None) -> Iterator[socket.socket]:
    """A socket that is bound and does not listen yet."""
    with _socket_of(host, port) as bound:
        if not token and not ipaddress.ip_address(bound.getsockname()[0]).is_loopback:
            fix = "give one with --token-env, or bind 127.0.0.1"
            raise BadInput([_problem(host, port, "other machines reach this address: a token is needed", fix)])
        yield bound


def _socket_of(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise BadInput([_problem(host, port, f"no such address: {error.strerror or error}")]) from None
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
    except OSError as error:
        made.close()
        raise BadInput([_problem(host, port, f"cannot be bound: {error.strerror or error}")]) from None
    return made


def _problem(host: str, port: int, message: str, fix: str = "") -> Problem:
    return Problem(file=f"{host}:{port}", line=0, field="", message=message, fix=fix)


# --- doors ----------------------------------------------------------------------------------------------------------


def _token_door(app: ASGIApp, token: str) -> ASGIApp:
    async def door(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or has_token(Headers(scope=scope).get("authorization", ""), token):
            await app(scope, receive, send)
        else:
            refused = PlainTextResponse("a token is needed", 401, {"WWW-Authenticate": "Bearer"})
            await refused(scope, receive, send)

    return door


def has_token(header: str, token: str) -> bool:
    """Whether an `Authorization` header, decoded as Latin-1, brings the token."""
    scheme, _, given = header.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), token.encode())


def _readable_for(origins: Sequence[str], app: ASGIApp) -> ASGIApp:
    """Lets scripts of `origins` read the answers; whether they are answered is decided behind."""
    return CORSMiddleware(
        app,
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=["Mcp-Session-Id", "WWW-Authenticate"],
    )


# --- the end --------------------------------------------------------------------------------------------------------


class _Requests:
    """The requests under way: they can be broken off, and their answers come to a proper end all the same."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._scopes: set[anyio.CancelScope] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        said: list[Message] = []

        async def sent(message: Message) -> None:
            said[:] = [message]
            await send(message)

        with anyio.CancelScope() as own:
            self._scopes.add(own)
            try:
                await self._app(scope, receive, sent)
            finally:
                self._scopes.discard(own)
        if own.cancelled_caught:
            await _finish(said[-1] if said else None, send)
        return None

    def break_off(self) -> None:
        """Cancel all of them."""
        for scope in tuple(self._scopes):
            scope.cancel()


async def _finish(last: Message | None, send: Send) -> None:
    """Bring an answer whose last message was `last` to its end."""
    if last is None:
        await send({"type": "http.response.start", "status": 503, "headers": []})
    if last is None or last["type"] == "http.response.start" or last.get("more_body"):
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Server(uvicorn.Server):
    """A server that ends when it is told to, and does not kill itself by the same signal once more."""

    def __init__(self, app: ASGIApp, ready: Callable[[], object]) -> None:
        self._requests, self._ready = _Requests(app), ready
        super().__init__(
            uvicorn.Config(
                self._requests,
                access_log=False,
                http="h11",
                limit_concurrency=CONNECTIONS_MAX,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=2 * DRAIN_S_MAX,
                ws="none",
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for each in ENDING:
            loop.add_signal_handler(each, self.end)
        try:
            yield
        finally:
            for each in ENDING:
                loop.remove_signal_handler(each)

    def end(self) -> None:
        """Take no more calls, and break off those under way soon."""
        self.should_exit = True
        asyncio.get_running_loop().call_later(DRAIN_S_MAX, self._requests.break_off)


async def _serve(server: _Server, bound: socket.socket) -> None:
    serving = asyncio.ensure_future(server.serve([bound]))
    try:
        await asyncio.shield(serving)
    finally:
        server.end()
        await serving
