"""What a program says of itself, without a process: its document, its methods, and an answer that is late at once."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
import uvloop
from starlette.types import Message, Scope

from penstock.fleet.app import App
from penstock.fleet.bodies import read_body
from penstock.fleet.errors import ERRORS, FleetError
from penstock.fleet.hive.endpoints import SPAWN_ERRORS
from penstock.fleet.logs import Log
from penstock.fleet.measures import Measures
from penstock.fleet.orders import Model, WorkerOrder
from penstock.fleet.queen.endpoints import Answers
from penstock.fleet.queen.exchange import AsAnswered
from penstock.fleet.routes import Call, Endpoint
from penstock.fleet.schema import Health, InferenceRequest, SpawnRequest
from penstock.fleet.sse import CONTENT_TYPE, NAMES
from penstock.fleet.worker.answers import Stream
from penstock.fleet.worker.flights import Flights
from penstock.fleet.worker.scripted import ScriptedEngine


async def nothing(call: Call) -> None:
    """Answers with 204."""


def ignore(told: object) -> None:
    """Somebody else looks at that."""


ENDPOINTS = [
    Endpoint("GET", "/v1/things/list", "All.", nothing, answer=Health),
    Endpoint("DELETE", "/v1/things/{id}", "One less.", nothing, status=204, parameters={"id": "Its own."}),
    Endpoint("POST", "/v1/things/spawn", "One more.", nothing, body=SpawnRequest, answer=Health),
    Endpoint("POST", "/v1/told", "Events.", nothing, body=InferenceRequest, content_type=CONTENT_TYPE),
    Endpoint("POST", "/v1/either", "Whole or not.", nothing, body=InferenceRequest, may_stream=True),
]


def app() -> App:
    return App("Things", ENDPOINTS, Log("things", io.StringIO()), Measures("things"))


def operation(path: str, method: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(app().document)["paths"][path][method]
    return told


def failing(error: Exception) -> App:
    async def fail(call: Call) -> None:
        raise error

    endpoint = Endpoint("GET", "/v1/things/list", "All.", fail, answer=Health)
    return App("Things", [endpoint], Log("things", io.StringIO()), Measures("things"))


async def answered(method: str, path: str, asked: App | None = None) -> list[Message]:
    """All that is sent back."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": method, "path": path, "headers": [], "root_path": ""}
    await (asked or app())(scope, receive, send)
    return sent


@pytest.mark.parametrize(
    ("path", "allowed"), [("/v1/things/list", b"GET"), ("/v1/things/spawn", b"POST"), ("/v1/things/t-1", b"DELETE")]
)
def test_a_path_allows_its_own_methods_and_no_others(path: str, allowed: bytes) -> None:
    begun, _ = asyncio.run(answered("PATCH", path))
    assert (begun["status"], dict(begun["headers"])[b"allow"]) == (405, allowed)


@pytest.mark.parametrize("code", ERRORS)
def test_who_is_to_come_again_is_told_when_in_whole_seconds(code: str) -> None:
    begun, _ = asyncio.run(answered("GET", "/v1/things/list", failing(FleetError(code, "so it is"))))
    told = dict(begun["headers"]).get(b"retry-after", b"0").decode()
    assert (begun["status"], told) == (ERRORS[code].status, str(ERRORS[code].again_s))
    assert (int(told) > 0) is (begun["status"] in (429, 503))


@pytest.mark.parametrize("headers", [{}, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, {"Retry-After": ""}])
def test_what_an_engine_leaves_open_is_told_as_well(headers: dict[str, str]) -> None:
    said = AsAnswered("ALL_SLOTS_BUSY", "busy", answered=429, raw=b"{}", told=headers)
    begun, body = asyncio.run(answered("GET", "/v1/things/list", failing(said)))
    assert (begun["status"], body["body"]) == (429, b"{}")
    assert [value for name, value in begun["headers"] if name.lower() == b"retry-after"] == [b"5"]


def test_a_body_whose_fields_all_have_a_default_may_be_left_out() -> None:
    assert operation("/v1/things/spawn", "post")["requestBody"]["required"] is False
    assert operation("/v1/told", "post")["requestBody"]["required"] is True
    assert read_body(b"", SpawnRequest) == SpawnRequest()


def test_each_event_of_a_stream_is_described() -> None:
    content = operation("/v1/told", "post")["responses"]["200"]["content"]
    (kind,) = content
    assert kind == CONTENT_TYPE
    named = [each["properties"].get("event", {}).get("const") for each in content[kind]["schema"]["anyOf"]]
    assert named == [*NAMES.values(), None]


def test_what_may_stream_says_both_ways() -> None:
    assert set(operation("/v1/either", "post")["responses"]["200"]["content"]) == {"application/json", CONTENT_TYPE}


@pytest.mark.parametrize("body", [b"4?o", b"[1,", b'{"prompt": 1} x', b'{"prompt": 1, "x": "\xff"}'])
def test_what_is_json_only_at_first_is_no_json(body: bytes) -> None:
    with pytest.raises(FleetError) as told:
        read_body(body, InferenceRequest)
    assert told.value.code == "INVALID_JSON"


async def late_at_once() -> list[Message]:
    """A deadline that is over before the answer could begin."""
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    order = WorkerOrder(worker_id="w", model=Model(name="echo", backend="scripted"), listen_fd=-1)
    stream = Stream(ScriptedEngine(order), Flights(1, 1_000), "r", 0, ignore, ignore, InferenceRequest(prompt="go"))
    await stream({"type": "http"}, receive, send)
    return sent


def test_a_deadline_that_is_over_at_once_is_told_as_an_event() -> None:
    begun, started, last = uvloop.run(late_at_once())
    assert (begun["type"], begun["status"]) == ("http.response.start", 200)
    assert started["body"].startswith(b"event: started\n")
    assert b"DEADLINE_EXCEEDED" in last["body"] and last["body"].endswith(b"data: [DONE]\n\n")


def test_the_queen_names_every_error_that_she_passes_on_from_a_hive() -> None:
    unused: Any = None
    endpoints = {(each.method, each.path): each for each in Answers(unused, unused, unused).endpoints()}
    assert set(SPAWN_ERRORS) <= set(endpoints["POST", "/v1/workers/spawn"].errors)
    assert {"UNKNOWN_WORKER", "NOT_OURS"} <= set(endpoints["DELETE", "/v1/workers/{id}"].errors)
