"""A worker: what it answers, and how it lives.

    accepts ──► tells its hive ──► loads ──► tells it again ──► serves ──► drains ──► ends with 0
                                     └── failed, then or later: tells its hive, and ends with 1

Its state is not stored: it is read from what has happened. A deadline comes with a request, as `deadline_ms` in the
body of an inference or as the header `x-deadline-ms`; the smaller one counts.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from starlette.types import ASGIApp, Receive, Scope, Send

from penstock import __version__
from penstock.core.fleet.life import SERVING, WorkerState
from penstock.fleet.app import App
from penstock.fleet.deadlines import deadline_of, in_header
from penstock.fleet.errors import FleetError
from penstock.fleet.leaving import unless_gone
from penstock.fleet.logs import Log
from penstock.fleet.measures import Measures
from penstock.fleet.orders import WorkerOrder
from penstock.fleet.routes import Call, Endpoint
from penstock.fleet.schema import (
    API_VERSION,
    ChatRequest,
    End,
    InferenceRequest,
    Progress,
    Ready,
    ReadyCallback,
    WorkerHealth,
)
from penstock.fleet.serving import Server, serve
from penstock.fleet.sse import CONTENT_TYPE, DONE, Event, written
from penstock.fleet.worker.answers import SSE_HEADERS, Passage, Stream
from penstock.fleet.worker.callback import tell_hive
from penstock.fleet.worker.engine import Engine, LoadFailed
from penstock.fleet.worker.flights import RETRY_AFTER_S, Flight, Flights

ENDED_S_MAX = 1.0
"""How long a failed worker waits for its engine to let go of its requests."""
NOW_SERVED = ("NOT_READY", "DRAINING", "WORKER_FAILED", "ALL_SLOTS_BUSY", "DUPLICATE_REQUEST", "MODEL_NOT_FOUND")
FROM_ENGINE = ("BAD_ENGINE_REPLY", "DEADLINE_EXCEEDED", "CANCELED")


class Worker:
    """One model served on one socket. `url`: where it is reached. `reached`: called once it can be."""

    def __init__(
        self, order: WorkerOrder, url: str, log: Log, engine: Engine, reached: Callable[[], None] = lambda: None
    ) -> None:
        self._order, self._url, self._log, self._engine = order, url, log, engine
        self._reached = reached
        self._flights = Flights(order.model.slots, order.policy.ended_kept_ms)
        self._accepts = self._has_loaded = self._is_draining = self._has_stopped = False
        self._failure = ""
        self._progress = Progress(phase="loading")
        self._changed = asyncio.Event()
        self._began = time.monotonic()
        self._load_ms = 0
        self._telling = asyncio.Lock()
        self._told: WorkerState | None = None
        self._measures = Measures("worker")
        self._first = self._measures.histogram("first_token_seconds", "Time from a request to its first token.")
        self._measures.reading("slots", "Requests that it serves at once.", lambda: order.model.slots)
        self._measures.reading("busy", "Slots that are taken.", lambda: self._flights.busy)
        self._measures.reading("tokens", "Tokens made since the start.", lambda: self._flights.tokens_total)
        app = App("Penstock worker", self.endpoints(), log, self._measures, order.token)
        self._server = Server(app, self._accepting, self._drain, cut=self._cut)

    @property
    def state(self) -> WorkerState:
        """Where it is in its life."""
        if self._failure:
            return "failed"
        if self._has_stopped:
            return "stopped"
        if self._is_draining:
            return "draining"
        if not self._has_loaded:
            return "loading" if self._accepts else "starting"
        return "busy" if self._flights.busy else "idle"

    async def run(self, listening: socket.socket) -> int:
        """Serve until it is drained (0), its engine fails or its hive does not want it (1)."""
        living = asyncio.ensure_future(self._live())
        living.add_done_callback(self._lived)
        try:
            await serve(self._server, listening)
        finally:
            self._has_stopped = True
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
            await self._engine.close()
        self._log.info("ended", state=self.state, tokens=self._flights.tokens_total)
        return 1 if self._failure else 0

    # --- its life ---------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        try:
            await self._engine.load(self._loading)
        except LoadFailed as error:
            self._log.error("load failed", message=error.message, log=list(error.log))
            await self._fail("\n".join([error.message, *error.log]))
            return
        self._load_ms = round((time.monotonic() - self._began) * 1_000)
        self._has_loaded = True
        self._flights.rest()
        self._turn()
        self._log.info("loaded", model=self._order.model.name, ms=self._load_ms)
        await self._tell()
        await self._fail(await self._engine.died())

    def _lived(self, living: asyncio.Future[None]) -> None:
        if not living.cancelled() and (error := living.exception()) is not None:
            self._log.error("the engine broke", error=repr(error))
            self._failure = self._failure or "the engine broke: see the log of the worker"
            self._server.should_exit = True

    def _loading(self, progress: Progress) -> None:
        self._progress = progress
        self._turn()

    def _turn(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _accepting(self) -> None:
        self._accepts = True
        self._reached()
        await self._tell()

    async def _fail(self, message: str) -> None:
        self._failure = message
        self._turn()
        self._log.error("failed", message=message)
        self._flights.end_all(FleetError("WORKER_FAILED", "the engine failed"))
        try:
            await asyncio.wait_for(self._flights.empty(), ENDED_S_MAX)
        except TimeoutError:
            self._log.warning("the engine does not let go")
        await self._tell()
        self._server.should_exit = True

    async def _drain(self) -> None:
        self._is_draining = True
        self._log.info("drains", active=self._flights.busy)
        try:
            await asyncio.wait_for(self._flights.answered(), self._order.policy.drain_ms_max / 1_000)
        except TimeoutError:
            self._flights.end_all(FleetError("DRAINING", "the worker ends"))
            await self._flights.empty()

    async def _cut(self) -> None:
        """Who is still served is told, and the engine stops."""
        self._is_draining = True
        self._flights.end_all(FleetError("DRAINING", "the worker ends", retry_after_s=RETRY_AFTER_S))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._flights.answered(), ENDED_S_MAX)

    async def _tell(self) -> None:
        """Tell the hive what is new, one thing after the other."""
        if not self._order.hive_url or not self._accepts:
            return
        async with self._telling:
            state: WorkerState = "failed" if self._failure else "idle" if self._has_loaded else "loading"
            if state == self._told or self._is_draining:
                return
            heard = await tell_hive(self._order.hive_url, self._order.token, self._callback(state), self._order.policy)
            if heard == "heard":
                self._told = state
                return
        self._log.error("the hive was not told", hive=self._order.hive_url, how=heard, state=state)
        if heard == "unwanted" or self._told is None:
            self._failure = self._failure or f"the hive does not know this worker: its callback is {heard}"
            self._server.should_exit = True

    def _callback(self, state: WorkerState) -> ReadyCallback:
        assert state in ("loading", "idle", "failed")
        model = self._order.model
        return ReadyCallback(
            worker_id=self._order.worker_id,
            url=self._url,
            model_ref=model.name,
            backend=model.backend,
            device=model.device,
            slots=model.slots,
            pid=os.getpid(),
            nonce=self._order.nonce,
            state=state,
            message=self._failure[:4_096],
        )

    # --- what it answers --------------------------------------------------------------------------------------------

    def endpoints(self) -> Sequence[Endpoint]:
        """All of them."""
        return (
            Endpoint("GET", "/v1/health", "It is alive.", self._health, answer=WorkerHealth, is_open=True),
            Endpoint("GET", "/v1/ready", "Whether it would serve now.", self._ready, answer=Ready, is_open=True),
            Endpoint(
                "GET",
                "/v1/loading/progress",
                "How far loading is, as events: `progress`, then `end` or `error`.",
                self._loading_progress,
                content_type=CONTENT_TYPE,
                is_open=True,
            ),
            Endpoint(
                "POST",
                "/v1/inference",
                "Continue a prompt, as events: `started`, `token`, `metrics`, then `end` or `error`.",
                self._inference,
                body=InferenceRequest,
                content_type=CONTENT_TYPE,
                errors=NOW_SERVED,
                heading=in_header,
            ),
            Endpoint(
                "POST",
                "/v1/chat/completions",
                "OpenAI's chat completion, as the engine gives it.",
                self._chat,
                body=ChatRequest,
                errors=(*NOW_SERVED, *FROM_ENGINE),
                keeps_unknown=True,
                may_stream=True,
                heading=in_header,
            ),
            Endpoint(
                "DELETE",
                "/v1/inference/{request_id}",
                "Stop a request; answered when its engine has stopped. One that ended lately is no error.",
                self._cancel,
                status=204,
                errors=("UNKNOWN_REQUEST",),
                parameters={"request_id": "The `request_id` of `started`."},
            ),
        )

    async def _health(self, call: Call) -> WorkerHealth:
        return WorkerHealth(
            status="degraded" if self._failure else "ok",
            state=self.state,
            version=__version__,
            api_version=API_VERSION,
            worker_id=self._order.worker_id,
            model=self._order.model.name,
            slots=self._flights.slots,
            busy=self._flights.busy,
            tokens_total=self._flights.tokens_total,
            stalled_ms=self._flights.stalled_ms(),
            idle_ms=self._flights.idle_ms() if self._has_loaded else 0,
        )

    async def _ready(self, call: Call) -> Ready:
        return Ready(
            ready=self.state in SERVING and self._flights.busy < self._flights.slots,
            state=self.state,
            model_loaded=self._has_loaded,
            progress_url=f"{self._url}/v1/loading/progress",
        )

    async def _loading_progress(self, call: Call) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await unless_gone(asyncio.ensure_future(self._tell_progress(send)), receive)

        return app

    async def _tell_progress(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": SSE_HEADERS})
        told: Progress | None = None
        while not self._failure and not self._has_loaded:
            changed = self._changed
            if self._progress is not told:
                told = self._progress
                await send({"type": "http.response.body", "body": written(told), "more_body": True})
            await changed.wait()
        last = written(self._loaded()) + DONE
        await send({"type": "http.response.body", "body": last, "more_body": False})

    def _loaded(self) -> Event:
        if self._failure:
            return FleetError("LOAD_FAILED", self._failure).failure()
        return End(tokens_out=0, stop_reason="stop", ms=self._load_ms)

    async def _inference(self, call: Call) -> ASGIApp:
        asked: InferenceRequest = call.body
        self._refuse(asked.model)
        deadline_ms = deadline_of(call.headers, asked.deadline_ms)
        first = self._first.observe
        return Stream(self._engine, self._flights, call.request_id, deadline_ms, first, self._note_end, asked)

    async def _chat(self, call: Call) -> ASGIApp:
        self._refuse(call.body.model)
        first = self._first.observe
        deadline_ms = deadline_of(call.headers)
        return Passage(self._engine, self._flights, call.request_id, deadline_ms, first, self._note_end, call)

    def _note_end(self, flight: Flight) -> None:
        self._log.inference(
            flight.request_id,
            model=self._order.model.name,
            worker=self._order.worker_id,
            status=flight.outcome,
            tokens=flight.tokens,
            ms=flight.took_ms(),
        )

    async def _cancel(self, call: Call) -> None:
        if not await self._flights.cancel(call.path["request_id"]):
            raise FleetError("UNKNOWN_REQUEST", "no request with this id is under way, or ended lately")

    def _refuse(self, model: str) -> None:
        """Raise `FleetError` where no request can be taken, slots aside."""
        if self._failure:
            raise FleetError("WORKER_FAILED", "the model has failed")
        if self._is_draining:
            raise FleetError("DRAINING", "the worker ends", retry_after_s=RETRY_AFTER_S)
        if not self._has_loaded:
            details = {"progress_url": f"{self._url}/v1/loading/progress"}
            raise FleetError("NOT_READY", "the model is loading", details, RETRY_AFTER_S)
        if model not in ("", self._order.model.name):
            raise FleetError("MODEL_NOT_FOUND", "this worker serves another model")
