"""A model that follows a script, as an HTTP server that speaks chat completions: for tests and demonstrations.

    python -m penstock.kernel.model_scripted SCRIPT

prints its base URL on the first line and serves until it is ended. It listens on the loopback interface alone, on a
port that was free. A reply that is held waits for `POST /release/NAME`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from penstock.model_script import (
    Conversation,
    ScriptedReply,
    completion_of,
    events_of,
    load_model_script,
)
from penstock.ports import BadInput

HEAD_BYTES_MAX = 65_536
BODY_BYTES_MAX = 50_000_000
OVER = ScriptedReply(status=400, error={"message": "the script has no reply left", "code": "script_over"})


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def told(self) -> dict[str, Any]:
        """Its JSON."""
        told: dict[str, Any] = msgspec.json.decode(self.body)
        return told


@dataclass
class _Telling:
    """How far a conversation is."""

    conversation: Conversation
    told: int = 0

    def next(self) -> ScriptedReply:
        self.told += 1
        return self.conversation.reply(self.told - 1) or OVER


@dataclass
class ScriptedModel:
    """Use as `async with`. `asked`: the requests so far; `hung_up`: how many left before their answer was out."""

    script: Sequence[Conversation]
    asked: list[Asked] = field(default_factory=list)
    hung_up: int = 0

    async def __aenter__(self) -> ScriptedModel:
        self._tellings = [_Telling(conversation) for conversation in self.script]
        self._held: dict[str, asyncio.Event] = {}
        self._changed = asyncio.Condition()
        self._open: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=HEAD_BYTES_MAX)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def base_url(self) -> str:
        """What `base_url` of an agent is to be."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}/v1"

    def release(self, name: str) -> None:
        """Let replies that are held by `name` go, those to come too."""
        self._held.setdefault(name, asyncio.Event()).set()

    async def until(self, *, asked: int = 0, hung_up: int = 0) -> None:
        """Wait until so many requests were asked, and so many of them given up."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.asked) >= asked and self.hung_up >= hung_up)

    async def serve_forever(self) -> None:
        """Serve until cancelled."""
        await self._server.serve_forever()

    # --- one connection, one request --------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
                await self._answer(await _read(reader), reader, writer)
        except asyncio.CancelledError:
            pass  # we are closing
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if asked.path.startswith("/release/"):
            self.release(asked.path.removeprefix("/release/"))
            await _send(writer, 200, b"{}")
            return
        if not asked.path.endswith("/chat/completions"):
            await _send(writer, 404, _error({"message": "POST /v1/chat/completions is all there is"}))
            return
        reply = self._reply(asked)
        await self._note(asked)
        if reply.hold and not await self._is_released(reply.hold, reader):
            await self._note()
            return
        await self._tell(reply, asked, writer)

    def _reply(self, asked: Asked) -> ScriptedReply:
        text = asked.body.decode(errors="replace")
        telling = next((t for t in self._tellings if t.conversation.match in text), None)
        return telling.next() if telling else OVER

    async def _note(self, asked: Asked | None = None) -> None:
        async with self._changed:
            if asked is None:
                self.hung_up += 1
            else:
                self.asked.append(asked)
            self._changed.notify_all()

    async def _is_released(self, name: str, reader: asyncio.StreamReader) -> bool:
        """False: the other side hung up before."""
        released = asyncio.create_task(self._held.setdefault(name, asyncio.Event()).wait())
        gone = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait((released, gone), return_when=asyncio.FIRST_COMPLETED)
            return released.done()
        finally:
            released.cancel()
            gone.cancel()
            await asyncio.gather(released, gone, return_exceptions=True)

    async def _tell(self, reply: ScriptedReply, asked: Asked, writer: asyncio.StreamWriter) -> None:
        if reply.status != 200 or reply.error:
            await _send(writer, reply.status, _error(reply.error), reply.headers)
        elif reply.malformed is not None:
            await _send(writer, 200, reply.malformed.encode(), reply.headers)
        elif asked.told.get("stream"):
            await self._stream(reply, asked, writer)
        else:
            body = completion_of(reply, len(self.asked), str(asked.told.get("model")))
            await _send(writer, 200, body, reply.headers, sent=len(body) if reply.cut is None else len(body) // 2)

    async def _stream(self, reply: ScriptedReply, asked: Asked, writer: asyncio.StreamWriter) -> None:
        options = asked.told.get("stream_options") or {}
        events = events_of(
            reply, len(self.asked), str(asked.told.get("model")), with_usage=bool(options.get("include_usage"))
        )
        writer.write(_head(200, {"content-type": "text/event-stream", **reply.headers}))
        for event in events if reply.cut is None else events[: reply.cut]:
            writer.write(event)
            await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Asked:
    """One request. Raises `ValueError` where it is none."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    _, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:]) if name}
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= BODY_BYTES_MAX:
        raise ValueError(f"a body of {length} bytes")
    return Asked(path, headers, await reader.readexactly(length))


async def _send(
    writer: asyncio.StreamWriter, status: int, body: bytes, headers: Mapping[str, str] | None = None, sent: int = -1
) -> None:
    told = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    writer.write(_head(status, told) + (body if sent < 0 else body[:sent]))
    await writer.drain()


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join([*lines, "connection: close"]) + "\r\n\r\n").encode("latin-1")


def _error(error: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode({"error": dict(error)})


async def _serve(script: Sequence[Conversation]) -> None:
    async with ScriptedModel(script) as model:
        sys.stdout.write(model.base_url + "\n")
        sys.stdout.flush()
        await model.serve_forever()


def main(arguments: Sequence[str]) -> int:
    """Serve the script that `arguments` names."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m penstock.kernel.model_scripted SCRIPT\n")
        return 2
    try:
        script = load_model_script(Path(arguments[0]), arguments[0])
    except BadInput as wrong:
        sys.stderr.write(f"{wrong}\n")
        return 2
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(script))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
