"""Workers for tests: real processes on real sockets, spawned as a hive spawns them, and a hive that hears them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import msgspec

from penstock.core.fleet.policy import WorkerPolicy
from penstock.fleet.orders import Model, WorkerOrder
from penstock.fleet.schema import Failure, ReadyCallback, Token, WorkerHealth
from penstock.fleet.serving import url_of
from penstock.fleet.sse import Event, Reader, read_event
from tests.scenarios.traces import listening

T = TypeVar("T")
WAIT_S_MAX = 60.0
START = "import sys; from penstock.fleet.worker.program import main_from_order; sys.exit(main_from_order({fd}))"
DONE = "[DONE]"


@dataclass
class HiveEar:
    """Hears callbacks. `answers`: statuses in order, then 200; 0 hangs up without one."""

    answers: list[int] = field(default_factory=list)
    heard: list[ReadyCallback] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    reached: list[bool] = field(default_factory=list)
    """Whether the worker answered when its callback came."""
    url: str = ""
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:"))
        callback = msgspec.json.decode(await reader.readexactly(length), type=ReadyCallback)
        async with httpx2.AsyncClient(trust_env=False) as client:
            reached = (await client.get(callback.url + "/v1/health")).status_code == 200
        status = self.answers.pop(0) if self.answers else 200
        if status:
            writer.write(f"HTTP/1.1 {status} Heard\r\ncontent-length: 2\r\n\r\n{{}}".encode())
        writer.close()
        async with self._changed:
            self.headers.append(head)
            self.heard.append(callback)
            self.reached.append(reached)
            self._changed.notify_all()

    async def until(self, state: str) -> ReadyCallback:
        """The callback with that state."""
        async with asyncio.timeout(WAIT_S_MAX), self._changed:
            await self._changed.wait_for(lambda: any(each.state == state for each in self.heard))
        return next(each for each in self.heard if each.state == state)


@asynccontextmanager
async def hive_ear(*answers: int) -> AsyncIterator[HiveEar]:
    """A hive that does nothing but hear."""
    ear = HiveEar(list(answers))
    server = await asyncio.start_server(ear.connected, "127.0.0.1", 0)
    ear.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield ear


@dataclass
class Running:
    """A worker that runs."""

    url: str
    process: subprocess.Popen[bytes]
    client: httpx2.AsyncClient
    folder: Path
    owner: int
    ear: HiveEar
    socket: int
    """The number of the one that it listens with. Its port may be somebody else's by the time it is looked for."""
    fifos: dict[str, int] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        return self.process.pid

    def release(self, name: str, times: int = 1) -> None:
        """Let so many go that are held by `name`."""
        os.write(self.fifos[name], b"." * times)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code."""
        return await asyncio.wait_for(asyncio.to_thread(self.process.wait), WAIT_S_MAX)

    def log(self) -> str:
        """What it said on stderr so far."""
        return (self.folder / "stderr").read_text()

    async def health(self) -> WorkerHealth:
        answer = await self.client.get("/v1/health")
        return msgspec.json.decode(answer.content, type=WorkerHealth)

    async def until(self, is_so: Callable[[WorkerHealth], bool]) -> WorkerHealth:
        """Ask until it is so."""
        async with asyncio.timeout(WAIT_S_MAX):
            while not is_so(health := await self.health()):
                pass
        return health

    async def infer(self, prompt: str = "go", headers: dict[str, str] | None = None, **fields: Any) -> Heard:
        """The whole answer to a prompt."""
        return await heard(self.client, "/v1/inference", {"prompt": prompt, **fields}, headers)

    async def chat(self, prompt: str = "go", headers: dict[str, str] | None = None, **fields: Any) -> Heard:
        """The whole answer to a chat."""
        return await heard(self.client, "/v1/chat/completions", chat_body(prompt, **fields), headers)

    @asynccontextmanager
    async def stream(self, path: str, body: dict[str, Any], request_id: str = "") -> AsyncIterator[Listening]:
        """An answer as it comes; leaving hangs up."""
        headers = {"x-request-id": request_id} if request_id else {}
        async with self.client.stream("POST", path, json=body, headers=headers) as response:
            yield Listening(response, response.aiter_raw())


@dataclass
class Listening:
    """A stream that is being read."""

    response: httpx2.Response
    chunks: AsyncIterator[bytes]
    reader: Reader = field(default_factory=Reader)
    events: list[Event | None] = field(default_factory=list)

    async def until(self, is_so: Callable[[list[Event | None]], bool]) -> list[Event | None]:
        """Read until it is so, or the end."""
        while not is_so(self.events):
            data = await anext(self.chunks, None)
            if data is None:
                break
            self.events += map(read_event, self.reader.feed(data))
        return self.events

    async def tokens(self, count: int) -> None:
        """Read until so many tokens came."""
        events = await self.until(lambda events: len(tokens_of(events)) >= count)
        assert len(tokens_of(events)) >= count, events

    async def rest(self) -> list[Event | None]:
        """Everything up to the end."""
        return await self.until(lambda events: False)


@dataclass(frozen=True)
class Heard:
    """An answer. `is_torn`: it broke off."""

    status: int
    headers: httpx2.Headers
    body: bytes
    is_torn: bool = False

    @property
    def events(self) -> list[Event | None]:
        """Ours; None is `[DONE]`."""
        return [read_event(said) for said in Reader().feed(self.body)]

    @property
    def text(self) -> str:
        return "".join(tokens_of(self.events))

    @property
    def failure(self) -> str:
        """The code of its terminal event."""
        return next(each.code for each in self.events if isinstance(each, Failure))

    @property
    def code(self) -> str:
        """Of its error."""
        return str(msgspec.json.decode(self.body)["error"]["code"])


def tokens_of(events: Sequence[Event | None]) -> list[str]:
    return [each.t for each in events if isinstance(each, Token)]


def chat_body(prompt: str = "go", **fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": prompt}], **fields}


async def heard(
    client: httpx2.AsyncClient, path: str, body: dict[str, Any], headers: dict[str, str] | None = None
) -> Heard:
    parts: list[bytes] = []
    is_torn = False
    async with client.stream("POST", path, json=body, headers=headers or {}) as response:
        try:
            async for chunk in response.aiter_raw():
                parts.append(chunk)
        except httpx2.RemoteProtocolError:
            is_torn = True
    return Heard(response.status_code, response.headers, b"".join(parts), is_torn)


@asynccontextmanager
async def worker(
    folder: Path,
    script: str = "",
    *,
    slots: int = 1,
    token: str = "",
    policy: WorkerPolicy | None = None,
    answers: Sequence[int] = (),
    state: str = "idle",
    send_buffer_bytes: int = 0,
    model: Model | None = None,
    keeper: Sequence[str] = (),
) -> AsyncIterator[Running]:
    """A worker that has told its hive that it is `state` (empty: nothing is awaited). Leaves nothing behind."""
    folder.mkdir(exist_ok=True)
    fifos = {name: _fifo(folder / name) for name in ("LOAD", "GO") if name in script}
    if script:
        (folder / "script.yaml").write_text(script)
    scripted = Model(name="tiny", backend="scripted", path=str(folder / "script.yaml") if script else "", slots=slots)
    async with hive_ear(*answers) as ear:
        order = WorkerOrder(
            worker_id="w-1",
            model=model or scripted,
            keeper=tuple(keeper),
            listen_fd=-1,
            hive_url=ear.url,
            nonce="n-1",
            token=token,
            policy=policy or WorkerPolicy(callback_backoff_ms=1),
        )
        process, url, owner, listens = start(order, folder, send_buffer_bytes)
        authorized = {"authorization": f"Bearer {token}"} if token else {}
        client = httpx2.AsyncClient(base_url=url, headers=authorized, trust_env=False, timeout=WAIT_S_MAX)
        running = Running(url, process, client, folder, owner, ear, listens, fifos)
        try:
            if state:
                await _unless_ended(running, ear.until(state))
            yield running
        finally:
            await client.aclose()
            os.close(running.owner)
            await running.ended()
            for fifo in fifos.values():
                os.close(fifo)
            assert_nothing_left(running)


def start(
    order: WorkerOrder, folder: Path, send_buffer_bytes: int = 0
) -> tuple[subprocess.Popen[bytes], str, int, int]:
    """The process, its URL, the end of the owner pipe whose end is its end, and the number of its socket."""
    with socket.create_server(("127.0.0.1", 0)) as listening, (folder / "stderr").open("ab") as errors:
        if send_buffer_bytes:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
        owner_read, owner_write = os.pipe()
        order_read, order_write = os.pipe()
        told = msgspec.structs.replace(order, listen_fd=listening.fileno(), owner_fd=owner_read, parent_pid=os.getpid())
        os.write(order_write, msgspec.json.encode(told))
        os.close(order_write)
        process = subprocess.Popen(
            [sys.executable, "-c", START.format(fd=order_read)],
            pass_fds=(listening.fileno(), owner_read, order_read),
            stdin=subprocess.DEVNULL,
            stderr=errors,
        )
        os.close(owner_read)
        os.close(order_read)
        return process, url_of(listening), owner_write, os.fstat(listening.fileno()).st_ino


async def _unless_ended(running: Running, waited: Awaitable[T]) -> T:
    """What was waited for. Fails at once where the worker ends before."""
    coming = asyncio.ensure_future(waited)
    ending = asyncio.ensure_future(running.ended())
    await asyncio.wait((coming, ending), return_when=asyncio.FIRST_COMPLETED)
    if not coming.done():
        coming.cancel()
        raise AssertionError(f"the worker ended with {ending.result()}: {running.log()}")
    ending.cancel()
    return coming.result()


def assert_nothing_left(running: Running) -> None:
    """No process, no port."""
    assert running.process.returncode is not None
    assert running.socket not in listening()


def _fifo(path: Path) -> int:
    with suppress(FileExistsError):
        os.mkfifo(path)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK)
