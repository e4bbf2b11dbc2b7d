"""Passes a worker's log on from the hive that has it, as it comes: no byte of it is looked at, and none is kept.

A hive that is not heard any more may have gone without closing its connections, and a log may be silent for hours. So
whoever waits for more looks from time to time whether the hive is still there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from starlette.types import Receive, Scope, Send

from penstock.fleet.calling import Unreachable, unless_gone
from penstock.fleet.errors import FleetError, heard
from penstock.fleet.queen.upstream import Ask, Connection, Upstreams
from penstock.fleet.schema import LogQuery

HEAD_S_MAX = 5.0
"""From the question to the head of the answer."""
LOOK_S = 2.0
FAULT_BYTES_MAX = 65_536
Place = tuple[str, str]
"""Name and address of a hive."""


class LogPassage:
    """An ASGI application. `places`: hives that may have the log, asked one after the other."""

    def __init__(
        self,
        upstreams: Upstreams,
        places: Sequence[Place],
        worker_id: str,
        asked: LogQuery,
        is_heard: Callable[[str], bool],
    ) -> None:
        follow = "true" if asked.follow else "false"
        self._path = f"/v1/workers/{worker_id}/logs?lines={asked.lines}&follow={follow}"
        self._upstreams, self._places, self._is_heard = upstreams, places, is_heard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, unless the client leaves. Raises `FleetError`; once it has begun, where it broke off."""
        await unless_gone(asyncio.ensure_future(self._run(send)), receive)

    async def _run(self, send: Send) -> None:
        name, connection = await self._found()
        try:
            kind = connection.headers.get("content-type", "text/plain").encode("latin-1")
            headers = [(b"content-type", kind), (b"cache-control", b"no-cache")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            while data := await self._next(name, connection):
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            connection.abort()

    async def _found(self) -> tuple[str, Connection]:
        """The first hive that has it. Raises `FleetError`: what most of it was refused with."""
        error = FleetError("UNKNOWN_WORKER", "no hive has a worker with this id, or a log of it")
        for name, url in self._places:
            try:
                return name, await self._answered(name, url)
            except FleetError as told:
                error = error if told.code == "UNKNOWN_WORKER" else told
        raise error

    async def _answered(self, name: str, url: str) -> Connection:
        try:
            async with asyncio.timeout(HEAD_S_MAX):
                connection = await self._upstreams.answered(Ask(url, "GET", self._path))
        except (Unreachable, TimeoutError):
            raise _unreachable(name) from None
        if connection.status == 200:
            return connection
        try:
            async with asyncio.timeout(HEAD_S_MAX):
                raise await _refusal(connection)
        except (Unreachable, TimeoutError):
            raise _unreachable(name) from None
        finally:
            self._upstreams.give_back(url, connection)

    async def _next(self, name: str, connection: Connection) -> bytes:
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    return await connection.read()
            except TimeoutError:
                if not self._is_heard(name):
                    raise _unreachable(name) from None
            except Unreachable:
                raise _unreachable(name) from None


async def _refusal(connection: Connection) -> FleetError:
    raw = bytearray()
    while (chunk := await connection.read()) and len(raw) < FAULT_BYTES_MAX:
        raw += chunk
    return heard(connection.status, bytes(raw), connection.headers.get("retry-after", ""))


def _unreachable(hive: str) -> FleetError:
    return FleetError("HIVE_UNREACHABLE", f"the hive {hive} does not answer", retry_after_s=2)
