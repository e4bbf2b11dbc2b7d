"""HTTP/1.1 to workers, as lean as passing tokens on needs it: a protocol of asyncio, httptools, kept connections.

`calling.Caller` (httpx2) is for calls that are few. Raw streams of it were measured first: for each chunk it took four
times the processor time of this, as it awaits through several layers, and at many streams that is the whole machine.

A connection serves one exchange at a time and goes back to the pool when the answer was whole. One that was kept and
breaks before the first byte of an answer had been closed by the other side meanwhile: then a new one is tried, once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast
from urllib.parse import urlsplit

import httptools

from penstock import __version__
from penstock.fleet.calling import CONNECT_S_MAX, Unreachable

HELD_BYTES_MAX = 262_144
"""Of an answer that nobody reads; then the other side has to wait."""
KEPT_MAX = 256
"""Connections to one address that wait for the next exchange."""
HEADER_BYTES_MAX = 65_536


@dataclass(frozen=True)
class Address:
    """Where a worker is. `base`: what stands before every path."""

    host: str
    port: int
    is_secret: bool
    base: str

    @classmethod
    @lru_cache(maxsize=1_024)
    def of(cls, url: str) -> Address:
        """Of an http or https URL."""
        parts = urlsplit(url)
        is_secret = parts.scheme == "https"
        return cls(parts.hostname or "", parts.port or (443 if is_secret else 80), is_secret, parts.path.rstrip("/"))


@dataclass(frozen=True)
class Ask:
    """One request to a worker. `headers`: without line breaks, names and values."""

    url: str
    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Connection(asyncio.Protocol):
    """One connection, and the answer that comes on it."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_whole = False
        """The answer is here, to its end."""
        self.is_open = True
        self.heard_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._header_bytes = 0
        self._is_begun = False
        self._is_paused = False
        self._has_end = False
        self._stays = False
        self._waiter: asyncio.Future[None] | None = None
        self._why = "hung up"

    # --- for who asks -----------------------------------------------------------------------------------------------

    def ask(self, request: bytes) -> None:
        """Send a request; the answer to the one before has been read."""
        self.status, self.headers, self.is_whole = 0, {}, False
        self._parser = httptools.HttpResponseParser(self)
        self._is_begun = self._has_end = False
        self._header_bytes, self.heard_s = 0, self._loop.time()
        self._transport.write(request)

    async def head(self) -> None:
        """Wait for status and headers. Raises `Unreachable`."""
        while not self._is_begun:
            await self._wait()

    async def read(self) -> bytes:
        """What has come since the last time, at least a byte; nothing at the end. Raises `Unreachable`."""
        while not self._chunks:
            if self.is_whole:
                return b""
            await self._wait()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._held = 0
        if self._is_paused and self.is_open:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    def silent_s(self) -> float:
        """Since the last byte came, while we would have taken one."""
        return 0.0 if self._is_paused or self._chunks else self._loop.time() - self.heard_s

    def abort(self, why: str = "broken off") -> None:
        """Close at once; who reads is told. Idempotent."""
        self._lose(why)
        self._transport.abort()

    @property
    def may_be_kept(self) -> bool:
        """For the next exchange."""
        return self.is_open and self.is_whole and not self._chunks and self._stays

    async def _wait(self) -> None:
        if not self.is_open:
            raise Unreachable(self._why)
        assert self._waiter is None
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # --- for asyncio ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """As asyncio."""
        self.heard_s = self._loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.abort(f"answered what is no HTTP: {error}")
            return
        if self._held > HELD_BYTES_MAX and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """As asyncio."""
        if self._is_begun and not self._has_end:
            self.is_whole = True  # it ends with the connection, as neither length nor chunks were announced
        self._lose("hung up" if error is None else f"hung up: {error}")

    def _lose(self, why: str) -> None:
        if self.is_open:
            self.is_open, self._why = False, why
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- for httptools ----------------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """As httptools."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEADER_BYTES_MAX:
            raise httptools.HttpParserError("too many headers")
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """As httptools."""
        self.status = self._parser.get_status_code()
        if self.status >= 200:
            self._is_begun = True
            self._has_end = "content-length" in self.headers or "transfer-encoding" in self.headers
            self._stays = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """As httptools."""
        self._chunks.append(body)
        self._held += len(body)

    def on_message_complete(self) -> None:
        """As httptools."""
        if self._is_begun:
            self.is_whole = self._has_end = True


class Upstreams:
    """Connections to all workers. `token`: sent with every request, where there is one."""

    def __init__(self, token: str = "") -> None:
        self._kept: dict[Address, list[Connection]] = {}
        self._lines = f"user-agent: penstock/{__version__}\r\naccept-encoding: identity\r\n"
        if token:
            self._lines += f"authorization: Bearer {token}\r\n"
        self._secret: ssl.SSLContext | None = None

    async def answered(self, ask: Ask, using: Callable[[Connection], None] = lambda _: None) -> Connection:
        """Send a request and await its head; once more where a kept connection was dead. Raises `Unreachable`.

        `using` is told of every connection before it is awaited, so that somebody else may abort it.
        """
        address = Address.of(ask.url)
        request = self._written(address, ask)
        if (kept := self._take(address)) is not None:
            using(kept)
            kept.ask(request)
            try:
                await kept.head()
                return kept
            except Unreachable:
                pass  # closed by the other side since it was last used
            except asyncio.CancelledError:
                kept.abort()
                raise
        return await self._anew(address, request, using)

    async def _anew(self, address: Address, request: bytes, using: Callable[[Connection], None]) -> Connection:
        made = await self._connect(address)
        using(made)
        made.ask(request)
        try:
            await made.head()
        except (Unreachable, asyncio.CancelledError):
            made.abort()
            raise
        return made

    def give_back(self, url: str, connection: Connection) -> None:
        """Keep it if its answer was whole, else close it. Idempotent."""
        kept = self._kept.setdefault(Address.of(url), [])
        if connection in kept:
            return
        if connection.may_be_kept and len(kept) < KEPT_MAX:
            kept.append(connection)
        else:
            connection.abort()

    def forget(self, url: str) -> None:
        """The worker is gone: close what was kept."""
        for connection in self._kept.pop(Address.of(url), []):
            connection.abort()

    def close(self) -> None:
        """Close all that were kept; idempotent."""
        for url in list(self._kept):
            for connection in self._kept.pop(url):
                connection.abort()

    def _take(self, address: Address) -> Connection | None:
        kept = self._kept.get(address, [])
        while kept:
            if (connection := kept.pop()).is_open:
                return connection
        return None

    async def _connect(self, address: Address) -> Connection:
        if address.is_secret and self._secret is None:
            self._secret = ssl.create_default_context()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                _, made = await loop.create_connection(
                    Connection, address.host, address.port, ssl=self._secret if address.is_secret else None
                )
        except TimeoutError:
            raise Unreachable(f"{address.host}:{address.port} does not answer") from None
        except (OSError, UnicodeError) as error:  # what is no name is only noticed here
            told = getattr(error, "strerror", None) or error
            raise Unreachable(f"{address.host}:{address.port}: {told}") from None
        return made

    def _written(self, address: Address, ask: Ask) -> bytes:
        host = f"[{address.host}]" if ":" in address.host else address.host
        told = "".join(f"{name}: {value}\r\n" for name, value in ask.headers.items())
        head = f"{ask.method} {address.base}{ask.path} HTTP/1.1\r\nhost: {host}:{address.port}\r\n{self._lines}{told}"
        return f"{head}content-length: {len(ask.body)}\r\n\r\n".encode("latin-1") + ask.body
