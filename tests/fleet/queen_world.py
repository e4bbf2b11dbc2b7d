"""A real queen, real sockets, and hives and workers that do what a test says: byte by byte, when it says so.

The hives and workers here are servers in the process of the test, so that a test decides what they answer and when
they break; those that are real processes have their own tests.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from penstock.core.fleet.life import WorkerState
from penstock.core.fleet.parties import Device, Offer, PortsLeft
from penstock.core.fleet.policy import QueenPolicy
from penstock.fleet.schema import API_VERSION, HiveReport, WorkerInfo
from penstock.fleet.sse import Reader, Said
from tests.fleet.command import COMMAND, environment
from tests.fleet.played_server import Behaviour, Heard, Listening
from tests.fleet.until import WAIT_S_MAX, until, until_async

GIB = 2**30


# --- a queen --------------------------------------------------------------------------------------------------------


@dataclass
class QueenProcess:
    url: str
    process: asyncio.subprocess.Process
    client: httpx2.AsyncClient
    log: list[str] = field(default_factory=list)

    async def metrics(self) -> dict[str, float]:
        text = (await self.client.get("/metrics")).text
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    def told(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in self.log]

    async def until_told(self, event: str) -> dict[str, Any]:
        """The first line of its log of that event."""
        return await until(lambda: next((line for line in self.told() if line["event"] == event), None))

    async def end(self, number: int = signal.SIGTERM) -> int:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), WAIT_S_MAX)


@asynccontextmanager
async def queen(
    policy: QueenPolicy | None = None, home: Path | None = None, token: str = "", port: int = 0
) -> AsyncIterator[QueenProcess]:
    """It remembers in `home`; None: in one that is gone with it."""
    with tempfile.TemporaryDirectory() as own:
        words = [f"--home={home or own}", f"--port={port}", *limits(policy or QueenPolicy())]
        if token:
            Path(own, "token").write_text(token)
            Path(own, "token").chmod(0o600)
            words.append(f"--token-file={own}/token")
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            "queen",
            *words,
            env=environment(Path(own)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with _reached(process, token) as running:
            yield running


def limits(policy: QueenPolicy) -> list[str]:
    """Those that are not as they are without being told."""
    usual = msgspec.structs.asdict(QueenPolicy())
    told = msgspec.structs.asdict(policy)
    return [f"--limit={name}={number}" for name, number in told.items() if number != usual[name]]


@asynccontextmanager
async def _reached(process: asyncio.subprocess.Process, token: str) -> AsyncIterator[QueenProcess]:
    log: list[str] = []
    logging = asyncio.ensure_future(_collect(process, log))
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), WAIT_S_MAX)
        assert line.startswith(b"queen at http://"), (line, log)
        url = line.decode().split()[-1]
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=WAIT_S_MAX) as client:
            yield QueenProcess(url, process, client, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await logging
        assert not [line for line in log if not line.startswith("{")], "something that no log should have"
        assert not [line for line in log if '"request failed"' in line], "what nobody foresaw"


async def _collect(process: asyncio.subprocess.Process, log: list[str]) -> None:
    assert process.stderr is not None
    async for line in process.stderr:
        log.append(line.decode().rstrip())


# --- workers and hives ----------------------------------------------------------------------------------------------


def token(number: int, text: str = "x") -> bytes:
    return b"event: token\ndata: " + msgspec.json.encode({"t": text, "i": number}) + b"\n\n"


STARTED = b'event: started\ndata: {"request_id":"of the worker"}\n\n'
END = b'event: end\ndata: {"tokens_out":1,"stop_reason":"stop","ms":1}\n\n'
DONE = b"data: [DONE]\n\n"


async def one_token(heard: Heard) -> None:
    """What a worker does that a test has no other wish for."""
    if heard.method == "DELETE":
        await heard.answer(204)
        return
    await heard.begin()
    await heard.put(STARTED, token(0), END, DONE)
    await heard.end()


class Endless:
    """Says `first`, and then nothing until it is told to stop."""

    def __init__(self, *first: bytes) -> None:
        self.first = first
        self.stopped: list[str] = []

    async def __call__(self, heard: Heard) -> None:
        if heard.method == "DELETE":
            self.stopped.append(heard.path.rsplit("/", 1)[-1])
            await heard.answer(204)
            return
        await heard.begin()
        await heard.put(*self.first)
        await asyncio.Event().wait()


@dataclass
class TestWorker:
    __test__ = False

    id: str
    server: Listening
    model: str = "tiny"
    state: WorkerState = "idle"
    slots: int = 1
    memory: int = 0
    code: str = ""
    message: str = ""
    exit_code: int | None = None
    log: tuple[str, ...] = ()

    def info(self) -> WorkerInfo:
        return WorkerInfo(
            worker_id=self.id,
            url=self.server.url,
            state=self.state,
            model=self.model,
            backend="scripted",
            device="cpu",
            slots=self.slots,
            busy=0,
            pid=1,
            memory_bytes=self.memory,
            code=self.code,
            message=self.message,
            exit_code=self.exit_code,
            log=self.log,
        )


class TestHive:
    """Reports when it is told to, and at every spawn and end."""

    __test__ = False

    def __init__(self, queen_url: str, name: str, offers: tuple[Offer, ...], token: str = "") -> None:
        self.queen_url, self.name, self.offers, self._token = queen_url, name, offers, token
        self.instance, self.epoch, self.number = f"{name}-1", 0, 0
        self.workers: dict[str, TestWorker] = {}
        self.devices = (Device(name="cpu", memory_total=GIB, memory_free=GIB),)
        self.behave: Behaviour = one_token
        """Of workers that are spawned."""
        self.spawn_state: WorkerState = "idle"
        self.spawns: list[str] = []
        self.ended: list[str] = []
        self.refuses: tuple[int, str] | None = None
        self.refusal_details: dict[str, Any] = {}
        self.ports: PortsLeft = "free"
        self.state: Any = "ready"
        self.api_version = API_VERSION
        self.server = Listening(self.answer)
        self._heart: asyncio.Task[None] | None = None
        self._made = 0

    async def open(self) -> None:
        await self.server.open()

    async def close(self) -> None:
        await self.stop_heart()
        await self.server.close()
        for worker in self.workers.values():
            await worker.server.close()

    def report(self) -> HiveReport:
        return HiveReport(
            name=self.name,
            url=self.server.url,
            instance=self.instance,
            epoch=self.epoch,
            number=self.number,
            version="0",
            api_version=self.api_version,
            state=self.state,
            devices=self.devices,
            offers=self.offers,
            workers=tuple(worker.info() for worker in self.workers.values()),
            workers_max=8,
            ports=self.ports,
        )

    async def send(self) -> httpx2.Response:
        self.number += 1
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        async with httpx2.AsyncClient(timeout=WAIT_S_MAX) as client:
            body = msgspec.json.encode(self.report())
            return await client.post(f"{self.queen_url}/v1/hives", content=body, headers=headers)

    async def join(self) -> TestHive:
        answer = await self.send()
        assert answer.status_code == 200, answer.text
        self.epoch = answer.json()["epoch"]
        if self._heart is None:
            self._heart = asyncio.ensure_future(self._beat())
        return self

    async def stop_heart(self) -> None:
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.gather(self._heart, return_exceptions=True)
            self._heart = None

    async def _beat(self) -> None:
        """One report a second, so that it does not become stale."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 1.0)
            with suppress(httpx2.HTTPError):
                await self.send()

    async def add(self, behave: Behaviour = one_token, **fields: Any) -> TestWorker:
        """A worker, from the next report on."""
        self._made += 1
        worker = TestWorker(f"{self.name}-w{self._made}", Listening(behave), **fields)
        await worker.server.open()
        self.workers[worker.id] = worker
        return worker

    async def kill(self, worker: TestWorker) -> None:
        del self.workers[worker.id]
        await worker.server.close()

    async def answer(self, heard: Heard) -> None:
        match heard.method, heard.path:
            case "GET", "/v1/health":
                health = {"status": "ok", "state": "ready", "version": "0", "api_version": API_VERSION}
                await heard.answer(200, msgspec.json.encode(health))
            case "GET", "/v1/report":
                self.number += 1
                await heard.answer(200, msgspec.json.encode(self.report()))
            case "POST", "/v1/workers/spawn":
                await self._spawn(heard)
            case _:
                await self._end(heard)

    async def _spawn(self, heard: Heard) -> None:
        model = msgspec.json.decode(heard.body)["model"]
        self.spawns.append(model)
        if self.refuses is not None:
            await heard.fail(*self.refuses, self.refusal_details)
            return
        offer = next(offer for offer in self.offers if offer.name == model)
        worker = await self.add(
            self.behave, model=model, state=self.spawn_state, slots=offer.slots, memory=offer.memory_bytes
        )
        told = {"worker_id": worker.id, "url": worker.server.url, "state": worker.state}
        await heard.answer(200, msgspec.json.encode(told))
        await self.send()

    async def _end(self, heard: Heard) -> None:
        worker = heard.path.rsplit("/", 1)[-1]
        self.ended.append(worker)
        await self.kill(self.workers[worker])
        await heard.answer(204)
        await self.send()


@dataclass
class World:
    queen: QueenProcess
    stack: AsyncExitStack

    @property
    def client(self) -> httpx2.AsyncClient:
        return self.queen.client

    async def hive(self, name: str = "east", *offers: Offer, token: str = "") -> TestHive:
        """One that has not joined yet."""
        hive = TestHive(self.queen.url, name, offers or (offer(),), token)
        await hive.open()
        self.stack.push_async_callback(hive.close)
        return hive

    async def worker(self, behave: Behaviour = one_token, name: str = "east", **fields: Any) -> TestWorker:
        """One idle worker of a hive that joins with it."""
        hive = await self.hive(name, offer(slots=fields.get("slots", 1)))
        worker = await hive.add(behave, **fields)
        await hive.join()
        return worker

    async def infer(self, **fields: Any) -> list[Said]:
        """The whole stream of a prompt, read to its end."""
        answer = await self.client.post("/v1/inference", json={"prompt": "p", "model": "tiny"} | fields)
        assert answer.status_code == 200, answer.text
        return list(Reader().feed(answer.content))

    @asynccontextmanager
    async def asking(self, path: str = "/v1/inference", **fields: Any) -> AsyncIterator[Stream]:
        body = {"prompt": "p", "model": "tiny"} if path == "/v1/inference" else chat(stream=True)
        async with self.client.stream("POST", path, json=body | fields) as response:
            yield Stream(response)

    async def quiet(self) -> bool:
        """Nothing waits, and no worker has anything to do."""
        return bool(await until_async(self._is_quiet))

    async def _is_quiet(self) -> bool:
        found = await self.queen.metrics()
        depth = sum(value for name, value in found.items() if name.startswith("penstock_queen_queue_depth"))
        return depth == 0 and found["penstock_queen_requests_in_flight"] == 0


class Stream:
    """An answer, event by event."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.raw = b""
        self._bytes = response.aiter_raw()
        self._reader = Reader()
        self._events: list[Said] = []

    async def next(self) -> Said:
        while not self._events:
            data = await asyncio.wait_for(anext(self._bytes), WAIT_S_MAX)
            self.raw += data
            self._events += self._reader.feed(data)
        return self._events.pop(0)

    async def until(self, name: str) -> Said:
        while (said := await self.next()).name != name:
            pass
        return said

    async def all(self) -> bytes:
        """Every byte, from the first on."""
        return self.raw + b"".join([data async for data in self._bytes])

    async def rest(self) -> list[Said]:
        async for data in self._bytes:
            self.raw += data
            self._events += self._reader.feed(data)
        return self._events


def code_of(answer: httpx2.Response) -> tuple[int, str]:
    """Status and code of an error."""
    return answer.status_code, answer.json()["error"]["code"]


def offer(name: str = "tiny", **fields: Any) -> Offer:
    return Offer(name=name, backend="scripted", **fields)


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]} | fields


@asynccontextmanager
async def world(policy: QueenPolicy | None = None, home: Path | None = None, token: str = "") -> AsyncIterator[World]:
    async with queen(policy, home, token) as process, AsyncExitStack() as stack:
        yield World(process, stack)
