"""What a hive answers to."""

from __future__ import annotations

from collections.abc import Callable

from penstock import __version__
from penstock.fleet.hive.hive import Hive
from penstock.fleet.hive.log_reading import LogAnswer, Logs
from penstock.fleet.routes import Call, Endpoint
from penstock.fleet.schema import (
    Acknowledged,
    Drained,
    Health,
    HiveReport,
    LogQuery,
    OfferList,
    ReadyCallback,
    Spawned,
    SpawnRequest,
    WorkerList,
)

SPAWN_ERRORS = (
    "MODEL_NOT_FOUND",
    "PORT_TAKEN",
    "PORTS_EXHAUSTED",
    "WORKERS_EXHAUSTED",
    "INSUFFICIENT_MEMORY",
    "BACKEND_UNAVAILABLE",
    "MODEL_FAILING",
    "DRAINING",
    "GONE",
    "START_FAILED",
    "LOAD_FAILED",
    "LOADING_TIMEOUT",
    "WORKER_HUNG",
)
WORKER_ID = {"id": "The worker's."}


class Answers:
    """`report`: as the queen gets it. `drain`: begins the end of the hive."""

    def __init__(self, hive: Hive, report: Callable[[], HiveReport], drain: Callable[[], None]) -> None:
        self._hive, self._report, self._drain = hive, report, drain
        self.logs = Logs(hive.roster, hive.log_of)

    def endpoints(self) -> list[Endpoint]:
        """All of them."""
        return [
            Endpoint("GET", "/v1/health", "That it is alive.", self._health, answer=Health, is_open=True),
            Endpoint("GET", "/v1/report", "All that the queen is told.", self._told, answer=HiveReport),
            Endpoint("GET", "/v1/models", "What can be loaded here.", self._models, answer=OfferList),
            Endpoint("GET", "/v1/workers/list", "Its workers.", self._list, answer=WorkerList),
            Endpoint(
                "GET",
                "/v1/workers/{id}/logs",
                "What a worker printed, also when it has ended.",
                self._logs,
                query=LogQuery,
                content_type="text/plain; charset=utf-8",
                errors=("UNKNOWN_WORKER", "NOT_OURS", "GONE"),
                parameters=WORKER_ID,
            ),
            Endpoint(
                "POST",
                "/v1/workers/spawn",
                "One more worker.",
                self._spawn,
                body=SpawnRequest,
                answer=Spawned,
                errors=SPAWN_ERRORS,
            ),
            Endpoint(
                "POST",
                "/v1/workers/ready",
                "A worker says that it can be reached, has loaded, or has failed.",
                self._ready,
                body=ReadyCallback,
                answer=Acknowledged,
                errors=("FORGED", "GONE"),
            ),
            Endpoint(
                "DELETE",
                "/v1/workers/{id}",
                "Drain a worker, and end it. 204 when it has ended, or soon will have.",
                self._end,
                status=204,
                errors=("UNKNOWN_WORKER", "NOT_OURS"),
                parameters=WORKER_ID,
            ),
            Endpoint("POST", "/v1/drain", "End all workers, and the hive.", self._drained, answer=Drained),
        ]

    async def _health(self, call: Call) -> Health:
        state = "draining" if self._hive.is_draining else "ready"
        return Health(status="ok", state=state, version=__version__)

    async def _told(self, call: Call) -> HiveReport:
        return self._report()

    async def _models(self, call: Call) -> OfferList:
        return OfferList(offers=self._hive.offers())

    async def _list(self, call: Call) -> WorkerList:
        return WorkerList(workers=self._hive.infos())

    async def _logs(self, call: Call) -> LogAnswer:
        return self.logs.answer(call.path["id"], call.query)

    async def _spawn(self, call: Call) -> Spawned:
        return await self._hive.spawn(call.body)

    async def _ready(self, call: Call) -> Acknowledged:
        return self._hive.hear(call.body)

    async def _end(self, call: Call) -> None:
        await self._hive.end(call.path["id"])

    async def _drained(self, call: Call) -> Drained:
        self._drain()
        live = len(self._hive.roster.live())
        return Drained(state="draining" if live else "stopped", workers=live)
