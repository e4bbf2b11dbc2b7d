"""A server that speaks OpenAI's protocol as it is told to: in the loop of a test, or as a child of a worker.

As a child: `python -m tests.fleet.played_upstream PORT [WORD...]`, where a word is `die` (say why, and exit with 3),
`thief=PORT` (tell its port there, and wait for an answer, before it is bound), or `below` (a process below it that
ignores TERM, whose id is said).
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Play:
    """One answer. `pieces` are chunks of the body; before the piece number `hold_before` it waits until it is released.

    `is_cut`: the connection ends without the end of the body. `status` 0: without any answer.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pieces: Sequence[bytes] = ()
    hold_before: int = -1
    is_cut: bool = False


@dataclass(frozen=True)
class Request:
    """As it came."""

    path: str
    headers: dict[str, str]
    body: bytes


READY = Play(pieces=(b'{"object": "list", "data": []}',))
ABSENT = Play(404, pieces=(b'{"error": {"message": "not here"}}',))


def events(*chunks: dict[str, object] | str) -> tuple[bytes, ...]:
    return tuple(f"data: {c if isinstance(c, str) else json.dumps(c, ensure_ascii=False)}\n\n".encode() for c in chunks)


def text(piece: str, finish: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "text": piece, "finish_reason": finish}]}


def delta(piece: str, finish: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": finish}]}


@dataclass
class Upstream:
    """`plays`: answers of a path, in order; the last is repeated. What has none is absent."""

    plays: dict[str, list[Play]] = field(default_factory=lambda: {"/v1/models": [READY]})
    asked: list[Request] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """A client hung up while it was held."""
    held: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0
    all_left: asyncio.Event = field(default_factory=asyncio.Event)
    """Nobody is connected who was."""

    def requests(self, path: str) -> list[Request]:
        return [request for request in self.asked if request.path == path]

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.all_left.clear()
        try:
            while (request := await _read(reader)) is not None:
                self.asked.append(request)
                plays = self.plays.get(request.path, [ABSENT])
                if not await self._play(plays.pop(0) if len(plays) > 1 else plays[0], reader, writer):
                    break
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            self.connections -= 1
            if not self.connections:
                self.all_left.set()

    async def until_nobody_is_connected(self) -> None:
        if self.connections:
            await asyncio.wait_for(self.all_left.wait(), 20)

    async def _play(self, play: Play, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if not play.status:
            return False
        headers = {"content-type": "application/json", "transfer-encoding": "chunked"} | play.headers
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {play.status} Said\r\n{head}\r\n".encode())
        for number, piece in enumerate(play.pieces):
            if number == play.hold_before and not await self._hold(reader, writer):
                return False
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        if play.is_cut:
            return False
        writer.write(b"0\r\n\r\n")
        return True

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """False: the client left meanwhile."""
        await writer.drain()
        self.held.set()
        leaving = asyncio.ensure_future(reader.read(1))
        going = asyncio.ensure_future(self.released.wait())
        await asyncio.wait((leaving, going), return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():
            self.gone.set()
        is_there = not leaving.done()
        for task in (leaving, going):
            task.cancel()
        await asyncio.gather(leaving, going, return_exceptions=True)
        return is_there


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(first.split(" ")[1], headers, body)


async def _serve(port: int, words: Sequence[str]) -> None:
    for word in words:
        if word.startswith("thief="):
            await _ask_thief(int(word.removeprefix("thief=")), port)
    upstream = Upstream()
    answer = [Play(pieces=events(text("one"), text(" two", "stop"), "[DONE]"))]
    upstream.plays |= {"/v1/completions": answer, "/v1/chat/completions": [Play(pieces=(b'{"choices": []}',))]}
    server = await asyncio.start_server(upstream.connected, "127.0.0.1", port)
    print(f"serves on {port}", flush=True)
    async with server:
        await server.serve_forever()


async def _ask_thief(thief: int, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", thief)
    writer.write(f"{port}\n".encode())
    await reader.readline()
    writer.close()


def main(port: int, words: Sequence[str]) -> None:
    """As a child."""
    print("loads", flush=True)
    if "below" in words:
        stubborn = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); sys.stdin.read()"
        below = subprocess.Popen([sys.executable, "-c", stubborn], stdin=subprocess.PIPE, start_new_session=True)
        print(f"below is {below.pid}", flush=True)
    if "die" in words:
        print("no such weights", file=sys.stderr, flush=True)
        sys.exit(3)
    asyncio.run(_serve(port, words))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
