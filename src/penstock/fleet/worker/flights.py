"""The requests of a worker: who has a slot, who is to be ended, who ended a while ago.

A slot is taken and given back between two awaits, so that its count is exact whatever races. It is free again when the
engine has let go of the request: before the last event reaches a client who may be slow to read it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from penstock.fleet.errors import FleetError

ENDED_MAX = 65_536
RETRY_AFTER_S = 1
Clock = Callable[[], float]


@dataclass(eq=False)
class Flight:
    """One request under way. `owed_since`: when the engine was asked for what comes next; None: the client is slow."""

    request_id: str
    begun_at: float
    clock: Clock
    owed_since: float | None
    task: asyncio.Task[None] | None = None
    is_running: bool = False
    why: FleetError | None = None
    tokens: int = 0
    outcome: str = "CANCELED"
    """`ok`, or a code; where nobody could be told any more, the client has left."""
    first_at: float | None = None
    landed: asyncio.Event = field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None

    def run(self) -> None:
        """Its task has begun. Raises `FleetError` where it was ended before."""
        self.is_running = True
        if self.why is not None:
            raise self.why

    def end(self, why: FleetError) -> None:
        """Stop the engine; the client is told why."""
        if self.why is None and not self.landed.is_set():
            self.why = why
            if self.is_running and self.task is not None:
                self.task.cancel()

    def reason(self) -> FleetError:
        """Why it was ended, in the task that was cancelled. Raises `CancelledError` where it was not us."""
        if self.why is None:
            raise asyncio.CancelledError
        assert self.task is not None
        self.task.uncancel()
        return self.why

    def token(self) -> None:
        """The engine gave one: the client is given it now."""
        self.tokens += 1
        if self.first_at is None:
            self.first_at = self.clock()
        self.owed_since = None

    def beat(self) -> None:
        """The engine works, or is asked for the next."""
        self.owed_since = self.clock()

    def took_ms(self) -> int:
        """Since it came."""
        return round((self.clock() - self.begun_at) * 1_000)


class Flights:
    """All of them. `ended_kept_ms`: how long an id is remembered after its end."""

    def __init__(self, slots: int, ended_kept_ms: int, clock: Clock = time.monotonic) -> None:
        self.slots, self._kept_s, self._clock = slots, ended_kept_ms / 1_000, clock
        self._active: dict[str, Flight] = {}
        self._ended: dict[str, float] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self._unanswered = 0
        self._answered = asyncio.Event()
        self._answered.set()
        self._last_ended = clock()
        self._tokens_before = 0

    @property
    def busy(self) -> int:
        """Slots that are taken."""
        return len(self._active)

    @property
    def tokens_total(self) -> int:
        """Made since the start, for all."""
        return self._tokens_before + sum(flight.tokens for flight in self._active.values())

    def enter(self, request_id: str) -> Flight:
        """Take a slot. Raises `FleetError`: DUPLICATE_REQUEST, ALL_SLOTS_BUSY."""
        if request_id in self._active:
            raise FleetError("DUPLICATE_REQUEST", "a request with this id is under way")
        if len(self._active) >= self.slots:
            details = {"slots_total": self.slots, "slots_available": 0}
            raise FleetError("ALL_SLOTS_BUSY", "every slot is taken", details, RETRY_AFTER_S)
        now = self._clock()
        flight = self._active[request_id] = Flight(request_id, now, self._clock, now)
        self._ended.pop(request_id, None)
        self._empty.clear()
        return flight

    def land(self, flight: Flight) -> None:
        """Give the slot back; once."""
        if flight.landed.is_set():
            return
        del self._active[flight.request_id]
        flight.landed.set()
        if flight.timer is not None:
            flight.timer.cancel()
        self._tokens_before += flight.tokens
        self._last_ended = self._clock()
        self._remember(flight.request_id)
        if not self._active:
            self._empty.set()

    async def cancel(self, request_id: str) -> bool:
        """End one, and return when its engine has stopped; False: it is not known."""
        flight = self._active.get(request_id)
        if flight is None:
            self._forget()
            return request_id in self._ended
        flight.end(FleetError("CANCELED", "it was cancelled by its id"))
        await flight.landed.wait()
        return True

    def end_all(self, why: FleetError) -> None:
        """End every one that is under way."""
        for flight in list(self._active.values()):
            flight.end(why)

    async def empty(self) -> None:
        """Return when no slot is taken."""
        await self._empty.wait()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """While something is left to say to a client, its slot may be free already."""
        self._unanswered += 1
        self._answered.clear()
        try:
            yield
        finally:
            self._unanswered -= 1
            if not self._unanswered:
                self._answered.set()

    async def answered(self) -> None:
        """Return when nobody is to be told anything more."""
        await self._answered.wait()

    def stalled_ms(self) -> int:
        """The longest time that an engine has owed a token."""
        now = self._clock()
        owed = [now - flight.owed_since for flight in self._active.values() if flight.owed_since is not None]
        return round(max(owed, default=0) * 1_000)

    def idle_ms(self) -> int:
        """Since the end of the last request; 0 while one is active."""
        return 0 if self._active else round((self._clock() - self._last_ended) * 1_000)

    def rest(self) -> None:
        """Idleness begins now: the model has been loaded."""
        self._last_ended = self._clock()

    def _remember(self, request_id: str) -> None:
        self._forget()
        self._ended[request_id] = self._clock()
        if len(self._ended) > ENDED_MAX:
            del self._ended[next(iter(self._ended))]

    def _forget(self) -> None:
        """Drop what ended too long ago; the oldest stands first."""
        oldest = self._clock() - self._kept_s
        while self._ended and next(iter(self._ended.values())) < oldest:
            del self._ended[next(iter(self._ended))]
