"""Hives at the queen: who may speak for a name, and what is believed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from penstock.core.fleet.policy import QueenPolicy
from penstock.fleet.schema import API_VERSION
from tests.fleet.played_server import Heard
from tests.fleet.queen_world import DONE, STARTED, TestHive, TestWorker, World, code_of, offer, one_token, token, world

QUICK = QueenPolicy(stale_ms=600, heartbeat_ms=200)


async def listed(w: World) -> dict[str, str]:
    return {hive["name"]: hive["state"] for hive in (await w.client.get("/v1/hives")).json()["hives"]}


def test_a_hive_registers_and_is_listed_with_its_workers_and_models() -> None:
    async def scenario() -> None:
        async with world() as w:
            assert (await w.client.get("/v1/hives")).json() == {"hives": []}
            assert code_of(await w.client.post("/v1/inference", json={"prompt": "p", "model": "tiny"})) == (
                503,
                "NO_HIVE",
            )
            hive = await w.hive("east", offer(), offer("team/wide:7b"))
            worker = await hive.add()
            await hive.join()
            told = (await w.client.get("/v1/hives/east")).json()
            assert (told["state"], told["epoch"], told["workers"]) == ("ready", 1, 1)
            assert told["models"] == ["team/wide:7b", "tiny"]
            (seen,) = (await w.client.get("/v1/workers/list")).json()["workers"]
            assert (seen["worker_id"], seen["hive"], seen["state"]) == (worker.id, "east", "idle")
            assert (await w.client.get(f"/v1/workers/{worker.id}")).json() == seen
            models = (await w.client.get("/v1/models")).json()["data"]
            assert {each["id"]: each["state"] for each in models} == {"tiny": "loaded", "team/wide:7b": "cold"}
            assert (await w.client.get("/v1/models/team/wide:7b")).json()["id"] == "team/wide:7b"
            assert code_of(await w.client.get("/v1/models/none")) == (404, "MODEL_NOT_FOUND")
            assert code_of(await w.client.get("/v1/workers/none")) == (404, "UNKNOWN_WORKER")
            answer = await w.client.post("/v1/inference", json={"prompt": "p", "model": "none"})
            assert code_of(answer) == (404, "MODEL_NOT_FOUND")

    asyncio.run(scenario())


def test_of_three_that_register_one_name_at_once_one_wins() -> None:
    async def scenario() -> None:
        async with world() as w:
            hives = [await w.hive("east") for _ in range(3)]
            for number, hive in enumerate(hives):
                hive.instance = f"i{number}"
            answers = await asyncio.gather(*(hive.send() for hive in hives))
            assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
            refused = next(answer for answer in answers if answer.status_code == 409)
            assert code_of(refused) == (409, "HIVE_NAME_TAKEN")

    asyncio.run(scenario())


def test_a_hive_that_was_killed_and_started_again_has_its_name_at_once() -> None:
    async def scenario() -> None:
        async with world() as w:
            old = await w.hive("east")
            await old.add()
            await old.join()
            await old.close()
            new = await w.hive("east")
            new.instance = "east-2"
            await new.join()
            assert new.epoch == 2
            assert (await w.client.get("/v1/workers/list")).json()["workers"] == []
            old.number = 99
            assert code_of(await old.send()) == (409, "FENCED")

    asyncio.run(scenario())


def test_an_old_report_is_not_believed() -> None:
    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive("east")
            await hive.join()
            await hive.stop_heart()
            hive.number = 10
            await hive.send()
            hive.number = 4
            assert code_of(await hive.send()) == (409, "STALE_REPORT")
            hive.number = 10
            assert (await hive.send()).status_code == 200

    asyncio.run(scenario())


def test_what_a_client_had_done_is_listed_when_it_is_answered_and_no_older_report_takes_it_back() -> None:
    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive("east")

            async def behave(heard: Heard) -> None:
                """Reports before the worker has loaded, and not again."""
                if heard.path == "/v1/workers/spawn":
                    worker = await hive.add(state="starting")
                    await hive.send()
                    worker.state = "idle"
                    told = {"worker_id": worker.id, "url": worker.server.url, "state": worker.state}
                    await heard.answer(200, msgspec.json.encode(told))
                elif heard.method == "DELETE":
                    await hive.kill(worker_of(hive))
                    await heard.answer(204)
                else:
                    await hive.answer(heard)

            hive.server.behave = behave
            await hive.join()
            await hive.stop_heart()
            spawned = (await w.client.post("/v1/workers/spawn", json={"wait": True})).json()
            assert await shown(w) == (["idle"], "loaded")
            worker_of(hive).state = "starting"
            hive.number -= 2
            assert code_of(await hive.send()) == (409, "STALE_REPORT")
            assert await shown(w) == (["idle"], "loaded")
            assert (await w.client.delete(f"/v1/workers/{spawned['worker_id']}")).status_code == 204
            assert await shown(w) == ([], "cold")

    asyncio.run(scenario())


def test_a_worker_that_no_report_has_yet_is_listed_where_its_hive_loads_it() -> None:
    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive("east", offer(device="gpu"))

            async def behave(heard: Heard) -> None:
                told = {"worker_id": "w-1", "url": hive.server.url, "state": "starting", "device": "gpu1"}
                await heard.answer(200, msgspec.json.encode(told))

            await hive.join()
            await hive.stop_heart()
            hive.server.behave = behave
            await w.client.post("/v1/workers/spawn", json={"model": "tiny"})
            (listed,) = (await w.client.get("/v1/workers/list")).json()["workers"]
            assert (listed["worker_id"], listed["device"]) == ("w-1", "gpu1")

    asyncio.run(scenario())


def worker_of(hive: TestHive) -> TestWorker:
    (worker,) = hive.workers.values()
    return worker


async def shown(w: World) -> tuple[list[str], str]:
    """States of the workers, and of the only model."""
    workers = (await w.client.get("/v1/workers/list")).json()["workers"]
    (model,) = (await w.client.get("/v1/models")).json()["data"]
    return [worker["state"] for worker in workers], model["state"]


def test_a_spawn_that_failed_is_listed_so_when_that_is_answered() -> None:
    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive("east")

            async def behave(heard: Heard) -> None:
                if heard.path == "/v1/workers/spawn":
                    worker = await hive.add(state="loading")
                    await hive.send()
                    worker.state = "failed"
                    await heard.fail(502, "LOAD_FAILED")
                else:
                    await hive.answer(heard)

            hive.server.behave = behave
            await hive.join()
            await hive.stop_heart()
            assert code_of(await w.client.post("/v1/workers/spawn", json={"wait": True})) == (502, "LOAD_FAILED")
            assert await shown(w) == (["failed"], "cold")

    asyncio.run(scenario())


def test_another_version_is_told_both() -> None:
    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive("east")
            hive.api_version = 99
            answer = await hive.send()
            assert code_of(answer) == (426, "VERSION_MISMATCH")
            details = answer.json()["error"]["details"]
            assert (details["queen"]["api_version"], details["hive"]["api_version"]) == (API_VERSION, 99)

    asyncio.run(scenario())


@pytest.mark.parametrize("more", [{"news": 1}, {"state": "asleep"}, {"devices": None, "version": {"major": 2}}])
def test_another_version_is_told_first_whatever_else_it_says(more: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with world() as w:
            report = {
                "name": "east",
                "url": "http://127.0.0.1:9",
                "instance": "i",
                "api_version": 2,
                "version": "9.8.7",
            }
            answer = await w.client.post("/v1/hives", json=report | more)
            assert code_of(answer) == (426, "VERSION_MISMATCH")
            assert answer.json()["error"]["details"]["hive"]["api_version"] == 2
            assert "same version" in answer.json()["error"]["details"]["fix"]
            answer = await w.client.post("/v1/hives", json=report | {"api_version": API_VERSION} | more)
            assert code_of(answer) == (400, "INVALID_REQUEST"), "of the same version, it is wrong"

    asyncio.run(scenario())


def test_who_tells_the_address_of_another_hive_gets_no_name() -> None:
    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive("east")
            await hive.join()
            for name, code in (("east", (409, "HIVE_NAME_TAKEN")), ("west", (503, "HIVE_UNREACHABLE"))):
                forged = msgspec.structs.replace(hive.report(), name=name, instance="another", epoch=0)
                answer = await w.client.post("/v1/hives", content=msgspec.json.encode(forged))
                assert code_of(answer) == code
            forged = msgspec.structs.replace(hive.report(), instance="another", epoch=hive.epoch + 1)
            answer = await w.client.post("/v1/hives", content=msgspec.json.encode(forged))
            assert code_of(answer) == (503, "HIVE_UNREACHABLE"), "in an epoch that nobody gave it"
            assert (await hive.send()).status_code == 200
            assert await listed(w) == {"east": "ready"}

    asyncio.run(scenario())


def test_a_hive_that_cannot_be_reached_is_not_registered(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(home=tmp_path) as w:
            hive = await w.hive("east")
            await hive.server.close()
            assert code_of(await hive.send()) == (503, "HIVE_UNREACHABLE")
            assert await listed(w) == {}

    asyncio.run(scenario())


def test_a_report_that_is_not_sound_names_its_fields_and_never_their_values() -> None:
    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive("east", offer("a\nb"))
            hive.name = "../x"
            answer = await hive.send()
            assert code_of(answer) == (400, "INVALID_REQUEST")
            assert {each["field"] for each in answer.json()["error"]["details"]["fields"]} == {"name", "offers"}
            assert "../x" not in answer.text

    asyncio.run(scenario())


def test_a_removed_hive_is_fenced_off_and_its_name_is_free() -> None:
    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive("east")
            await hive.join()
            assert (await w.client.delete("/v1/hives/east")).status_code == 204
            assert await listed(w) == {}
            assert code_of(await w.client.delete("/v1/hives/east")) == (404, "UNKNOWN_HIVE")
            assert code_of(await hive.send()) == (409, "FENCED")
            hive.instance, hive.epoch = "east-2", 0
            assert (await hive.send()).json()["epoch"] == 3

    asyncio.run(scenario())


def test_a_token_is_needed_to_register_where_there_is_one() -> None:
    async def scenario() -> None:
        async with world(token="secret") as w:
            stranger = await w.hive("west")
            assert code_of(await stranger.send()) == (401, "INVALID_TOKEN")
            hive = await w.hive("east", token="secret")
            await hive.add(one_token)
            await hive.join()
            (worker,) = hive.workers.values()
            await w.infer()
            assert worker.server.heard[0].headers["authorization"] == "Bearer secret"
            async with httpx2.AsyncClient(base_url=w.queen.url) as nobody:
                assert (await nobody.get("/v1/health")).status_code == 200
                assert code_of(await nobody.get("/v1/hives")) == (401, "INVALID_TOKEN")
            assert "secret" not in "".join(w.queen.log)

    asyncio.run(scenario())


def test_a_silent_hive_gets_no_new_work_and_what_streams_goes_on() -> None:
    may_end = asyncio.Event()

    async def behave(heard: Heard) -> None:
        await heard.begin()
        await heard.put(STARTED, token(0))
        await may_end.wait()
        await heard.put(b'event: end\ndata: {"tokens_out":1,"stop_reason":"stop","ms":1}\n\n', DONE)
        await heard.end()

    async def scenario() -> None:
        async with world(QUICK) as w:
            hive = await w.hive("east", offer(slots=2))
            await hive.add(behave, slots=2)
            await hive.join()
            async with w.asking() as stream:
                await stream.until("token")
                await hive.stop_heart()
                await w.queen.until_told("hive is lost")
                assert await listed(w) == {"east": "lost"}
                answer = await w.client.post("/v1/inference", json={"prompt": "p", "model": "tiny"})
                assert code_of(answer) == (503, "NO_HIVE")
                await hive.send()
                found = await w.queen.metrics()
                assert found["penstock_queen_requests_in_flight"] == 1, "its slot is taken all the while"
                may_end.set()
                assert [each.name for each in await stream.rest()] == ["end", ""]

    asyncio.run(scenario())


def test_what_a_silent_hive_has_not_begun_is_served_elsewhere() -> None:
    async def silent(heard: Heard) -> None:
        await heard.begin()
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with world(QUICK) as w:
            hive = await w.hive("east", offer())
            worker = await hive.add(silent)
            await hive.join()
            asking = asyncio.ensure_future(w.infer())
            await worker.server.next()
            west = await w.hive("west", offer())
            await west.add(one_token)
            beating = asyncio.ensure_future(beat(west))
            await hive.stop_heart()
            assert [each.name for each in await asking] == ["started", "token", "end", ""]
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    asyncio.run(scenario())


async def beat(hive: TestHive) -> None:
    while True:
        await hive.send()
