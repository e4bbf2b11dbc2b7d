"""How soon an engine stops, and how soon a client hears that its worker has died."""

from __future__ import annotations

import http.client
import os
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from bench.fleet.figure import Figure
from bench.fleet.world import WAIT_S_MAX, Fleet, body_for, called, fleet, paced, percentile, soon

TIMES = 30
CRASHES = 20
STREAMING, BEFORE = "streaming", "before"


def measure() -> Iterator[Figure]:
    """Cancels, then crashes."""
    scripts = {STREAMING: paced(1_000, 0, 20), BEFORE: paced(4, 600_000, 0)}
    with fleet(scripts, slots=1, workers_max=1) as here:
        for model, name, goal in ((STREAMING, "streaming", 100.0), (BEFORE, "before the first token", 200.0)):
            here.spawn(model)
            left = [_left_ms(here, model) for _ in range(TIMES)]
            yield _figure(f"client leaves, to engine stopped, {name}", left, goal)
            named = [_cancelled_ms(here, model) for _ in range(TIMES)]
            yield _figure(f"cancel by id, to engine stopped, {name}", named, goal)
        yield _figure("cancel by id, queued", [_queued_ms(here) for _ in range(TIMES)], 20.0)
        yield _figure("worker killed, to the client's error event", [_crash_ms(here) for _ in range(CRASHES)], 250.0)


def _figure(name: str, took: list[float], goal: float) -> Figure:
    note = f"p50 {statistics.median(took):.1f} ms, {len(took)} times"
    return Figure(f"{name}, p95", percentile(took, 95), "ms", goal, note=note)


def _left_ms(here: Fleet, model: str) -> float:
    with _asked(here, model):
        worker = _busy(here, model)
        begun = time.perf_counter()
    soon(lambda: not called(worker, "GET", "/v1/health")["busy"])
    return (time.perf_counter() - begun) * 1_000


def _cancelled_ms(here: Fleet, model: str) -> float:
    with _asked(here, model) as request:
        worker = _busy(here, model)
        begun = time.perf_counter()
        called(here.queen, "DELETE", f"/v1/inference/{request.id}")
        soon(lambda: not called(worker, "GET", "/v1/health")["busy"])
        return (time.perf_counter() - begun) * 1_000


def _queued_ms(here: Fleet) -> float:
    """All slots are taken; where `_waiting` is 0 it waits no more."""
    with _asked(here, BEFORE):
        _busy(here, BEFORE)
        before = _waiting(here)
        with _asked(here, BEFORE) as request:
            soon(lambda: _waiting(here) > before)
            begun = time.perf_counter()
            called(here.queen, "DELETE", f"/v1/inference/{request.id}")
            assert _waiting(here) == before
            took = (time.perf_counter() - begun) * 1_000
    soon(lambda: not called(here.workers(BEFORE)[0]["url"], "GET", "/v1/health")["busy"])
    return took


def _crash_ms(here: Fleet) -> float:
    """From the signal to the event, with a worker of its own."""
    soon(lambda: not called(_url(here, STREAMING), "GET", "/v1/health")["busy"])
    (worker,) = here.workers(STREAMING)
    with _asked(here, STREAMING) as request:
        answer = request.answer()
        while b"tok" not in answer.readline():
            pass
        begun = time.perf_counter()
        os.kill(worker["pid"], signal.SIGKILL)
        while b'data: {"error"' not in (line := answer.readline()):
            assert line, "it ended without an error"
        took = (time.perf_counter() - begun) * 1_000
    soon(lambda: not here.workers(STREAMING))
    here.spawn(STREAMING)
    return took


class _Request:
    def __init__(self, connection: http.client.HTTPConnection, request_id: str) -> None:
        self.id, self._connection = request_id, connection

    def answer(self) -> http.client.HTTPResponse:
        return self._connection.getresponse()


@contextmanager
def _asked(here: Fleet, model: str) -> Iterator[_Request]:
    """A request under way; at the end its client leaves."""
    connection = http.client.HTTPConnection(urlsplit(here.queen).netloc, timeout=WAIT_S_MAX)
    request_id = f"bench-{time.perf_counter_ns()}"
    headers = {"content-type": "application/json", "x-request-id": request_id}
    connection.request("POST", "/v1/chat/completions", body_for(model), headers)
    try:
        yield _Request(connection, request_id)
    finally:
        connection.close()


def _busy(here: Fleet, model: str) -> str:
    """The worker's address, once it works."""
    url = _url(here, model)
    soon(lambda: called(url, "GET", "/v1/health")["busy"])
    return url


def _url(here: Fleet, model: str) -> str:
    url: str = here.workers(model)[0]["url"]
    return url


def _waiting(here: Fleet) -> int:
    listed = called(here.queen, "GET", "/v1/models")["data"]
    return next(int(each["waiting"]) for each in listed if each["id"] == BEFORE)
