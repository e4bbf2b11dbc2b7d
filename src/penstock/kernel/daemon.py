"""One gate per working tree, behind a Unix socket: every door asks the same session, so all verdicts agree.

One JSON object per line, one line back; the socket is 0600 and the peer's uid is checked. It ends when it is told to,
by a signal, or when nobody asked for a while: a turn that is open then is closed first.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec

from penstock.kernel.closing import end_turn
from penstock.kernel.door import Door, Reply, knock_of
from penstock.kernel.tools.dispatcher import Dispatcher, plan_lines
from penstock.private_sockets import is_own_user

LINE_BYTES_MAX = 64_000_000
IDLE_S_MAX = 1_800
HOOK_OPS = frozenset({"before", "after", "batch", "stop", "session", "config"})

_decoder = msgspec.json.Decoder(dict[str, Any])


class Daemon:
    """Serves one dispatcher until it is told to stop."""

    def __init__(self, dispatcher: Dispatcher, idle_s: float = IDLE_S_MAX) -> None:
        self._dispatcher, self._door = dispatcher, Door(dispatcher)
        self._idle_s = idle_s
        self._asked, self._answering = time.monotonic(), 0
        self._stopping = asyncio.Event()

    async def serve(self, listener: socket.socket) -> None:
        """Answer on `listener` until `stop`, a signal, or idleness; then close the turn and the session."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        async with self.answering(listener):
            while not self._stopping.is_set() and not self._is_idle:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), min(self._idle_s, 5))
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        async with self._dispatcher.lock:
            if self._dispatcher.session.ledger.is_open:
                await end_turn(self._dispatcher.session, self._dispatcher.desk)
            await self._dispatcher.session.close()

    @contextlib.asynccontextmanager
    async def answering(self, listener: socket.socket) -> AsyncIterator[None]:
        """Answer on `listener` for as long as the context is open."""
        server = await asyncio.start_unix_server(self._attend, sock=listener, limit=LINE_BYTES_MAX)
        try:
            yield
        finally:
            server.close()

    def stop(self) -> None:
        """End soon: what is being answered is answered."""
        self._stopping.set()

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not is_own_user(writer.get_extra_info("socket")):
                return
            line = await reader.readline()
            while line:
                line = await self._attend_one(line, reader, writer)
        except (ConnectionError, ValueError):  # it hung up, or sent a line without an end
            pass
        finally:
            writer.close()

    async def _attend_one(self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """Answer one line and give the next. Who hangs up meanwhile wants no answer: what was called for it ends."""
        answer = asyncio.create_task(self.answer(line))
        following = asyncio.create_task(reader.readline())
        try:
            with self._busy():
                await asyncio.wait({answer, following}, return_when=asyncio.FIRST_COMPLETED)
                if following.done() and not following.result():
                    return b""
                writer.write(msgspec.json.encode(await answer) + b"\n")
                await writer.drain()
            return await following
        finally:
            for task in (answer, following):
                task.cancel()
            await asyncio.gather(answer, following, return_exceptions=True)

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        """While something is answered the gate is not idle, however long it takes."""
        self._answering += 1
        try:
            yield
        finally:
            self._answering -= 1
            self._asked = time.monotonic()

    @property
    def _is_idle(self) -> bool:
        return not self._answering and time.monotonic() - self._asked >= self._idle_s

    async def answer(self, line: bytes) -> object:
        """The answer to one line, whatever is in it."""
        try:
            asked = _decoder.decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError) as wrong:
            return Reply(allow=False, reason=f"not a question: {wrong}", code="bad_request")
        if asked.get("v") != 1:
            return Reply(allow=False, reason="this gate speaks version 1", code="version")
        op = asked.get("op")
        if op in HOOK_OPS:
            try:
                return await self._door.answer(knock_of(asked))
            except msgspec.ValidationError as wrong:
                return Reply(allow=False, reason=f"not a question: {wrong}", code="bad_request")
        if op == "call":
            answer = await self._dispatcher.call(str(asked.get("tool")), asked.get("arguments", {}))
            return {"v": 1, "text": answer.text, "is_error": answer.is_error, "data": dict(answer.data)}
        if op == "status":
            return {"v": 1, "allow": True, **self._status()}
        if op == "shutdown":
            self.stop()
            return Reply(allow=True, reason="the gate ends")
        return Reply(allow=False, reason=f"no such question: {op!r}", code="bad_request")

    def _status(self) -> dict[str, Any]:
        session = self._dispatcher.session
        seal = session.seal()
        return {
            "session": seal.session,
            "mode": session.policy.mode,
            "turn": session.ledger.turn.number,
            "plan": list(plan_lines(session)),
            "red": [list(test.wire) for test in session.ledger.red],
            "counts": seal.counts,
            "violations": seal.violations,
            "refactor": session.ledger.refactor is not None,
        }
