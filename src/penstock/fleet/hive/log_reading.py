"""Reads a worker's log for somebody else: its last lines, and what is written from then on, over its rotation too.

Whoever writes is on the same loop, and a file is only rotated by a write. So between two awaits nothing moves, and a
follower need not look again and again: it is woken. One that is slow keeps its file open, whatever that is called by
then, and goes on with the one that was begun after it. What was deleted meanwhile it has missed.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from starlette.types import Receive, Scope, Send

from penstock.core.fleet.names import is_worker
from penstock.fleet.errors import FleetError
from penstock.fleet.hive.roster import Roster, Worker
from penstock.fleet.hive.worker_log import WorkerLog
from penstock.fleet.leaving import unless_gone
from penstock.fleet.schema import LogQuery

PIECE_BYTES = 65_536
TAIL_BYTES_MAX = 4_194_304
"""However many lines are asked for, and however long they are."""
FOLLOW_S_MAX = 86_400.0
TEXT = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-cache")]


class Reading:
    """Bytes of a log, from its last `lines` on. Use as `with`."""

    def __init__(self, log: WorkerLog, lines: int) -> None:
        self._log = log
        self._files: deque[int] = deque()
        """Open ones, the oldest first; where one reads in it is kept by the system."""
        self.size = self._open_last(lines)
        """From there to the end, when it was opened."""

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        while self._files:
            os.close(self._files.popleft())

    def read(self) -> bytes:
        """More of it; nothing where there is none now."""
        while True:
            if len(self._files) < 2:
                self._files += reversed(list(self._newer()))
            if not self._files:
                return b""
            if data := os.read(self._files[0], PIECE_BYTES):
                return data
            if len(self._files) < 2:
                return b""
            os.close(self._files.popleft())

    def _open_last(self, lines: int) -> int:
        size, wanted = 0, -1
        for part in self._log.parts():
            if (fd := _opened(part)) is None:
                continue
            end = os.fstat(fd).st_size
            wanted = lines + _ends_with_line(fd, end) if wanted < 0 else wanted
            begin, wanted = _before(fd, end, wanted if lines else 0, TAIL_BYTES_MAX - size)
            self._files.appendleft(fd)
            os.lseek(fd, begin, os.SEEK_SET)
            size += end - begin
            if begin or not wanted or size >= TAIL_BYTES_MAX:
                break
        return size

    def _newer(self) -> Iterator[int]:
        """The files that were begun after the last one that is open, the newest first."""
        last = os.fstat(self._files[-1]) if self._files else None
        for part in self._log.parts():
            if (fd := _opened(part)) is None:
                continue
            if last is not None and os.path.samestat(os.fstat(fd), last):
                os.close(fd)
                return
            yield fd


class LogAnswer:
    """An ASGI application: the log as it is. With `more`, which waits for news, and says whether any may still come,
    also what is written from now on.
    """

    def __init__(self, log: WorkerLog, lines: int, more: Callable[[], Awaitable[bool]] | None = None) -> None:
        self._log, self._lines, self._more = log, lines, more

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, unless the client leaves. Raises `FleetError` where it is torn."""
        await unless_gone(asyncio.ensure_future(self._write(send)), receive)

    async def _write(self, send: Send) -> None:
        with Reading(self._log, self._lines) as reading:
            await send({"type": "http.response.start", "status": 200, "headers": TEXT})
            await self._pass_on(reading, send, None if self._more else reading.size)
            if self._more is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(FOLLOW_S_MAX):
                        while await self._more():
                            await self._pass_on(reading, send, None)
                await self._pass_on(reading, send, None)
        await send({"type": "http.response.body", "body": b""})

    async def _pass_on(self, reading: Reading, send: Send, left: int | None) -> None:
        """What is there; at most `left` bytes of it."""
        while left != 0 and (data := reading.read()[:left]):
            left = None if left is None else left - len(data)
            await send({"type": "http.response.body", "body": data, "more_body": True})


class Logs:
    """Those of one hive's workers. `log_of`: where the words of a worker lie that is not known any more."""

    def __init__(self, roster: Roster, log_of: Callable[[str], WorkerLog]) -> None:
        self._roster, self._log_of = roster, log_of
        self._is_cut = asyncio.Event()

    def answer(self, worker_id: str, asked: LogQuery) -> LogAnswer:
        """What a client gets. Raises `FleetError`. Only what is an id becomes the name of a file."""
        worker = self._roster.find(worker_id) if is_worker(worker_id) else None
        if worker is not None and not worker.is_over:
            return self._of_living(worker, asked)
        log = self._log_of(worker_id) if is_worker(worker_id) else None
        if log is not None and any(part.is_file() for part in log.parts()):
            return LogAnswer(log, asked.lines)
        if worker is not None:
            raise FleetError("GONE", "the worker has ended, and its log is not there any more")
        raise FleetError("UNKNOWN_WORKER", "this hive has no such worker, and no log of it")

    def cut(self) -> None:
        """Let no follower hold up what comes now."""
        self._is_cut.set()

    def _of_living(self, worker: Worker, asked: LogQuery) -> LogAnswer:
        if not worker.is_ours:
            raise FleetError("NOT_OURS", "the worker was started by hand: what it says is there")
        return LogAnswer(worker.log, asked.lines, partial(self._more, worker) if asked.follow else None)

    async def _more(self, worker: Worker) -> bool:
        """Wait for news; False where none can come. Raises `FleetError` where nobody may wait any more."""
        if worker.is_over:
            return False
        ended = [asyncio.shield(worker.child.ended)] if worker.child is not None else []
        news = (self._is_cut.wait(), worker.log.wrote.wait(), worker.turn.wait(), *ended)
        waiting = [asyncio.ensure_future(each) for each in news]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
        if self._is_cut.is_set():
            raise FleetError("DRAINING", "the hive becomes another one: follow it again", retry_after_s=1)
        return True


def _opened(part: Path) -> int | None:
    with suppress(OSError):
        return os.open(part, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    return None


def _ends_with_line(fd: int, end: int) -> bool:
    return end > 0 and os.pread(fd, 1, end - 1) == b"\n"


def _before(fd: int, end: int, newlines: int, budget: int) -> tuple[int, int]:
    """The place right after the last but `newlines` newline before `end`, and how many were not found before the
    beginning, or before the budget was used up.
    """
    while end and newlines:
        begin = max(0, end - PIECE_BYTES, end - budget)
        block = os.pread(fd, end - begin, begin)
        if (found := block.count(b"\n")) >= newlines:
            at = len(block)
            for _ in range(newlines):
                at = block.rfind(b"\n", 0, at)
            return begin + at + 1, 0
        newlines, end, budget = newlines - found, begin, budget - len(block)
        if not budget:
            break
    return end, newlines
