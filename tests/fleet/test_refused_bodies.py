"""A request that is wrong in several ways is told all of them at once, by name, and never what it held."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from penstock.fleet.deadlines import DEADLINE_HEADER, deadline_of
from penstock.fleet.schema import DEADLINE_MS_MAX
from tests.fleet.hives import hive
from tests.fleet.queen_world import Endless, world
from tests.fleet.worker_world import worker

PROMPT = {
    "prompt": 5,
    "model": "secret..model",
    "request_id": "secret id",
    "max_tokens": 0,
    "seed": -1,
    "stop": ["sound", "", 7, "s" * 257],
    "secret": 1,
}
OF_PROMPT = {"prompt", "model", "request_id", "max_tokens", "seed", "stop[1]", "stop[2]", "stop[3]", "(unknown)"}
CHAT = {"model": "secret..model", "messages": [], "stream": "secret"}
OF_CHAT = {"model", "messages", "stream"}
READY = {
    "worker_id": "secret id",
    "url": "secret://host",
    "model_ref": "secret..model",
    "backend": "secret",
    "device": "cpu",
    "slots": 0,
    "pid": "secret",
    "nonce": "",
    "state": "idle",
}
BAD_HEADER = {DEADLINE_HEADER: "secret"}


def fields_of(answer: httpx2.Response) -> set[str]:
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_REQUEST"), answer.text
    assert "secret" not in answer.text
    return {each["field"] for each in answer.json()["error"]["details"]["fields"]}


async def assert_all_told(client: httpx2.AsyncClient) -> None:
    told = await client.post("/v1/inference", json=PROMPT, headers=BAD_HEADER)
    assert fields_of(told) == OF_PROMPT | {DEADLINE_HEADER}
    told = await client.post("/v1/chat/completions", json=CHAT, headers=BAD_HEADER)
    assert fields_of(told) == OF_CHAT | {DEADLINE_HEADER}
    sound = {"prompt": "p", "model": "tiny"}
    for wrong in ("0", str(DEADLINE_MS_MAX + 1), "-1", "1.5"):
        told = await client.post("/v1/inference", json=sound, headers={DEADLINE_HEADER: wrong})
        assert fields_of(told) == {DEADLINE_HEADER}
    assert fields_of(await client.post("/v1/inference", json=sound | {"model": "a..b"})) == {"model"}, "types are right"


def test_a_queen_tells_all_at_once() -> None:
    async def scenario() -> None:
        async with world() as w:
            await w.worker()
            await assert_all_told(w.client)
            report: dict[str, Any] = {
                "name": "Secret",
                "url": "secret",
                "instance": "",
                "version": "0",
                "api_version": 1,
            }
            report["workers"] = [{"worker_id": "secret id", "slots": 0}, "secret"]
            told = fields_of(await w.client.post("/v1/hives", json=report))
            assert {"name", "url", "instance", "workers[0].slots", "workers[0].model", "workers[1]"} <= told
            assert fields_of(await w.client.post("/v1/workers/spawn", json={"model": "a..b", "port": 1})) == {
                "model",
                "port",
            }

    asyncio.run(scenario())


def test_a_worker_tells_all_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with worker(tmp_path) as running:
            await assert_all_told(running.client)

    asyncio.run(scenario())


def test_a_hive_tells_all_at_once(tmp_path: Path) -> None:
    with hive(tmp_path / "home") as here:
        told = here.call("POST", "/v1/workers/ready", READY)
        assert fields_of(told) == {"worker_id", "url", "model_ref", "backend", "slots", "pid"}
        sound = READY | {"slots": 1, "pid": 1}
        assert fields_of(here.call("POST", "/v1/workers/ready", sound)) == {"worker_id", "url", "model_ref", "backend"}
        assert fields_of(here.call("POST", "/v1/workers/spawn", {"model": "a..b", "port": 1})) == {"model", "port"}


def test_of_two_deadlines_the_smaller_counts() -> None:
    async def scenario() -> None:
        async with world() as w:
            await w.worker(Endless(), slots=4)
            for in_body, in_header in ((200, 60_000), (60_000, 200)):
                sent = {"prompt": "p", "model": "tiny", "deadline_ms": in_body}
                told = await w.client.post("/v1/inference", json=sent, headers={DEADLINE_HEADER: str(in_header)})
                assert "DEADLINE_EXCEEDED" in told.text

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("headers", "in_body", "counts"),
    [({}, None, None), ({}, 5, 5), ({DEADLINE_HEADER: "7"}, None, 7), ({DEADLINE_HEADER: "7"}, 5, 5)],
)
def test_a_deadline_may_be_named_in_two_places(headers: dict[str, Any], in_body: int | None, counts: int) -> None:
    assert deadline_of(headers, in_body) == counts
