"""A client of the queen: typed calls, and the events of a request as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

import msgspec

from penstock.fleet.calling import Caller, Unreachable
from penstock.fleet.schema import (
    Health,
    HiveList,
    InferenceRequest,
    LogQuery,
    ModelList,
    Spawned,
    SpawnRequest,
    WorkerList,
)
from penstock.fleet.sse import TERMINAL, Event, Malformed, Reader, TooLong, read_event
from penstock.fleet.versions import compare

SILENCE_S_MAX = 900.0
"""Longest time without a byte: a queue and a load may come before the first token, each with its own deadline."""


class Broken(Exception):
    """A stream that ended before it said how: what came is not whole."""


class QueenClient:
    """Use as `async with`. All of it raises `FleetError` (what the queen answered) and `Unreachable` (nobody did)."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url
        self._caller = Caller(url, token)

    async def __aenter__(self) -> QueenClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._caller.close()

    async def health(self) -> Health:
        """That it is alive, and speaks our version."""
        told = await self._caller.get("/v1/health", Health)
        compare("client", "queen", told.api_version, told.version)
        return told

    async def workers(self) -> WorkerList:
        """Of all hives."""
        return await self._caller.get("/v1/workers/list", WorkerList)

    async def hives(self) -> HiveList:
        """All that it knows."""
        return await self._caller.get("/v1/hives", HiveList)

    async def models(self) -> ModelList:
        """What can be asked for."""
        return await self._caller.get("/v1/models", ModelList)

    async def spawn(self, asked: SpawnRequest) -> Spawned:
        """One more worker, where it fits."""
        return await self._caller.post("/v1/workers/spawn", asked, Spawned)

    async def end(self, worker_id: str) -> None:
        """Drain a worker, and end it."""
        await self._caller.delete(f"/v1/workers/{_part(worker_id)}")

    async def log(self, worker_id: str, asked: LogQuery) -> AsyncIterator[bytes]:
        """What a worker printed, as it is. Raises `Broken` besides."""
        told = f"lines={asked.lines}&follow={'true' if asked.follow else 'false'}"
        silence_s_max = None if asked.follow else SILENCE_S_MAX
        has_begun = False
        try:
            async with self._caller.listen(f"/v1/workers/{_part(worker_id)}/logs?{told}", silence_s_max) as response:
                has_begun = True
                async for data in response.aiter_raw():
                    yield data
        except Unreachable as error:
            if has_begun:
                raise Broken(f"the log broke off: {error}") from None
            raise

    async def remove_hive(self, name: str) -> None:
        """Forget a hive."""
        await self._caller.delete(f"/v1/hives/{_part(name)}")

    async def cancel(self, request_id: str) -> None:
        """End a request; twice is no error."""
        await self._caller.delete(f"/v1/inference/{_part(request_id)}")

    async def infer(self, asked: InferenceRequest, silence_s_max: float = SILENCE_S_MAX) -> AsyncIterator[Event]:
        """Its events, the terminal one last. Raises `Broken` besides."""
        body, reader = msgspec.json.encode(asked), Reader()
        has_begun = False
        try:
            async with self._caller.stream("/v1/inference", body, asked.request_id, silence_s_max) as response:
                async for data in response.aiter_raw():
                    for event in _events(reader, data):
                        has_begun = True
                        yield event
                        if isinstance(event, TERMINAL):
                            return
        except Unreachable as error:
            if has_begun:
                raise Broken(f"the stream broke off: {error}") from None
            raise
        raise Broken("the stream ended without saying how")


def _events(reader: Reader, data: bytes) -> Iterator[Event]:
    try:
        for said in reader.feed(data):
            if (event := read_event(said)) is not None:
                yield event
    except TooLong:
        raise Broken("an event of the stream has no end") from None
    except Malformed as error:
        raise Broken(f"the stream cannot be read: {error}") from None


def _part(name: str) -> str:
    return quote(name, safe="")
