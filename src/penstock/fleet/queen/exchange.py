"""One request through the queen: refused, queued, given to a worker, passed on, ended; in that order, and once.

    enter ─► placed ─► answered ─► first token ─► the rest ─► end
               ▲          └────┬────────┘           │
               └─ given again ─┘                    └─► error event, never a silent replay

Until the first token of a worker nothing of it was seen, so that the request can be given to another. `/v1/inference`
answers at once and says what it waits for; OpenAI's surface holds the status back until the first token, so that what
fails before it is a status. Whoever ends the request early (the client leaves, a cancel, the deadline) cancels one
coroutine: its connection is closed and the worker is told as well, as a close may be noticed late; its slot is given
to the next one when the worker has answered that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.types import Receive, Scope, Send

from penstock.core.fleet.parties import Assign
from penstock.core.fleet.policy import QueenPolicy
from penstock.fleet.calling import Unreachable, unless_gone
from penstock.fleet.errors import FleetError, heard
from penstock.fleet.logs import Log
from penstock.fleet.queen.counts import Counts
from penstock.fleet.queen.dialects import Cutter, Dialect, Ours, events_of, is_done
from penstock.fleet.queen.dispatching import Dispatcher, Waiting
from penstock.fleet.queen.upstream import Ask, Connection, Upstreams
from penstock.fleet.sse import HEADERS, TooLong, written

STOP_S_MAX = 2.0
"""For a worker to answer that it has stopped."""
LAST_S_MAX = 1.0
"""For the last bytes after `[DONE]`, and for the last events of a stream that was cancelled."""
FAILING_S_MAX = 5.0
"""For a client to take the last events of a stream that failed."""
ANSWER_BYTES_MAX = 67_108_864
"""Of an answer that is no stream."""
FULL_CODES = ("ALL_SLOTS_BUSY", "NOT_READY", "DRAINING")
"""A worker that answers so has done nothing with the request."""
AGAIN_CODES = (*FULL_CODES, "WORKER_FAILED", "WORKER_CRASHED", "WORKER_HUNG", "LOAD_FAILED", "LOADING_TIMEOUT")


@dataclass(frozen=True)
class Wanted:
    """A request as it came. `body`: as it is passed on, unchanged. `deadline_s`: of the loop's clock."""

    id: str
    model: str
    body: bytes
    is_stream: bool
    dialect: Dialect
    arrived_s: float
    deadline_s: float


@dataclass(frozen=True)
class Floor:
    """What all exchanges share."""

    dispatcher: Dispatcher
    upstreams: Upstreams
    counts: Counts
    log: Log
    policy: QueenPolicy


@dataclass
class AsAnswered(FleetError):
    """What a worker answered, to be passed on as it came."""

    answered: int = 502
    raw: bytes = b""
    told: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """Of HTTP."""
        return self.answered

    def body(self) -> bytes:
        """As it came."""
        return self.raw

    def headers(self) -> dict[str, str]:
        """As they came."""
        return {name: self.told[name] for name in ("retry-after",) if name in self.told}


class Exchange:
    """An ASGI application that answers one request."""

    def __init__(self, floor: Floor, wanted: Wanted) -> None:
        self._floor, self._wanted = floor, wanted
        self._waiting: Waiting = floor.dispatcher.enter(wanted.id, wanted.model, int(wanted.deadline_s * 1_000), self)
        self._place: Assign | None = None
        """The worker that has it, and may still work for it."""
        self._connection: Connection | None = None
        self._work: asyncio.Task[None] | None = None
        self._has_status = False
        self._has_token = False
        self._is_served = False
        self._is_canceled = False
        self._is_hung = False
        self._worker, self._tokens = "", 0
        """The last worker that had it, and what came of it; of an answer that is no stream, nobody counts."""
        self._cut: FleetError | None = None
        """Why it is ended, whatever its worker does."""
        self._before_last = b""
        """What was passed on before the last bytes: `[DONE]` may come after the event that says how it ended."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it. Raises `FleetError` where no status was sent yet."""
        self._send = send
        self._work = asyncio.ensure_future(self._run())
        await unless_gone(self._work, receive)

    # --- for the dispatcher -----------------------------------------------------------------------------------------

    def lost(self) -> None:
        """See `Flight`. What streams already is decided by its own connection."""
        if self._connection is not None and not self._has_token:
            self._connection.abort("its worker is gone")

    async def cancel(self) -> None:
        """See `Flight`. A worker that streams ends the stream itself, with its own last event."""
        self._is_canceled = True
        if self._work is None:
            return
        if self._has_token and self._place is not None:
            await self._stopped(self._place)
            await asyncio.wait((self._work,), timeout=LAST_S_MAX)
        self._work.cancel()
        await asyncio.wait((self._work,), timeout=LAST_S_MAX)

    async def cut(self, error: FleetError) -> None:
        """See `Flight`."""
        self._cut = error
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait((self._work,), timeout=LAST_S_MAX)

    # --- from beginning to end --------------------------------------------------------------------------------------

    async def _run(self) -> None:
        outcome, error = "CANCELED", None
        try:
            error = await self._carried_or_failed()
            outcome = "CANCELED" if self._is_canceled else error.code if error else "ok"
        finally:
            self._leave(outcome)
        if error is not None:
            await self._fail(error)

    async def _carried_or_failed(self) -> FleetError | None:
        try:
            if self._cut is not None or self._is_canceled:
                raise self._cut or _canceled()
            async with asyncio.timeout_at(self._wanted.deadline_s):
                return await self._carry()
        except TimeoutError:
            return FleetError("DEADLINE_EXCEEDED", "the request took longer than it may")
        except FleetError as error:
            return error
        except asyncio.CancelledError:
            if self._cut is None and not self._is_canceled:
                raise  # the client has left: there is nobody to tell
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
            return self._cut or _canceled()

    async def _carry(self) -> FleetError | None:
        """Until it was served. The failure, where the worker itself has told the client of it."""
        if self._wanted.is_stream and isinstance(self._wanted.dialect, Ours):
            await self._begin(200, HEADERS)
            await self._put(self._wanted.dialect.started(self._wanted.id))
        while True:
            self._place = place = await self._placed()
            self._worker = place.worker
            try:
                return await self._passed_on(place)
            except Unreachable as gone:
                if self._is_canceled:
                    raise _canceled() from None
                error = self._crashed(place, str(gone))
            except TooLong:
                error = FleetError("BAD_ENGINE_REPLY", "the engine sent an event that has no end")
            except FleetError as told:
                error, self._place = told, None
            self._give_again(error)

    def _crashed(self, place: Assign, said: str) -> FleetError:
        self._floor.dispatcher.suspect(place.worker)
        self._floor.log.warning("worker failed", worker=place.worker, request_id=self._wanted.id, error=said)
        if not self._is_hung:
            self._place = None
        if self._has_token:
            code, told = ("WORKER_HUNG", "made") if self._is_hung else ("WORKER_CRASHED", "died")
            rest = "nothing for too long" if self._is_hung else "in mid-stream"
            return FleetError(code, f"the worker {told} {rest}: what came so far is not whole")
        return FleetError("WORKER_FAILED", "the worker failed before it made anything", retry_after_s=1)

    def _give_again(self, error: FleetError) -> None:
        """Let it wait for another worker. Raises `error` where that must not be, or cannot be any more."""
        if self._has_token or error.code not in AGAIN_CODES:
            raise error
        was_full = error.code in FULL_CODES
        self._place = None
        if not self._floor.dispatcher.again(self._waiting, was_full=was_full):
            raise error
        if not was_full:
            self._floor.counts.retried(self._wanted.model)

    def _leave(self, outcome: str) -> None:
        """Free the slot, once the worker has stopped."""
        stopping = None
        if self._place is not None and not self._is_served:
            stopping = self._stopped(self._place)
        elif self._is_served and self._connection is not None and not self._connection.is_whole:
            stopping = self._ended(self._connection)
        self._floor.dispatcher.leave(self._waiting, served=self._is_served, stopping=stopping)
        self._note(outcome)

    def _note(self, outcome: str) -> None:
        self._floor.counts.ended(self._wanted.model, outcome)
        self._floor.log.inference(
            self._wanted.id,
            model=self._wanted.model,
            worker=self._worker,
            status=outcome,
            tokens=self._tokens if self._wanted.is_stream else None,
            ms=round(self._since_s() * 1_000),
        )

    async def _stopped(self, place: Assign) -> None:
        """Have the worker stop, and wait until it says so."""
        ask = Ask(place.url, "DELETE", f"/v1/inference/{self._wanted.id}")
        with suppress(Unreachable, TimeoutError):
            async with asyncio.timeout(STOP_S_MAX):
                connection = await self._floor.upstreams.answered(ask)
                with suppress(Unreachable):
                    while await connection.read():
                        pass
                self._floor.upstreams.give_back(place.url, connection)

    async def _ended(self, connection: Connection) -> None:
        """Wait for the end of the answer: then the worker has no more to do with it, and the connection is kept."""
        place = self._place
        with suppress(Unreachable, TimeoutError):
            async with asyncio.timeout(LAST_S_MAX):
                while await connection.read():
                    pass
        if place is not None:
            self._floor.upstreams.give_back(place.url, connection)

    # --- waiting ----------------------------------------------------------------------------------------------------

    async def _placed(self) -> Assign:
        """Wait for a worker. Raises `FleetError`."""
        waiting = self._waiting
        tells = self._wanted.is_stream and isinstance(self._wanted.dialect, Ours)
        while tells and not waiting.place.done():
            waiting.news.clear()
            await self._put(written(self._floor.dispatcher.progress(waiting)))
            news = asyncio.ensure_future(waiting.news.wait())
            try:
                await asyncio.wait((waiting.place, news), return_when=asyncio.FIRST_COMPLETED)
            finally:
                news.cancel()
        return await waiting.place

    # --- passing on -------------------------------------------------------------------------------------------------

    async def _passed_on(self, place: Assign) -> FleetError | None:
        wanted = self._wanted
        headers = {"content-type": "application/json", "x-request-id": wanted.id}
        ask = Ask(place.url, "POST", wanted.dialect.path, headers, wanted.body)
        connection = await self._floor.upstreams.answered(ask, self._use)
        try:
            if connection.status != 200:
                raise await self._refusal(connection)
            if wanted.is_stream:
                return await self._stream(connection)
            return await self._whole(connection)
        finally:
            if not self._is_served or connection.is_whole:
                self._floor.upstreams.give_back(place.url, connection)

    def _use(self, connection: Connection) -> None:
        self._connection = connection

    async def _refusal(self, connection: Connection) -> FleetError:
        raw = await self._all(connection)
        told = heard(connection.status, raw, connection.headers.get("retry-after", ""))
        if told.code in AGAIN_CODES or isinstance(self._wanted.dialect, Ours):
            return told
        return AsAnswered(told.code, told.message, answered=connection.status, raw=raw, told=connection.headers)

    async def _all(self, connection: Connection) -> bytes:
        data = bytearray()
        while chunk := await connection.read():
            data += chunk
            if len(data) > ANSWER_BYTES_MAX:
                raise FleetError("BAD_ENGINE_REPLY", "the engine's answer has no end")
        return bytes(data)

    async def _whole(self, connection: Connection) -> FleetError | None:
        """An answer that is no stream."""
        raw = await self._all(connection)
        self._is_served = self._has_token = True
        self._floor.counts.first_token(self._wanted.model, self._since_s())
        kind = connection.headers.get("content-type", "application/json")
        await self._begin(200, {"content-type": kind, "content-length": str(len(raw))})
        await self._put(raw, is_last=True)
        return None

    async def _stream(self, connection: Connection) -> FleetError | None:
        cutter = Cutter()
        whole = await self._until_first(connection, cutter)
        self._has_token = True
        self._floor.counts.first_token(self._wanted.model, self._since_s())
        if not self._has_status:
            kind = connection.headers.get("content-type", HEADERS["content-type"])
            await self._begin(200, HEADERS | {"content-type": kind})
        watch = _Watch(connection, self._floor.policy.silence_ms_max / 1_000, self)
        try:
            last = await self._rest(connection, cutter, whole)
        finally:
            watch.close()
        self._is_served = True
        await self._put(last, is_last=True)
        return self._told_in(self._before_last + last)

    async def _until_first(self, connection: Connection, cutter: Cutter) -> bytes:
        """Everything from the first token on that came with it. Raises `FleetError`, `Unreachable`, `TooLong`."""
        held = b""
        while data := await connection.read():
            events = events_of(cutter.feed(data))
            for number, event in enumerate(events):
                match self._wanted.dialect.judge(event):
                    case "token":
                        return held + b"".join(events[number:])
                    case "pass":
                        await self._put(event)
                    case "hold":
                        held += event
                    case "drop":
                        pass
        raise Unreachable("ended before the first token")

    async def _rest(self, connection: Connection, cutter: Cutter, whole: bytes) -> bytes:
        """Pass on what comes before the last bytes, which end with `[DONE]`; give those."""
        count = self._wanted.dialect.tokens
        try:
            while True:
                self._tokens += count(whole)
                if is_done(whole):
                    return whole
                await self._put(whole)
                self._before_last = whole
                if not (data := await connection.read()):
                    raise Unreachable("ended without a last event")
                whole = cutter.feed(data)
                while not whole and (data := await connection.read()):
                    whole = cutter.feed(data)
        finally:
            self._floor.counts.tokens(self._wanted.model, self._tokens)

    def _told_in(self, last: bytes) -> FleetError | None:
        code = self._wanted.dialect.error_in(last)
        return _Told(code, "told by the worker") if code else None

    # --- to the client ----------------------------------------------------------------------------------------------

    async def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        told = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        self._has_status = True
        await self._send({"type": "http.response.start", "status": status, "headers": told})

    async def _put(self, data: bytes, *, is_last: bool = False) -> None:
        """Waits where the client reads slowly: then we do not read on either."""
        await self._send({"type": "http.response.body", "body": data, "more_body": not is_last})

    async def _fail(self, error: FleetError) -> None:
        if isinstance(error, _Told):
            return
        if not self._has_status:
            raise error
        dialect, ms = self._wanted.dialect, int(self._since_s() * 1_000)
        last = dialect.canceled(error, ms) if error.code == "CANCELED" else dialect.failed(error)
        try:
            async with asyncio.timeout(FAILING_S_MAX):
                await self._put(last, is_last=True)
        except TimeoutError:
            raise ConnectionError("the client does not read") from None

    def _since_s(self) -> float:
        return asyncio.get_running_loop().time() - self._wanted.arrived_s

    def hung(self) -> None:
        """The worker made nothing for too long."""
        self._is_hung = True


class _Told(FleetError):
    """The client has been told already."""


class _Watch:
    """Breaks a connection off on which nothing comes."""

    def __init__(self, connection: Connection, silence_s_max: float, exchange: Exchange) -> None:
        self._connection, self._silence_s_max, self._exchange = connection, silence_s_max, exchange
        self._timer = asyncio.get_running_loop().call_later(silence_s_max, self._look)

    def _look(self) -> None:
        left_s = self._silence_s_max - self._connection.silent_s()
        if left_s <= 0:
            self._exchange.hung()
            self._connection.abort("made nothing for too long")
            return
        self._timer = asyncio.get_running_loop().call_later(max(left_s, 0.01), self._look)

    def close(self) -> None:
        """Look no more."""
        self._timer.cancel()


def _canceled() -> FleetError:
    return FleetError("CANCELED", "the request was cancelled")
