"""Tokens on their way to a client: our events, or the bytes of the engine as they are.

An answer ends in one of four ways: the engine has said all; it failed; somebody ended the request (its id, its
deadline, a drain); the client left. The last is the cancel of the task that writes, and so is the third, but there the
reason is known first, and what is left to say is said after the engine has stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope, Send

from penstock.fleet.errors import FleetError
from penstock.fleet.leaving import unless_gone
from penstock.fleet.routes import Call
from penstock.fleet.schema import End, InferenceRequest, Metrics, Started, Token
from penstock.fleet.sse import CONTENT_TYPE, DONE, HEADERS, Event, written
from penstock.fleet.worker.engine import Engine, Relay, Stop
from penstock.fleet.worker.flights import Flight, Flights

EVENT_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")
Headers = list[tuple[bytes, bytes]]
SSE_HEADERS: Headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


@dataclass
class Answer:
    """An ASGI application that holds a slot while its engine works."""

    engine: Engine
    flights: Flights
    request_id: str
    deadline_ms: int | None
    on_first: Callable[[float], None]
    """Hears after how many seconds the first token came."""
    on_end: Callable[[Flight], None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises `FleetError` where nothing was sent."""
        flight = self.flights.enter(self.request_id)
        try:
            if self.deadline_ms is not None:
                late = FleetError("DEADLINE_EXCEEDED", "the deadline of the request has passed")
                flight.timer = asyncio.get_running_loop().call_later(self.deadline_ms / 1_000, flight.end, late)
            flight.task = asyncio.ensure_future(self.write(flight, send))
            with self.flights.answering():
                await unless_gone(flight.task, receive)
        finally:
            self.flights.land(flight)
            self.on_end(flight)

    def write(self, flight: Flight, send: Send) -> Coroutine[Any, Any, None]:
        """All of the answer."""
        raise NotImplementedError

    def took(self, flight: Flight) -> None:
        """Count what the engine gave."""
        flight.token()
        if flight.tokens == 1 and flight.first_at is not None:
            self.on_first(flight.first_at - flight.begun_at)


@dataclass
class Stream(Answer):
    """Our events."""

    asked: InferenceRequest

    async def write(self, flight: Flight, send: Send) -> None:
        """`started`, tokens, metrics, one terminal event, `[DONE]`."""
        last: list[Event]
        try:
            await _start(send, 200, SSE_HEADERS)
            await _body(send, written(Started(request_id=flight.request_id)))
            flight.run()
            stop = await self._tokens(flight, send)
            flight.outcome = "ok"
            last = [_metrics(flight), End(tokens_out=flight.tokens, stop_reason=stop.reason, ms=flight.took_ms())]
        except FleetError as error:
            last = _ending(flight, error)
        except asyncio.CancelledError:
            last = _ending(flight, flight.reason())
        finally:
            self.flights.land(flight)
        await _body(send, b"".join(map(written, last)) + DONE, more=False)

    async def _tokens(self, flight: Flight, send: Send) -> Stop:
        async with aclosing(self.engine.infer(self.asked)) as pieces:
            flight.beat()
            async for piece in pieces:
                if isinstance(piece, Stop):
                    return piece
                if not piece:
                    flight.beat()
                    continue
                self.took(flight)
                await _body(send, written(Token(t=piece, i=flight.tokens - 1)))
                flight.beat()
        raise FleetError("BAD_ENGINE_REPLY", "the engine broke off")


@dataclass
class Passage(Answer):
    """The engine's own bytes."""

    call: Call

    async def write(self, flight: Flight, send: Send) -> None:
        """The status is held back until the engine has given something. Raises `FleetError` until then, and later
        where nothing can be said between two events: the answer is torn.
        """
        passed = _Passed(send)
        failed: FleetError | None = None
        try:
            flight.run()
            async with self.engine.chat(self.call.raw, self.call.headers, flight.beat) as relay:
                async for chunk in relay.chunks:
                    self.took(flight)
                    await passed.chunk(relay, chunk)
                    flight.beat()
                await passed.begin(relay)
        except FleetError as error:
            failed = error
        except asyncio.CancelledError:
            failed = flight.reason()
        finally:
            self.flights.land(flight)
        flight.outcome = failed.code if failed else "ok"
        await passed.end(failed)


@dataclass
class _Passed:
    """What has gone out of one answer."""

    send: Send
    has_begun: bool = False
    is_stream: bool = False
    tail: bytes = b""

    async def begin(self, relay: Relay) -> None:
        if not self.has_begun:
            self.has_begun = True
            self.is_stream = relay.headers.get("content-type", "").startswith(CONTENT_TYPE)
            headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in relay.headers.items()]
            await _start(self.send, relay.status, headers)

    async def chunk(self, relay: Relay, chunk: bytes) -> None:
        await self.begin(relay)
        self.tail = (self.tail + chunk)[-4:]
        await _body(self.send, chunk)

    async def end(self, failed: FleetError | None) -> None:
        if failed is None:
            await _body(self.send, b"", more=False)
        elif self.has_begun and self.is_stream and (not self.tail or self.tail.endswith(EVENT_ENDS)):
            await _body(self.send, b"data: " + failed.body() + b"\n\n" + DONE, more=False)
        else:
            raise failed


def _ending(flight: Flight, error: FleetError) -> list[Event]:
    flight.outcome = error.code
    if error.code == "CANCELED":
        return [End(tokens_out=flight.tokens, stop_reason="canceled", ms=flight.took_ms())]
    return [error.failure()]


def _metrics(flight: Flight) -> Metrics:
    """Speed is that of the tokens after the first."""
    first_s = (flight.first_at or flight.begun_at) - flight.begun_at
    streamed_s = max(flight.clock() - flight.begun_at - first_s, 1e-6)
    speed = (flight.tokens - 1) / streamed_s if flight.tokens > 1 else 0.0
    return Metrics(tokens_out=flight.tokens, first_token_ms=round(first_s * 1_000), tokens_per_s=round(speed, 1))


async def _start(send: Send, status: int, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _body(send: Send, data: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})
