"""What a worker makes of an engine that fails it: a fake one, in this process, behind a real socket."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from penstock.fleet.errors import FleetError
from penstock.fleet.logs import Log
from penstock.fleet.orders import Model, WorkerOrder
from penstock.fleet.schema import InferenceRequest
from penstock.fleet.serving import url_of
from penstock.fleet.worker.engine import Beat, LoadFailed, Relay, Stop, Tell
from penstock.fleet.worker.worker import Worker
from tests.fleet.worker_world import WAIT_S_MAX, Heard, HiveEar, chat_body, heard, hive_ear, tokens_of

EVENTS = {"content-type": "text/event-stream"}


@dataclass
class Fake:
    """Gives what it is told to. `dead`: set to end it; `works`: set when a request has come to it."""

    chunks: tuple[bytes, ...] = ()
    headers: Mapping[str, str] = field(default_factory=lambda: EVENTS)
    fails: FleetError | None = None
    load_fails: Exception | None = None
    waits: bool = False
    dead: asyncio.Event = field(default_factory=asyncio.Event)
    works: asyncio.Event = field(default_factory=asyncio.Event)
    beats: asyncio.Event = field(default_factory=asyncio.Event)
    closed: int = 0
    stopped: int = 0

    async def load(self, tell: Tell) -> None:
        if self.load_fails is not None:
            raise self.load_fails

    async def infer(self, asked: InferenceRequest) -> AsyncGenerator[str | Stop, None]:
        try:
            yield ""  # it works
            yield "a"
            self.works.set()
            await asyncio.get_running_loop().create_future()
        finally:
            self.stopped += 1

    @asynccontextmanager
    async def chat(self, raw: bytes, headers: Mapping[str, str], beat: Beat) -> AsyncIterator[Relay]:
        try:
            yield Relay(200, self._said(beat), self.headers)
        finally:
            self.stopped += 1

    async def _said(self, beat: Beat) -> AsyncIterator[bytes]:
        self.works.set()
        if self.waits:
            await self.beats.wait()
            beat()
            await asyncio.get_running_loop().create_future()
        for chunk in self.chunks:
            yield chunk
        if self.fails is not None:
            raise self.fails

    async def died(self) -> str:
        await self.dead.wait()
        return "its child exited with 9"

    async def close(self) -> None:
        self.closed += 1


@dataclass
class Serving:
    """A worker round the fake."""

    client: httpx2.AsyncClient
    ear: HiveEar
    running: asyncio.Task[int]
    log: io.StringIO

    async def chat(self) -> Heard:
        return await heard(self.client, "/v1/chat/completions", chat_body(stream=True))

    async def infer(self) -> Heard:
        return await heard(self.client, "/v1/inference", {"prompt": "go"})

    async def health(self) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.client.get("/v1/health")).json()
        return answer

    async def ended(self) -> int:
        return await asyncio.wait_for(asyncio.shield(self.running), WAIT_S_MAX)


@asynccontextmanager
async def serving(engine: Fake, state: str = "idle") -> AsyncIterator[Serving]:
    """Left when the worker has ended, by a cancel where it has not."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url, log = url_of(listening), io.StringIO()
        async with hive_ear() as ear, httpx2.AsyncClient(base_url=url, trust_env=False, timeout=WAIT_S_MAX) as client:
            model = Model(name="tiny", backend="llama", slots=2)
            order = WorkerOrder(worker_id="w-1", model=model, listen_fd=-1, hive_url=ear.url, nonce="n")
            worker = Worker(order, url, Log("worker w-1", log), engine)
            running = asyncio.ensure_future(worker.run(listening))
            try:
                if state:
                    await ear.until(state)
                yield Serving(client, ear, running, log)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
    assert engine.closed >= 1


def test_an_engine_that_dies_ends_every_request_and_the_worker() -> None:
    async def story() -> None:
        engine = Fake()
        async with serving(engine) as worker:
            asking = asyncio.ensure_future(worker.infer())
            await engine.works.wait()
            engine.dead.set()
            told = await asking
            assert (tokens_of(told.events), told.failure, engine.stopped) == (["a"], "WORKER_FAILED", 1)
            failed = await worker.ear.until("failed")
            assert failed.message == "its child exited with 9"
            assert await worker.ended() == 1

    asyncio.run(story())


def test_a_load_that_fails_is_told_with_the_last_lines_of_the_engine() -> None:
    async def story() -> None:
        engine = Fake(load_fails=LoadFailed("no such tensor", ("ggml: 1", "ggml: 2")))
        async with serving(engine, "failed") as worker:
            assert [each.message for each in worker.ear.heard] == ["no such tensor\nggml: 1\nggml: 2"]
            assert await worker.ended() == 1

    asyncio.run(story())


def test_what_an_engine_was_not_to_do_ends_the_worker() -> None:
    async def story() -> None:
        async with serving(Fake(load_fails=ZeroDivisionError("ours")), "") as worker:
            assert await worker.ended() == 1
            assert "ZeroDivisionError" in worker.log.getvalue()

    asyncio.run(story())


def test_an_error_between_two_events_is_an_event() -> None:
    async def story() -> None:
        whole = b'data: {"a":1}\r\n\r\n'
        engine = Fake((whole,), fails=FleetError("WORKER_HUNG", "its engine is silent"))
        async with serving(engine) as worker:
            told = await worker.chat()
            assert (told.status, told.is_torn) == (200, False)
            error, done = told.body.removeprefix(whole).split(b"\n\n")[:2]
            assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "WORKER_HUNG"
            assert done == b"data: [DONE]"

    asyncio.run(story())


def test_an_error_within_an_event_tears_the_answer() -> None:
    async def story() -> None:
        engine = Fake((b'data: {"a"',), fails=FleetError("WORKER_HUNG", "its engine is silent"))
        async with serving(engine) as worker:
            told = await worker.chat()
            assert (told.status, told.is_torn, told.body) == (200, True, b'data: {"a"')

    asyncio.run(story())


def test_an_error_before_anything_came_is_a_status() -> None:
    async def story() -> None:
        async with serving(Fake(fails=FleetError("BAD_ENGINE_REPLY", "no reply"))) as worker:
            told = await worker.chat()
            assert (told.status, told.code) == (502, "BAD_ENGINE_REPLY")
            assert (await worker.health())["busy"] == 0

    asyncio.run(story())


def test_bytes_are_passed_on_wherever_they_were_cut() -> None:
    async def story() -> None:
        text = 'data: {"choices":[{"delta":{"content":"größte 🦊"}}]}\n\ndata: [DONE]\n\n'.encode()
        engine = Fake(tuple(text[at : at + 1] for at in range(len(text))))
        async with serving(engine) as worker:
            assert (await worker.chat()).body == text
            assert (await worker.health())["tokens_total"] == len(text)

    asyncio.run(story())


def test_an_answer_that_comes_whole_is_no_hang_while_its_engine_says_so() -> None:
    async def story() -> None:
        engine = Fake(waits=True)
        async with serving(engine) as worker:
            asking = asyncio.ensure_future(worker.chat())
            await engine.works.wait()
            await _until(worker, lambda health: health["stalled_ms"] >= 50)
            engine.beats.set()
            await _until(worker, lambda health: health["stalled_ms"] < 50)
            asking.cancel()
            await _until(worker, lambda health: health["busy"] == 0)
            assert engine.stopped == 1

    asyncio.run(story())


async def _until(worker: Serving, is_so: Callable[[dict[str, Any]], bool]) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while not is_so(await worker.health()):
            pass
