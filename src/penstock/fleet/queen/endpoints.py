"""What a queen answers to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penstock import __version__
from penstock.core.fleet.names import is_worker
from penstock.core.fleet.routing import Routing
from penstock.fleet.bodies import refuse
from penstock.fleet.deadlines import deadline_of, in_header
from penstock.fleet.errors import FleetError
from penstock.fleet.queen.dialects import Dialect, OpenAi, Ours
from penstock.fleet.queen.exchange import Exchange, Floor, Wanted
from penstock.fleet.queen.hives import Hives
from penstock.fleet.queen.log_passing import LogPassage
from penstock.fleet.routes import Call, Endpoint
from penstock.fleet.schema import (
    ChatRequest,
    Drained,
    FieldProblem,
    Health,
    HiveInfo,
    HiveList,
    HiveReport,
    InferenceRequest,
    LogQuery,
    ModelInfo,
    ModelList,
    Registered,
    Spawned,
    SpawnRequest,
    WorkerInfo,
    WorkerList,
)
from penstock.fleet.versions import refuse_other

INFER_ERRORS = (
    *("MODEL_NOT_FOUND", "DUPLICATE_REQUEST", "QUEUE_FULL", "DRAINING", "NO_HIVE", "MODEL_FAILING"),
    *("INSUFFICIENT_MEMORY", "PORTS_EXHAUSTED", "DEADLINE_EXCEEDED", "WORKER_FAILED"),
)
SPAWN_ERRORS = (
    *("MODEL_NOT_FOUND", "NO_HIVE", "HIVE_UNREACHABLE", "WORKERS_EXHAUSTED", "PORTS_EXHAUSTED", "PORT_TAKEN"),
    *("INSUFFICIENT_MEMORY", "MODEL_FAILING", "START_FAILED", "LOAD_FAILED", "LOADING_TIMEOUT", "DRAINING"),
    *("BACKEND_UNAVAILABLE", "WORKER_HUNG", "GONE"),
    *("NOT_READY", "BACKEND_UNAVAILABLE"),
)
HIVE_ERRORS = ("VERSION_MISMATCH", "FENCED", "HIVE_NAME_TAKEN", "STALE_REPORT", "HIVE_UNREACHABLE")


class Answers:
    """`drain`: begins the end of the queen."""

    def __init__(self, floor: Floor, hives: Hives, drain: Callable[[], None]) -> None:
        self._floor, self._hives, self._drain = floor, hives, drain
        self._ours, self._openai = Ours(), OpenAi()

    def endpoints(self) -> list[Endpoint]:
        """All of them."""
        return [*self._about_requests(), *self._about_hives(), *self._about_workers()]

    def _about_requests(self) -> list[Endpoint]:
        return [
            Endpoint(
                *("POST", "/v1/inference", "Continue a prompt: events, as they come.", self._infer),
                body=InferenceRequest,
                content_type="text/event-stream",
                errors=INFER_ERRORS,
                heading=in_header,
            ),
            Endpoint(
                *("DELETE", "/v1/inference/{id}", "Cancel a request; again is no error.", self._cancel),
                status=204,
                errors=("UNKNOWN_REQUEST",),
                parameters={"id": "The request's."},
            ),
            Endpoint(
                *("POST", "/v1/chat/completions", "OpenAI's chat completions, passed through.", self._chat),
                body=ChatRequest,
                errors=(*INFER_ERRORS, "WORKER_CRASHED", "WORKER_HUNG", "BAD_ENGINE_REPLY", "CANCELED"),
                keeps_unknown=True,
                may_stream=True,
                heading=in_header,
            ),
            Endpoint("GET", "/v1/models", "What can be asked for.", self._models, answer=ModelList),
            Endpoint(
                *("GET", "/v1/models/{model:path}", "One model.", self._model),
                answer=ModelInfo,
                errors=("MODEL_NOT_FOUND",),
                parameters={"model": "Its name."},
            ),
        ]

    def _about_hives(self) -> list[Endpoint]:
        name = {"name": "The hive's."}
        return [
            Endpoint("GET", "/v1/health", "That it is alive.", self._health, answer=Health, is_open=True),
            Endpoint("GET", "/v1/hives", "All hives.", self._hive_list, answer=HiveList),
            Endpoint(
                *("POST", "/v1/hives", "A hive says what it has.", self._heard),
                body=HiveReport,
                answer=Registered,
                errors=HIVE_ERRORS,
                glance=lambda raw: refuse_other(raw, "queen", "hive"),
            ),
            Endpoint(
                *("GET", "/v1/hives/{name}", "One hive.", self._hive),
                answer=HiveInfo,
                errors=("UNKNOWN_HIVE",),
                parameters=name,
            ),
            Endpoint(
                *("DELETE", "/v1/hives/{name}", "Forget a hive, which then ends.", self._forget),
                status=204,
                errors=("UNKNOWN_HIVE",),
                parameters=name,
            ),
            Endpoint("POST", "/v1/drain", "Finish what is under way, and end.", self._drained, answer=Drained),
        ]

    def _about_workers(self) -> list[Endpoint]:
        worker = {"id": "The worker's."}
        return [
            Endpoint("GET", "/v1/workers/list", "Workers of all hives.", self._workers, answer=WorkerList),
            Endpoint(
                *("GET", "/v1/workers/{id}", "One worker.", self._worker),
                answer=WorkerInfo,
                errors=("UNKNOWN_WORKER",),
                parameters=worker,
            ),
            Endpoint(
                *("GET", "/v1/workers/{id}/logs", "What a worker printed, also when it has ended.", self._logs),
                query=LogQuery,
                content_type="text/plain; charset=utf-8",
                errors=("UNKNOWN_WORKER", "NOT_OURS", "GONE", "HIVE_UNREACHABLE"),
                parameters=worker,
            ),
            Endpoint(
                *("POST", "/v1/workers/spawn", "One more worker, where it fits.", self._spawn),
                body=SpawnRequest,
                answer=Spawned,
                errors=SPAWN_ERRORS,
            ),
            Endpoint(
                *("DELETE", "/v1/workers/{id}", "Drain a worker, and end it.", self._end),
                status=204,
                errors=("UNKNOWN_WORKER", "NOT_OURS", "HIVE_UNREACHABLE"),
                parameters=worker,
            ),
        ]

    # --- requests ---------------------------------------------------------------------------------------------------

    async def _infer(self, call: Call) -> Exchange:
        asked: InferenceRequest = call.body
        await self._hives.recalled.wait()
        return self._exchange(call, self._named(asked.model), self._ours, True, asked.deadline_ms)

    async def _chat(self, call: Call) -> Exchange:
        asked: ChatRequest = call.body
        await self._hives.recalled.wait()
        return self._exchange(call, self._named(asked.model), self._openai, asked.stream)

    def _exchange(
        self,
        call: Call,
        model: str,
        dialect: Dialect,
        is_stream: bool,
        given_ms: int | None = None,
    ) -> Exchange:
        now_s = asyncio.get_running_loop().time()
        deadline_ms = deadline_of(call.headers, given_ms) or self._floor.policy.request_deadline_ms
        wanted = Wanted(
            id=call.request_id,
            model=model,
            body=call.raw,
            is_stream=is_stream,
            dialect=dialect,
            arrived_s=now_s,
            deadline_s=now_s + deadline_ms / 1_000,
        )
        try:
            return Exchange(self._floor, wanted)
        except FleetError as error:
            self._floor.counts.ended(model, error.code)
            self._floor.log.inference(call.request_id, model=model, worker="", status=error.code, tokens=0, ms=0)
            raise

    def _named(self, model: str) -> str:
        """The model; the only one, where none was named. Raises `FleetError`."""
        if not model:
            offered = _offered(self._routing)
            if len(offered) == 1:
                return offered[0]
            if offered:
                refuse([FieldProblem(field="model", message="is missing, and there is more than one")])
        return model

    async def _cancel(self, call: Call) -> None:
        await self._floor.dispatcher.cancel(call.path["id"])

    async def _models(self, call: Call) -> ModelList:
        return ModelList(data=tuple(self._shown(model) for model in _offered(self._routing)))

    async def _model(self, call: Call) -> ModelInfo:
        if call.path["model"] not in _offered(self._routing):
            raise FleetError("MODEL_NOT_FOUND", "no hive offers this model")
        return self._shown(call.path["model"])

    def _shown(self, model: str) -> ModelInfo:
        waiting = self._routing.queued().get(model, 0)
        return ModelInfo(id=model, state="loaded" if self._routing.is_loaded(model) else "cold", waiting=waiting)

    @property
    def _routing(self) -> Routing:
        return self._floor.dispatcher.routing

    # --- hives and workers ------------------------------------------------------------------------------------------

    async def _health(self, call: Call) -> Health:
        status = "degraded" if self._hives.is_degraded else "ok"
        state = "draining" if self._routing.is_draining else "ready"
        return Health(status="degraded" if status == "degraded" else "ok", state=state, version=__version__)

    async def _heard(self, call: Call) -> Registered:
        return await self._hives.hear(call.body)

    async def _hive_list(self, call: Call) -> HiveList:
        return HiveList(hives=self._hives.infos())

    async def _hive(self, call: Call) -> HiveInfo:
        for hive in self._hives.infos():
            if hive.name == call.path["name"]:
                return hive
        raise FleetError("UNKNOWN_HIVE", "no hive has this name")

    async def _forget(self, call: Call) -> None:
        self._hives.remove(call.path["name"])

    async def _workers(self, call: Call) -> WorkerList:
        return WorkerList(workers=tuple(self._hives.workers()))

    async def _worker(self, call: Call) -> WorkerInfo:
        return self._hives.worker(call.path["id"])

    async def _spawn(self, call: Call) -> Spawned:
        asked: SpawnRequest = call.body
        model = self._named(asked.model)
        wanted = SpawnRequest(model=model, backend=asked.backend, port=asked.port, wait=asked.wait)
        return await self._hives.spawn_asked(wanted)

    async def _logs(self, call: Call) -> LogPassage:
        worker = call.path["id"]
        if not is_worker(worker):
            raise FleetError("UNKNOWN_WORKER", "this is no id of a worker")
        places = self._hives.log_places(worker)
        return LogPassage(self._floor.upstreams, places, worker, call.query, self._hives.is_heard)

    async def _end(self, call: Call) -> None:
        await self._hives.end(call.path["id"])

    async def _drained(self, call: Call) -> Drained:
        self._drain()
        return Drained(state="draining", workers=len(self._routing.workers))


def _offered(routing: Routing) -> list[str]:
    return sorted({model for hive in routing.hives.values() for model in hive.offers})
