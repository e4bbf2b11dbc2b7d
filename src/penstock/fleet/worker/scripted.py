"""The engine that follows a script (`model_script.py` says how one is written). Without a script it says words that
depend on nothing but what it was asked, so that the same prompt and seed give the same text everywhere.

It is the one fake of the fleet, at the true edge: it crashes, hangs and lies as engines do, and the worker round it is
the same for all of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Never

import msgspec

from penstock.fleet.errors import FleetError
from penstock.fleet.orders import WorkerOrder
from penstock.fleet.schema import InferenceRequest, Progress
from penstock.fleet.worker.engine import Beat, LoadFailed, Relay, Stop, Tell
from penstock.model_script import (
    Script,
    ScriptedFault,
    ScriptedLoad,
    ScriptedReply,
    completion_of,
    events_of,
    load_worker_script,
)
from penstock.ports import BadInput

OVER = ScriptedReply(status=400, error={"message": "the script has no reply left", "code": "script_over"})
WORDS = ("water", "runs", "over", "the", "old", "wheel", "and", "turns", "stone", "into", "bread", "rain", "light")
GARBAGE = b"data: {\xff\xfe this is no event\n\n"
ECHO_TOKENS_MIN, ECHO_TOKENS_MAX = 16, 64


class ScriptedEngine:
    """Plays the script at `order.model.path`; where that is empty it echoes."""

    def __init__(self, order: WorkerOrder) -> None:
        self._path = Path(order.model.path) if order.model.path else None
        self._script: Script | None = None
        self._told: list[int] = []
        self._holds = _Holds()
        self._asked = 0

    async def load(self, tell: Tell) -> None:
        """As the script has it."""
        if self._path is None:
            return
        try:
            self._script = load_worker_script(self._path, self._path.name)
            self._told = [0] * len(self._script.conversations)
            self._holds.open(self._path.parent, self._script.holds)
        except BadInput as wrong:
            raise LoadFailed("the script is not sound", tuple(str(wrong).splitlines())) from None
        await self._load(self._script.load, tell)

    async def _load(self, load: ScriptedLoad, tell: Tell) -> None:
        for step in range(load.steps if load.ms else 0):
            tell(Progress(phase="loading", done=step, total=load.steps, unit="layers"))
            await asyncio.sleep(load.ms / load.steps / 1_000)
        if load.hold:
            tell(Progress(phase="loading", done=load.steps, total=load.steps, unit="layers", message="held"))
            await self._holds.wait(load.hold)
        if load.fault == "fail" and self._is_mine(load.once):
            raise LoadFailed(load.message or "the script says so")
        if load.fault and load.fault != "fail" and self._is_mine(load.once):
            await _go_wrong(ScriptedFault(load.fault, code=1))

    def infer(self, asked: InferenceRequest) -> AsyncGenerator[str | Stop, None]:
        """The reply that the prompt asks for."""
        return self._infer(asked)

    async def _infer(self, asked: InferenceRequest) -> AsyncGenerator[str | Stop, None]:
        reply = self._reply(asked.prompt) or echo(asked.prompt, asked.seed, asked.max_tokens)
        if reply.status != 200 or reply.error or reply.malformed is not None:
            raise FleetError("BAD_ENGINE_REPLY", str(reply.error.get("message") or "nobody can read it"))
        pieces, is_whole = until_stop(reply.pieces, asked.stop)
        playing = _Playing(reply, self._holds)
        async for piece in playing.each(islice(pieces, asked.max_tokens)):
            if playing.is_garbage:
                raise FleetError("BAD_ENGINE_REPLY", "the engine made no token, but something else")
            yield piece
        if not playing.is_cut:
            is_short = len(pieces) > asked.max_tokens or (is_whole and reply.finish == "length")
            yield Stop("length" if is_short else "stop")

    @asynccontextmanager
    async def chat(self, raw: bytes, headers: Mapping[str, str], beat: Beat) -> AsyncIterator[Relay]:
        """OpenAI's own bytes."""
        told: dict[str, Any] = msgspec.json.decode(raw)
        text = raw.decode(errors="replace")
        reply = self._reply(text) or _echo_of(told)
        self._asked += 1
        kind = "application/json"
        if reply.status != 200 or reply.error:
            chunks = _whole(msgspec.json.encode({"error": reply.error}))
        elif reply.malformed is not None:
            chunks = _whole(reply.malformed.encode())
        elif told.get("stream"):
            chunks, kind = _streamed(reply, self._holds, told, self._asked), "text/event-stream"
        else:
            chunks = self._completed(reply, told, beat)
        async with aclosing(chunks):
            yield Relay(reply.status, chunks, {"content-type": kind, **reply.headers})

    async def _completed(
        self, reply: ScriptedReply, told: Mapping[str, Any], beat: Beat
    ) -> AsyncGenerator[bytes, None]:
        playing = _Playing(reply, self._holds)
        async for _ in playing.each(reply.pieces):
            beat()
        body = completion_of(reply, self._asked, str(told["model"]))
        if playing.is_garbage:
            yield GARBAGE
        else:
            yield body[: len(body) // 2] if playing.is_cut or reply.cut is not None else body

    async def died(self) -> Never:
        """It lives as long as the process."""
        await asyncio.get_running_loop().create_future()
        raise AssertionError("waits for ever")

    async def close(self) -> None:
        """Nothing was started."""
        self._holds.close()

    def _reply(self, text: str) -> ScriptedReply | None:
        """What the script says to it; None where there is no script."""
        if self._script is None:
            return None
        conversations = self._script.conversations
        at = next((at for at, each in enumerate(conversations) if each.match in text), None)
        while at is not None:
            number, self._told[at] = self._told[at], self._told[at] + 1
            reply = conversations[at].reply(number)
            if reply is None or self._is_mine(reply.once):
                return reply or OVER
            if number >= len(conversations[at].replies):
                break  # the one that is repeated is not ours, and never will be
        return OVER

    def _is_mine(self, once: str) -> bool:
        """Whether nobody else took it. Taking is removing: of several processes one alone can."""
        if not once:
            return True
        assert self._path is not None
        try:
            (self._path.parent / once).unlink()
        except FileNotFoundError:
            return False
        return True


@dataclass
class _Playing:
    """One reply as it is told: at its pace, held, and with its fault. What it did stands in the flags."""

    reply: ScriptedReply
    holds: _Holds
    is_cut: bool = False
    is_garbage: bool = False

    async def each(self, pieces: Any) -> AsyncIterator[str]:
        """The pieces that are told. Where there is to be garbage, one more comes with `is_garbage`."""
        number = -1
        for number, piece in enumerate(pieces):
            await self.before(number)
            if self.is_garbage:
                yield ""
            if self.is_over(number):
                return
            yield piece
        await self.before(number + 1, is_end=True)
        if self.is_garbage:
            yield ""
        self.is_over(number + 1)

    async def before(self, number: int, *, is_end: bool = False) -> None:
        """Wait for token `number`, or go wrong in its place."""
        pace, fault = self.reply.pace, self.reply.fault
        wait_ms = 0 if is_end else pace.every_ms if number else pace.first_ms
        await asyncio.sleep(wait_ms / 1_000)  # with 0: others have their turn, as with a real engine
        if self.reply.hold and _is_due(self.reply.hold_after, number, is_end):
            await self.holds.wait(self.reply.hold)
        if fault and _is_due(fault.after, number, is_end):
            self.is_garbage, self.is_cut = fault.kind == "garbage", fault.kind == "no_end"
            await _go_wrong(fault)

    def is_over(self, number: int) -> bool:
        """Whether nothing more is to come."""
        if self.reply.cut is not None and number >= self.reply.cut:
            self.is_cut = True
        return self.is_cut or self.is_garbage


async def _streamed(
    reply: ScriptedReply, holds: _Holds, told: Mapping[str, Any], number: int
) -> AsyncGenerator[bytes, None]:
    """The events of `events_of`, told as `_Playing` has it."""
    options = told.get("stream_options")
    usage = isinstance(options, dict) and bool(options.get("include_usage"))
    events = events_of(reply, number, str(told["model"]), with_usage=usage)
    if reply.cut is not None:
        for event in events[: reply.cut]:
            yield event
        return
    ends = -3 if usage and reply.usage else -2
    yield events[0]
    playing = _Playing(reply, holds)
    async for text in playing.each([event.decode() for event in events[1:ends]]):
        yield GARBAGE if playing.is_garbage else text.encode()
    for event in [] if playing.is_cut or playing.is_garbage else events[ends:]:
        yield event


@dataclass
class _Holds:
    """The FIFOs beside a script. They stay open, so that a byte that comes early is not lost."""

    _open: dict[str, int] = field(default_factory=dict)

    def open(self, folder: Path, names: Sequence[str]) -> None:
        """Raises `LoadFailed` where one is not there."""
        for name in names:
            try:
                self._open[name] = os.open(folder / name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                message = f"the script holds until {name} is released, which cannot be opened: {error.strerror}"
                raise LoadFailed(message, (f"make it beside the script: mkfifo {name}",)) from None

    async def wait(self, name: str) -> None:
        """Until a byte comes; it is for one alone."""
        descriptor, loop = self._open[name], asyncio.get_running_loop()
        while True:
            with suppress(BlockingIOError):
                if os.read(descriptor, 1):
                    return
            readable = loop.create_future()
            watched = os.dup(descriptor)
            loop.add_reader(watched, _settle, readable)
            try:
                await readable
            finally:
                loop.remove_reader(watched)
                os.close(watched)

    def close(self) -> None:
        """Let go of them."""
        while self._open:
            os.close(self._open.popitem()[1])


def _is_due(after: int, number: int, is_end: bool) -> bool:
    return after == number or (is_end and after > number)


def _settle(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)


async def _go_wrong(fault: ScriptedFault) -> None:
    match fault.kind:
        case "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(fault.code)
        case "hang":
            await asyncio.get_running_loop().create_future()
        case "freeze":
            while True:
                time.sleep(3_600)
        case "garbage" | "no_end":
            pass  # whoever plays it says so


def until_stop(pieces: Sequence[str], stops: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """The pieces before the first of the texts to stop at; and whether that is all of them."""
    text = "".join(pieces)
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    if not ends:
        return tuple(pieces), True
    left, kept = min(ends), []
    for piece in pieces:
        kept.append(piece[:left])
        left -= len(kept[-1])
        if not left:
            break
    return tuple(piece for piece in kept if piece), False


def echo(prompt: str, seed: int | None, tokens_max: int) -> ScriptedReply:
    """Words that depend on what was asked alone."""
    digest = hashlib.sha256(f"{seed}\0{prompt}".encode()).digest()
    count = ECHO_TOKENS_MIN + digest[0] % (ECHO_TOKENS_MAX - ECHO_TOKENS_MIN + 1)
    words = [WORDS[digest[n % 32] * (n + 1) % len(WORDS)] for n in range(count)]
    tokens = tuple(word if n == 0 else f" {word}" for n, word in enumerate(words))[:tokens_max]
    usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(tokens)}
    finish = "length" if tokens_max < count else "stop"
    return ScriptedReply(text="".join(tokens), tokens=tokens, usage=usage, finish=finish)


def _echo_of(told: Mapping[str, Any]) -> ScriptedReply:
    asked = told["messages"][-1].get("content")
    limit = told.get("max_completion_tokens", told.get("max_tokens"))
    seed = told.get("seed")
    return echo(
        asked if isinstance(asked, str) else str(asked),
        seed if isinstance(seed, int) else None,
        limit if isinstance(limit, int) and limit > 0 else ECHO_TOKENS_MAX,
    )


async def _whole(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
