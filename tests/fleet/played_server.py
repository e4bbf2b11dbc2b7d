"""A server in the process of the test, which decides byte by byte what it answers, and when it breaks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.fleet.until import until


@dataclass
class Heard:
    """A request that came, and what is answered to it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    writer: asyncio.StreamWriter
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """The other side closed the connection."""

    @property
    def id(self) -> str:
        return self.headers.get("x-request-id", "")

    async def begin(self, status: int = 200, kind: str = "text/event-stream") -> None:
        self.writer.write(f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        await self.writer.drain()

    async def put(self, *pieces: bytes) -> None:
        """Each as a chunk of its own."""
        for piece in pieces:
            self.writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await self.writer.drain()

    async def end(self) -> None:
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        told = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{told}content-length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        await self.writer.drain()

    async def fail(self, status: int, code: str, details: dict[str, Any] | None = None, **headers: str) -> None:
        fault = {"code": code, "message": code, "details": details or {}}
        await self.answer(status, msgspec.json.encode({"error": fault}), **headers)

    def crash(self) -> None:
        self.writer.transport.abort()


Behaviour = Callable[[Heard], Awaitable[None]]


class Listening:
    """A server; `behave` answers each request."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.heard: list[Heard] = []
        self._accepted: dict[asyncio.Task[None], socket.socket] = {}
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self, port: int = 0) -> None:
        self._listening = socket.create_server(("127.0.0.1", port))
        self._listening.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listening, self._accept)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    async def close(self) -> None:
        """As a process that is killed: no connection is left, and none is accepted. Idempotent."""
        if self._listening.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
        for writer in self._writers:
            writer.transport.abort()
        accepted = dict(self._accepted)
        for task in accepted:
            task.cancel()
        await asyncio.gather(*accepted, return_exceptions=True)
        for connection in accepted.values():
            connection.close()  # of a task that had not begun

    def _accept(self) -> None:
        """Known from here on: a server of asyncio loses who came just before it closes."""
        with suppress(BlockingIOError, ConnectionError):
            connection, _ = self._listening.accept()
            task = asyncio.ensure_future(self._serve(connection))
            self._accepted[task] = connection
            task.add_done_callback(self._accepted.pop)

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        self._writers.add(writer)
        try:
            while (heard := await _read(reader, writer)) is not None:
                self.heard.append(heard)
                await self._answer(heard, reader)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, heard: Heard, reader: asyncio.StreamReader) -> None:
        answering = asyncio.ensure_future(self.behave(heard))
        leaving = asyncio.ensure_future(_until_closed(reader))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if leaving.done() and leaving.result():
                heard.left.set()
                raise ConnectionError
            await answering
        finally:
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    async def next(self, path: str = "/v1/inference", method: str = "POST", after: int = 0) -> Heard:
        """The request number `after` of these."""
        found = await until(lambda: [h for h in self.heard if h.path.startswith(path) and h.method == method][after:])
        return found[0]


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Heard | None:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode().rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Heard(method, path, headers, body, writer)


async def _until_closed(reader: asyncio.StreamReader) -> bool:
    """True at the end of the stream; False where the next request has begun to come."""
    while not reader.at_eof():
        if reader._buffer:  # type: ignore[attr-defined]
            return False
        await reader._wait_for_data("test")  # type: ignore[attr-defined]
    return True
