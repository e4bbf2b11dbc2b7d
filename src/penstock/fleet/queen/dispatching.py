"""The async shell round `Routing`: hands out what it decides, and tells it what happens.

Everything here runs on one event loop; between two awaits nobody else changes the routing. After every fact `poke`
asks what is owed. While somebody waits, a timer asks as well: patience, backoff and holds end without any fact.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from penstock.core.fleet.ledger import Phase
from penstock.core.fleet.parties import Assign, Evict, Refuse, Spawn
from penstock.core.fleet.policy import WorkerPolicy
from penstock.core.fleet.routing import Routing
from penstock.fleet.errors import FleetError
from penstock.fleet.logs import Log
from penstock.fleet.schema import Progress

TICK_S = 0.05
ENDED_MAX = 100_000
"""Ids of ended requests that are remembered at most."""
ENDED_KEPT_MS = WorkerPolicy().ended_kept_ms


class HiveCalls(Protocol):
    """What is asked of hives."""

    async def spawn(self, hive: str, model: str) -> None:
        """Order a worker, and tell the routing how that went."""

    async def evict(self, hive: str, worker: str) -> None:
        """End a worker, and tell the routing where that failed."""


class Flight(Protocol):
    """A request under way."""

    def lost(self) -> None:
        """Its worker is gone, or out of reach."""

    async def cancel(self) -> None:
        """Somebody with its id wants it ended; returns when that is done."""

    async def cut(self, error: FleetError) -> None:
        """The queen ends, at once; returns when the client was told `error`."""


@dataclass
class Waiting:
    """A request, as its flight sees it."""

    id: str
    model: str
    flight: Flight
    place: asyncio.Future[Assign]
    phase: Phase = "queued"
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """The phase is another."""


def now_ms() -> int:
    """Of the loop's clock."""
    return int(asyncio.get_running_loop().time() * 1_000)


class Dispatcher:
    """Owns the routing."""

    def __init__(self, routing: Routing, calls: HiveCalls, log: Log) -> None:
        self.routing = routing
        self._calls, self._log = calls, log
        self._flying: dict[str, Waiting] = {}
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._deeds: set[asyncio.Task[None]] = set()
        self._phases: dict[str, Phase] = {}
        self._loading: dict[str, Progress] = {}
        self._tick: asyncio.TimerHandle | None = None
        self._is_over = asyncio.Event()
        self._is_over.set()

    def enter(self, request: str, model: str, deadline_ms: int, flight: Flight) -> Waiting:
        """A request arrives. Raises `FleetError` where it is refused at once."""
        if request in self._flying or request in self.routing.asked:
            raise FleetError("DUPLICATE_REQUEST", "a request with this id is under way", {"request_id": request})
        if (refused := self.routing.arrive(request, model, now_ms(), deadline_ms)) is not None:
            raise error_of(refused)
        place: asyncio.Future[Assign] = asyncio.get_running_loop().create_future()
        waiting = self._flying[request] = Waiting(request, model, flight, place)
        self._is_over.clear()
        self.poke()
        self._tell(request, self.routing.phase(model))
        return waiting

    def again(self, waiting: Waiting, *, was_full: bool) -> bool:
        """Its worker cannot serve it, and nothing was sent. False: no other try is left."""
        waiting.place = asyncio.get_running_loop().create_future()
        if was_full:
            self.routing.bounced(waiting.id, now_ms())
        elif not self.routing.retry(waiting.id, now_ms()):
            return False
        self.poke()
        return True

    def leave(self, waiting: Waiting, *, served: bool, stopping: Coroutine[Any, Any, None] | None = None) -> None:
        """It has ended for its client. `stopping`: what has to be done before its slot is free."""
        self._flying.pop(waiting.id, None)
        self._ended[waiting.id] = now_ms()
        while len(self._ended) > ENDED_MAX:
            self._ended.popitem(last=False)
        if not waiting.place.cancel() and not waiting.place.cancelled():
            waiting.place.exception()  # is heard, if by nobody else
        if stopping is None:
            self._end(waiting.id, served)
        else:
            self.do(self._end_after(waiting.id, served, stopping))

    async def cancel(self, request: str) -> None:
        """Raises `FleetError` where it is not known."""
        if (waiting := self._flying.get(request)) is not None:
            await waiting.flight.cancel()
        elif now_ms() - self._ended.get(request, -ENDED_KEPT_MS - 1) > ENDED_KEPT_MS:
            raise FleetError("UNKNOWN_REQUEST", "no request with this id is under way or ended lately")

    def loads(self, model: str, progress: Progress) -> None:
        """A worker of the model has come so far."""
        if self._loading.get(model) != progress:
            self._loading[model] = progress
            for asked in self.routing.waiting(model):
                self._flying[asked.id].news.set()

    def progress(self, waiting: Waiting) -> Progress:
        """What it waits for, and how far that is."""
        if waiting.phase == "loading" and waiting.model in self._loading:
            return self._loading[waiting.model]
        return Progress(phase=waiting.phase)

    def suspect(self, worker: str) -> None:
        """A worker hung up or does not answer."""
        self.routing.suspect(worker, now_ms())

    def lost(self, requests: set[str]) -> None:
        """The workers of these are gone, or out of reach."""
        for request in sorted(requests):
            if (waiting := self._flying.get(request)) is not None:
                waiting.flight.lost()

    def poke(self) -> None:
        """Do what is owed now."""
        for order in self.routing.owed(now_ms()):
            match order:
                case Assign(request=request):
                    self._settle(request, order, None)
                case Refuse(request=request):
                    self._settle(request, None, error_of(order))
                case Spawn(hive=hive, model=model):
                    self.do(self._calls.spawn(hive, model))
                case Evict(hive=hive, worker=worker):
                    self._log.info("worker makes way", worker=worker, hive=hive)
                    self.do(self._calls.evict(hive, worker))
        self._tell_phases()
        self._arm()

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Have it done beside; it is awaited at the end."""
        deed = asyncio.ensure_future(work)
        self._deeds.add(deed)
        deed.add_done_callback(self._deeds.discard)

    async def over(self) -> None:
        """Wait until nothing is under way."""
        await self._is_over.wait()

    async def cut(self, error: Callable[[], FleetError]) -> None:
        """End what is still under way: who waits and who streams is told `error`."""
        for asked in self.routing.waiting():
            self._settle(asked.id, None, error())
        flights = [waiting.flight for waiting in self._flying.values() if waiting.place.done()]
        await asyncio.gather(*(flight.cut(error()) for flight in flights), return_exceptions=True)

    async def close(self) -> None:
        """Give up what is being done beside."""
        if self._tick is not None:
            self._tick.cancel()
        for deed in list(self._deeds):
            deed.cancel()
        await asyncio.gather(*self._deeds, return_exceptions=True)

    async def _end_after(self, request: str, served: bool, stopping: Coroutine[Any, Any, None]) -> None:
        try:
            await stopping
        finally:
            self._end(request, served)

    def _end(self, request: str, served: bool) -> None:
        self.routing.end(request, now_ms(), served=served)
        if not self.routing.asked:
            self._is_over.set()
        self.poke()

    def _settle(self, request: str, place: Assign | None, error: FleetError | None) -> None:
        waiting = self._flying.get(request)
        if waiting is None or waiting.place.done():
            return  # it has left, and says so to the routing itself
        if place is not None:
            waiting.place.set_result(place)
        elif error is not None:
            waiting.place.set_exception(error)

    def _tell_phases(self) -> None:
        phases = {model: self.routing.phase(model) for model in self.routing.queued()}
        for model, phase in phases.items():
            if self._phases.get(model) != phase:
                for asked in self.routing.waiting(model):
                    self._tell(asked.id, phase)
        self._phases = phases
        self._loading = {model: self._loading[model] for model in phases if model in self._loading}

    def _tell(self, request: str, phase: Phase) -> None:
        waiting = self._flying.get(request)
        if waiting is not None and waiting.phase != phase:
            waiting.phase = phase
            waiting.news.set()

    def _arm(self) -> None:
        if self.routing.queued() and self._tick is None:
            self._tick = asyncio.get_running_loop().call_later(TICK_S, self._ticked)

    def _ticked(self) -> None:
        self._tick = None
        self.poke()


def error_of(refused: Refuse) -> FleetError:
    """A refusal, as what is answered."""
    return FleetError(refused.code, refused.message, refused.details, refused.retry_after_s)
