"""The engine that relays to a server which speaks OpenAI's protocol: one that runs already, at the model's `url`, or
one that is started here, by the model's `argv`, and ends with the worker.

A child is told its port as a number, so the port is chosen before the child binds it, and between the two somebody may
take it. Such a child ends, for it cannot bind; it is started anew with another port, up to `STARTS_MAX` times. The
child of `llama.py` listens on a socket of its own in a private folder, and has no such gap.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import httpx2
import msgspec

from penstock import __version__
from penstock.fleet import sse
from penstock.fleet.catalogue.model_rules import filled
from penstock.fleet.errors import FleetError
from penstock.fleet.orders import WorkerOrder
from penstock.fleet.schema import InferenceRequest, Progress
from penstock.fleet.worker.child import Child, free_port, is_taken
from penstock.fleet.worker.engine import Beat, LoadFailed, Relay, Stop, Tell
from penstock.fleet.worker.programs import unavailable

STARTS_MAX = 3
CONNECT_S_MAX = 5.0
WRITE_S_MAX = 30.0
POLL_S_MAX = 5.0
POLL_EVERY_S = 0.02
POLL_EVERY_S_MAX = 0.25
REMOTE_S_MAX = 10.0
"""How long a server that should run already may leave us without an answer."""
CHILD_S_MAX = 3_600.0
"""How long a child may load; the hive's own deadline is shorter as a rule."""
BEAT_S = 1.0
BEATS_MAX = 600
"""So long a server of which we see nothing may be at an answer that comes whole."""
ERROR_CHARS_MAX = 500
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
OURS = {"content-length", "date", "server", "set-cookie", "proxy-authenticate", "www-authenticate"}
NOT_THERE = (404, 405, 501)
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


class UpstreamEngine:
    """Also what every engine is that relays: `_start`, `_health` and `_pulse` are what they differ in."""

    def __init__(
        self, order: WorkerOrder, env: Mapping[str, str] | None = None, remote_s_max: float = REMOTE_S_MAX
    ) -> None:
        self._order, self._model, self._remote_s_max = order, order.model, remote_s_max
        self._env = os.environ if env is None else env
        self._child: Child | None = None
        self._client: httpx2.AsyncClient | None = None
        self._name = self._model.upstream_model or self._model.name
        self._surfaces: tuple[str, ...] = (COMPLETIONS, CHAT)

    async def load(self, tell: Tell) -> None:
        """Return when the server answers."""
        if (missing := unavailable(self._model, self._env)) is not None:
            raise LoadFailed(missing.message)
        for left in reversed(range(STARTS_MAX)):
            port = free_port() if self._model.argv else 0
            await self._start(port)
            try:
                return await self._until_it_answers(tell)
            except LoadFailed:
                if not (left and port and is_taken(port)):
                    raise
            await self.close()
        return None

    async def _start(self, port: int) -> None:
        """Start the child, where there is one, and say where it is reached."""
        model = self._model
        if not model.argv:
            self._client = self._connected(model.url.rstrip("/").removesuffix("/v1"))
            return
        numbers = {"port": str(port), "slots": str(model.slots), "context": str(model.context)}
        await self._start_child(filled(model.argv, path=model.path, **numbers), {**self._env, **seeing(model.device)})
        self._client = self._connected(f"http://127.0.0.1:{port}")

    async def _start_child(self, argv: list[str], env: Mapping[str, str]) -> None:
        self._child = Child(argv, self._order.keeper, env)
        try:
            await self._child.start()
        except OSError as error:
            raise LoadFailed(f"{os.path.basename(argv[0])} cannot be started: {error.strerror}") from None

    def _connected(self, url: str, uds: str | None = None) -> httpx2.AsyncClient:
        headers = {"user-agent": f"penstock/{__version__}", "accept-encoding": "identity"}
        if self._model.key_env:
            headers["authorization"] = f"Bearer {self._env[self._model.key_env]}"
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=self._model.slots + 1)
        return httpx2.AsyncClient(
            base_url=url,
            headers=headers,
            timeout=httpx2.Timeout(None, connect=CONNECT_S_MAX, write=WRITE_S_MAX),
            transport=httpx2.AsyncHTTPTransport(uds=uds, limits=limits, verify=url.startswith("https:")),
            trust_env=False,
        )

    # --- loading

    async def _until_it_answers(self, tell: Tell) -> None:
        """Raises `LoadFailed` where the child ends before, or nobody answers for too long."""
        ending = asyncio.ensure_future(self._ending())
        asking = asyncio.ensure_future(self._ask(tell))
        try:
            await asyncio.wait((ending, asking), return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                raise LoadFailed(f"the engine {ending.result()}", self._log())
            await asking
        finally:
            for task in (ending, asking):
                task.cancel()
            await asyncio.gather(ending, asking, return_exceptions=True)

    async def _ending(self) -> str:
        if self._child is not None:
            return await self._child.ended()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("waits for ever")

    def _log(self) -> tuple[str, ...]:
        return self._child.log if self._child is not None else ()

    async def _ask(self, tell: Tell) -> None:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + (CHILD_S_MAX if self._child is not None else self._remote_s_max)
        seen, every = 0, POLL_EVERY_S
        while not await self._answers():
            if loop.time() > give_up:
                raise LoadFailed(f"nobody answers at {self._place()}", self._log())
            seen = self._tell_growth(tell, seen)
            await asyncio.sleep(every)
            every = min(every * 1.5, POLL_EVERY_S_MAX)

    def _place(self) -> str:
        return self._model.url or "the port of the child"

    def _tell_growth(self, tell: Tell, seen: int) -> int:
        """How much of the model is in memory: what a child has read of its file."""
        if self._child is None:
            return 0
        size = self._model.bytes
        held = min(self._child.memory_bytes(), size or 2**60)
        if held > seen:
            tell(Progress(phase="loading", done=held, total=size, unit="bytes"))
        return max(held, seen)

    async def _answers(self) -> bool:
        """Whether a request would be served. Raises `LoadFailed` where none ever will."""
        assert self._client is not None
        for path in self._health():
            try:
                response = await self._client.get(path, timeout=POLL_S_MAX)
            except httpx2.HTTPError:
                return False
            if response.status_code in (401, 403) and self._child is None:
                named = f"the key in {self._model.key_env}" if self._model.key_env else "a request without a key"
                raise LoadFailed(f"{self._place()} refuses {named}: status {response.status_code}")
            if response.status_code == 200:
                return True
        return False

    def _health(self) -> tuple[str, ...]:
        """Where it says that it is ready: the first that it has."""
        return ("/v1/models", "/health")

    # --- our own streams

    def infer(self, asked: InferenceRequest) -> AsyncGenerator[str | Stop, None]:
        """By text completion; where the server has none, as a chat of one message."""
        return self._with_beats(self._infer(asked))

    async def _with_beats(self, pieces: AsyncGenerator[str | Stop, None]) -> AsyncGenerator[str | Stop, None]:
        """Empty texts until the first piece came, for as long as something is seen to be done for it."""
        first = asyncio.ensure_future(anext(pieces, None))
        try:
            async for _ in self._beats(first):
                yield ""
            if (piece := await first) is not None:
                yield piece
                async for piece in pieces:
                    yield piece
        finally:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            await pieces.aclose()

    async def _infer(self, asked: InferenceRequest) -> AsyncGenerator[str | Stop, None]:
        for surface in self._surfaces:
            async with self._opened(surface, _question(surface, self._name, asked), {}) as response:
                if response.status_code in NOT_THERE and surface != self._surfaces[-1]:
                    continue
                if response.status_code != 200:
                    raise await _refusal(response)
                self._surfaces = (surface,)
                async for piece in _told(response):
                    yield piece
                return

    @asynccontextmanager
    async def _opened(self, path: str, body: bytes, headers: Mapping[str, str]) -> AsyncIterator[httpx2.Response]:
        assert self._client is not None
        sent = {"content-type": "application/json", **headers}
        request = self._client.build_request("POST", path, content=body, headers=sent)
        try:
            response = await self._client.send(request, stream=True)
        except httpx2.HTTPError as error:
            message = f"the engine does not answer: {str(error) or type(error).__name__}"
            raise FleetError("WORKER_FAILED", message) from None
        try:
            yield response
        finally:
            await response.aclose()

    # --- OpenAI's own

    def chat(self, raw: bytes, headers: Mapping[str, str], beat: Beat) -> AbstractAsyncContextManager[Relay]:
        """The same bytes both ways, but for the model's name where the server has another."""
        return self._chat(raw, headers, beat)

    @asynccontextmanager
    async def _chat(self, raw: bytes, headers: Mapping[str, str], beat: Beat) -> AsyncIterator[Relay]:
        passed = {name: headers[name] for name in ("accept", "x-request-id") if name in headers}
        beating = asyncio.ensure_future(self._beat(beat))
        try:
            async with self._opened(CHAT, self._renamed(raw), passed) as response:
                yield Relay(response.status_code, _chunks(response, beating), _passed_on(response.headers))
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating

    def _renamed(self, raw: bytes) -> bytes:
        if not self._model.upstream_model:
            return raw
        fields: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        return msgspec.json.encode(fields | {"model": self._name})

    async def _beat(self, beat: Beat) -> None:
        """Until it is cancelled: at the first byte of the answer."""
        async for _ in self._beats(asyncio.get_running_loop().create_future()):
            beat()

    async def _beats(self, until: asyncio.Future[Any]) -> AsyncIterator[None]:
        """One for each second in which something was seen to be done, up to `BEATS_MAX` seconds."""
        before: object = None
        for _ in range(BEATS_MAX):
            await asyncio.wait([until], timeout=BEAT_S)
            if until.done():
                return
            now = await self._pulse()
            if now != before:
                yield
            before = now

    async def _pulse(self) -> object:
        """Something that changes as long as tokens are made. Of a server we see nothing of: always another."""
        return object()

    # --- the end

    async def died(self) -> str:
        """When its child has ended; a server that runs elsewhere is missed only when it is asked."""
        how = await self._ending()
        last = f": {self._log()[-1]}" if self._log() else ""
        return f"the engine {how}{last}"

    async def close(self) -> None:
        """Hang up, and end the child."""
        client, self._client = self._client, None
        child, self._child = self._child, None
        if client is not None:
            await client.aclose()
        if child is not None:
            await child.close()


def _question(surface: str, name: str, asked: InferenceRequest) -> bytes:
    told: dict[str, Any] = {
        "model": name,
        "max_tokens": asked.max_tokens,
        "temperature": asked.temperature,
        "stream": True,
    }
    if surface == CHAT:
        told["messages"] = [{"role": "user", "content": asked.prompt}]
    else:
        told["prompt"] = asked.prompt
    told |= {"seed": asked.seed} if asked.seed is not None else {}
    return msgspec.json.encode(told | ({"stop": asked.stop} if asked.stop else {}))


async def _told(response: httpx2.Response) -> AsyncGenerator[str | Stop, None]:
    """Its texts, and why it stopped; nothing more where the stream broke off."""
    reason: Stop | None = None
    async for said in _events(response):
        if said.data == "[DONE]":
            yield reason or Stop("stop")
            return
        text, finish = _read_choice(said.data)
        if text:
            yield text
        if finish:
            reason = Stop("length" if finish == "length" else "stop")
    if reason is not None:
        yield reason


async def _events(response: httpx2.Response) -> AsyncIterator[sse.Said]:
    reader = sse.Reader()
    try:
        async for chunk in response.aiter_raw():
            for said in reader.feed(chunk):
                yield said
    except httpx2.HTTPError:
        return
    except sse.TooLong:
        raise FleetError("BAD_ENGINE_REPLY", "an event of the engine has no end") from None


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    text: str | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: tuple[_Choice, ...] = ()
    error: Any = None


def _read_choice(data: str) -> tuple[str, str]:
    try:
        chunk = msgspec.json.decode(data, type=_Chunk)
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise FleetError("BAD_ENGINE_REPLY", "an event of the engine is what nobody can read") from None
    if chunk.error is not None:
        raise FleetError("BAD_ENGINE_REPLY", _message_of(chunk.error) or "the engine failed in mid-stream")
    if not chunk.choices:
        return "", ""
    choice = chunk.choices[0]
    return choice.text or (choice.delta and choice.delta.content) or "", choice.finish_reason or ""


async def _refusal(response: httpx2.Response) -> FleetError:
    """What a status of the server means to whoever asked us."""
    body = bytearray()
    with suppress(httpx2.HTTPError):
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > 65_536:
                break
    status, said = response.status_code, _error_in(bytes(body))
    message = f"the engine answered with status {status}" + (f": {said}" if said else "")
    if status in (400, 413, 422):
        return FleetError("INVALID_REQUEST", message)
    if status in (429, 503):
        wait = response.headers.get("retry-after", "")
        return FleetError("ALL_SLOTS_BUSY", message, retry_after_s=int(wait) if wait.isdecimal() else 1)
    return FleetError("BAD_ENGINE_REPLY", message)


def _error_in(body: bytes) -> str:
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return _message_of(told.get("error", told.get("message"))) if isinstance(told, dict) else ""


def _message_of(error: Any) -> str:
    said = error.get("message") if isinstance(error, dict) else error
    return "".join(filter(str.isprintable, said))[:ERROR_CHARS_MAX] if isinstance(said, str) else ""


async def _chunks(response: httpx2.Response, beating: asyncio.Task[None]) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.aiter_raw():
            beating.cancel()
            yield chunk
    except httpx2.HTTPError as error:
        message = f"the engine hung up: {str(error) or type(error).__name__}"
        raise FleetError("WORKER_CRASHED", message) from None


def _passed_on(headers: httpx2.Headers) -> dict[str, str]:
    named = {word.strip().lower() for word in headers.get("connection", "").split(",")}
    return {name: value for name, value in headers.items() if name not in HOP_BY_HOP | OURS | named}


def seeing(device: str) -> dict[str, str]:
    """What a child's environment needs to see this device alone; nothing for the CPU, or any of a kind, where it may
    see all.

    The number is that of `nvidia-smi` or `rocm-smi`. CUDA would count from the fastest card on, if it were not told.
    """
    if not is_shown_alone(device):
        return {}
    number = device.lstrip("abcdefghijklmnopqrstuvwxyz")
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": number, "HIP_VISIBLE_DEVICES": number}


def is_shown_alone(device: str) -> bool:
    """Whether a child sees no other one: to it, this is the first."""
    return device.startswith(("gpu", "cuda")) and device[-1:].isdigit()
